"""How right, how alike, and where in the plane: the pictures about a model."""

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel
from sklearn.metrics import precision_recall_fscore_support

from napari_cryoshift.core.domain_views import Examples
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.widgets.evaluation import Evaluation
from napari_cryoshift.widgets.feature_map import Dots, Maps
from napari_cryoshift.widgets.predictions import Judged
from napari_cryoshift.widgets.side_by_side import SideBySide

LABELS = np.array(["a"] * 6 + ["b"] * 3 + [OTHER] * 2, dtype=object)
ANSWERS = np.array(["a", "a", "a", "a", "b", OTHER, "b", "b", "a", OTHER, "c"], dtype=object)


def cells(table):
    """The texts of a table, row by row."""
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
    ]


@pytest.fixture
def evaluation(qtbot):
    made = Evaluation()
    qtbot.addWidget(made)
    judged = Judged(np.arange(11), LABELS, ANSWERS, "that it did not learn from")
    made.show_judged(judged, {"a": "#e69f00"})
    return made


def test_the_table_is_precision_recall_and_f1_of_each_kind_and_their_means(evaluation):
    names = ["a", "b", "c", OTHER]
    figures = precision_recall_fscore_support(LABELS, ANSWERS, labels=names, zero_division=0)
    rows = cells(evaluation._table)
    assert [row[0] for row in rows] == ["a", "b", "c", "not a particle", "mean", "weighted mean"]
    for row, precision, recall, f1, support in zip(rows, *figures, strict=False):
        if row[0] == "c":  # nobody said so, so it has no recall
            assert row[1:] == ["0.00", "–", "–", "0"]
        else:
            assert row[1:] == [f"{precision:.2f}", f"{recall:.2f}", f"{f1:.2f}", str(support)]
    occur = [0, 1, 3]
    assert rows[4][1:] == [*(f"{column[occur].mean():.2f}" for column in figures[:3]), "11"]
    weights = figures[3] / 11
    assert rows[5][1:] == [*(f"{column @ weights:.2f}" for column in figures[:3]), "11"]
    assert "11 labels that it did not learn from, 0.64 (0.35 to 0.85)" in (
        evaluation._summary.text()
    )
    assert evaluation._table.item(0, 1).toolTip() == "0.80 (0.38 to 0.96)"  # of 5


def test_the_matrix_says_what_is_taken_for_what(evaluation):
    rows = cells(evaluation._confusion)
    assert [row[1:] for row in rows] == [
        ["4", "1", "", "1"],
        ["1", "2", "", ""],
        ["", "", "", ""],
        ["", "", "1", "1"],
    ]
    confusion = evaluation._confusion
    right, wrong = (confusion.item(0, column).background().color() for column in (1, 2))
    assert right.alpha() > wrong.alpha() > 0
    assert right.green() > right.red()
    assert wrong.red() > wrong.green()
    assert confusion.item(1, 1).toolTip() == "1 that you called b are predicted a"


def test_without_a_label_it_says_what_to_do(evaluation):
    none = np.empty(0, dtype=object)
    evaluation.show_judged(Judged(np.empty(0, np.int64), none, none, ""), {})
    assert evaluation._table.isHidden()
    assert "Label some particles" in evaluation._summary.text()


def test_examples_are_drawn_a_row_a_class(qtbot):
    shown = SideBySide()
    qtbot.addWidget(shown)
    volumes = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    for columns in (("simulated", "warped", "warped − simulated", "picked"), ("simulated",)):
        shown.show_examples(Examples(("ball", OTHER), dict.fromkeys(columns, volumes)))
        grid = shown._grid
        assert [grid.itemAtPosition(0, i).widget().text() for i in range(len(columns))] == [
            *columns
        ]
        assert grid.itemAtPosition(3, 0).widget().text() == "not a particle"
        pictures = [grid.itemAtPosition(row, 0).widget().pixmap() for row in (2, 4)]
        assert pictures[0].toImage() != pictures[1].toImage()
    qtbot.waitUntil(lambda: len(shown.findChildren(QLabel)) == 5)  # the former ones are gone


def test_a_click_on_a_point_says_which_particle_it_is(qtbot):
    maps = Maps()
    qtbot.addWidget(maps)
    maps.resize(400, 220)
    maps.show()
    points = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    maps.show_maps({"before": points, "after": points[::-1]})
    dots = Dots(
        colours=np.array(["#e69f00", "#56b4e9", "#e69f00", "#56b4e9"], dtype=object),
        filled=np.array([True, True, False, False]),
        ids=np.array([7, 8, -1, -1]),
    )
    maps.dress(dots)
    qtbot.waitExposed(maps)
    (_, before), (plot, after) = maps._maps[0], maps._maps[1]
    np.testing.assert_array_equal(before, after[::-1])
    drawn = plot._dots.points()
    assert [point.brush().style() for point in drawn] == [
        *(Qt.BrushStyle.SolidPattern,) * 2,
        *(Qt.BrushStyle.NoBrush,) * 2,
    ]
    qtbot.wait(50)

    def click(row):
        place = plot.getViewBox().mapViewToScene(drawn[row].pos())
        qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.mapFromScene(place))

    with qtbot.waitSignal(maps.clicked) as heard:
        click(1)
    assert heard.args == [8]
    with qtbot.assertNotEmitted(maps.clicked, wait=50):
        click(2)  # a simulated one
