"""Import: looked at first, put right where need be, one step of undo."""

import dataclasses

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent, QTextDocument
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton

from napari_cryoshift.core.formats import FORMATS, ListContext, write_particles
from napari_cryoshift.widgets.annotate import AnnotatePanels
from napari_cryoshift.widgets.list_fields import TO_READ, TO_WRITE
from napari_cryoshift.widgets.listing import guess_pairs, likely_cause
from napari_cryoshift.widgets.open import OpenPanel
from napari_cryoshift.widgets.panel import RED

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def panel(make_napari_viewer, blobs):
    """The panel Open with the blobs, and nothing picked."""
    viewer = make_napari_viewer(show=True)
    made = OpenPanel(viewer)
    viewer.window.add_dock_widget(made, name="Open", area="right")
    made.session.embed = lambda: None
    made.session.open_tomogram(blobs[0])
    return made


@pytest.fixture
def write(blobs, tmp_path):
    """Write the blobs as a list of this format, with what else the context has."""

    def written(name, file, *, particles=blobs[1], **given):
        context = dataclasses.replace(ListContext.of(blobs[0]), **given)
        write_particles(tmp_path / file, particles, name, context=context)
        return tmp_path / file

    return written


def of_tomograms(truth, *names):
    """The blobs, dealt out to tomograms of these names."""
    return truth.replace(tomogram=np.resize(np.array(names, dtype=object), len(truth)))


def wait_for_list(panel, qtbot, condition=lambda _: True):
    importer = panel.importer
    qtbot.waitUntil(
        lambda: (
            importer._running is None
            and not importer._pause.isActive()
            and importer.listing is not None
            and condition(importer)
        ),
        timeout=20_000,
    )
    return importer


def press(panel, start):
    """Press the visible button whose text starts like this."""
    (found,) = [
        one
        for one in panel.findChildren(QPushButton)
        if one.text().startswith(start) and one.isVisible()
    ]
    assert found.isEnabled(), start
    QTest.mouseClick(found, LEFT)


def said_in_red(importer):
    return RED.name() in importer._inside.text()


def seen(fields):
    return {name for name, edit in fields._edits.items() if edit.isVisible()}


def plain(importer):
    """What the sentence reads."""
    shown = QTextDocument()
    shown.setHtml(importer._inside.text())
    return shown.toPlainText()


def cells(table):
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
        if table.item(row, 0) is not None
    ]


def test_a_relion_5_list_with_tomograms_to_match(panel, blobs, write, qtbot, idle, monkeypatch):
    truth, session = blobs[1], panel.session
    path = write("relion5", "run.star", particles=of_tomograms(truth, "TS_01", "TS_02"))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    press(panel, "Import list")
    importer = wait_for_list(panel, qtbot)
    assert importer._format.currentText() == "RELION 5"
    # Neither is called as the tomogram that is open, so a person has to say which it is.
    assert said_in_red(importer)
    assert "No tomogram of the list is called blobs" in plain(importer)
    choice = importer._matches.cellWidget(0, 1)
    assert isinstance(choice, QComboBox)
    assert [choice.itemText(k) for k in range(choice.count())] == [
        "not in this list",
        "TS_01 (13)",
        "TS_02 (12)",
    ]
    choice.setFocus()
    for _ in range(2):
        QTest.keyClick(choice, Qt.Key.Key_Down)
    wait_for_list(panel, qtbot, lambda one: bool(one.listing.inside))
    assert not said_in_red(importer)
    assert "All 12 particles lie inside the tomogram of 120 × 120 × 40 voxels" in plain(importer)
    first = truth.positions[1]
    assert cells(importer._rows)[0][:4] == [*(f"{v:.1f}" for v in first[::-1]), truth.label[1]]
    assert len(session.particles) == 0  # nothing is changed before
    press(panel, "Import 12 particles")
    idle(session)
    np.testing.assert_allclose(session.particles.positions, truth.positions[1::2], atol=1e-3)
    assert set(session.particles.source) == {"import"}
    assert importer.isHidden()
    assert panel.advice().startswith("12 particles were imported from run.star.")
    session.undo()
    assert len(session.particles) == 0
    session.redo()
    assert len(session.particles) == 12


def test_a_wrong_voxel_size_is_said_in_red_and_put_right_by_typing(
    panel, blobs, write, qtbot, type_into
):
    panel.import_list(write("relion5", "run.star"))
    importer = wait_for_list(panel, qtbot)
    assert not said_in_red(importer)
    assert not importer._matches.isVisible()  # there is nothing to match
    type_into(panel.importer, "voxel_size", "2.5")
    wait_for_list(panel, qtbot, said_in_red)
    text = plain(importer)
    assert text.startswith("Only ")
    assert "the voxel size may be wrong, " in text
    type_into(panel.importer, "voxel_size", "10")
    wait_for_list(panel, qtbot, lambda one: not said_in_red(one))
    got = importer.listing.inside["blobs"].positions
    np.testing.assert_allclose(got, blobs[1].positions, atol=1e-3)
    assert panel.session.tomogram.voxel_size == 10


def test_an_unknown_binning_is_guessed_and_typed(panel, blobs, write, qtbot, type_into):
    truth = blobs[1]
    path = write("relion4", "run.star", binning=4)
    path.write_text(path.read_text().replace("_rlnTomoTiltSeriesPixelSize", "_rlnVoltage"))
    panel.import_list(path)
    importer = wait_for_list(panel, qtbot)
    assert said_in_red(importer)
    assert plain(importer).endswith("a binning of 4 would fit.")
    type_into(panel.importer, "binning", "4")
    wait_for_list(panel, qtbot, lambda one: not said_in_red(one))
    np.testing.assert_allclose(
        importer.listing.inside["blobs"].positions, truth.positions, atol=1e-3
    )


def test_only_the_fields_that_a_format_needs_are_shown(panel, write, qtbot):
    panel.import_list(write("relion5", "run.star"))
    importer = wait_for_list(panel, qtbot)
    fields = importer.fields
    assert seen(fields) == {"voxel_size", "binning", "tomograms_star"}
    fields._more.toggle()
    assert seen(fields) == set(TO_READ["relion5"])
    assert fields._edits["voxel_size"].value() == 10  # that of the open tomogram
    importer._format.setCurrentIndex(importer._format.findData("coords"))
    assert seen(fields) == {"list_voxel_size"}
    qtbot.waitUntil(lambda: "run.star is no list of coordinates" in plain(importer))
    assert said_in_red(importer)
    assert not importer._import.isEnabled()


def test_classes_become_labels_and_new_classes_are_named_first(panel, blobs, write, idle, qtbot):
    panel.session.add_class("ball")
    panel.import_list(write("csv", "list.csv"))
    importer = wait_for_list(panel, qtbot)
    assert importer._classes.text() == "The classes of the list are not taken over."
    QTest.mouseClick(importer._as_labels, LEFT)
    assert importer._classes.text() == "New classes: ring, rod."
    press(panel, "Import 25 particles")
    idle(panel.session)
    np.testing.assert_array_equal(panel.session.particles.label, blobs[1].label)
    assert [one.name for one in panel.session.classes] == ["ball", "ring", "rod", "other"]
    panel.session.undo()
    assert len(panel.session.particles) == 0
    assert [one.name for one in panel.session.classes] == ["ball", "other"]
    panel.session.redo()
    np.testing.assert_array_equal(panel.session.particles.label, blobs[1].label)


def test_a_list_of_one_class_is_given_its_name(panel, blobs, write, idle, qtbot):
    balls = blobs[1].take(blobs[1].label == "ball")
    panel.import_list(write("coords", "balls.coords", particles=balls))
    importer = wait_for_list(panel, qtbot)
    assert not importer._class.isVisible()
    QTest.mouseClick(importer._as_labels, LEFT)
    line = importer._class.lineEdit()
    line.selectAll()
    QTest.keyClicks(line, "membrane")
    assert importer._classes.text() == "New classes: membrane."
    press(panel, "Import 9 particles")
    idle(panel.session)
    assert set(panel.session.particles.label) == {"membrane"}


def test_what_lies_outside_is_left_out_and_said(panel, blobs, write, idle, qtbot):
    positions = blobs[1].positions.copy()
    positions[:3, 0] = 50
    path = write("csv", "list.csv", particles=blobs[1].replace(positions=positions))
    panel.import_list(path)
    importer = wait_for_list(panel, qtbot)
    assert plain(importer).startswith("22 of 25 particles lie inside the tomogram")
    assert not said_in_red(importer)
    press(panel, "Import 22 particles")
    idle(panel.session)
    assert len(panel.session.particles) == 22


def test_each_tomogram_of_the_project_gets_its_own(panel, blobs, write, idle, qtbot):
    """In voxels of its own size, though one list covers both."""
    tomogram, truth = blobs
    session = panel.session
    half = dataclasses.replace(tomogram, data=tomogram.data[::2, ::2, ::2], voxel_size=20.0)
    session.open_tomogram(dataclasses.replace(half, name="TS_02"))
    session.open_tomogram(dataclasses.replace(tomogram, name="TS_01"))
    # In Å from the corner, so that nothing but the voxel size counts.
    path = write("csv", "list.csv", particles=of_tomograms(truth, "TS_01.mrc", "rec_TS_02"))
    rows = [line.split(",") for line in path.read_text().splitlines()]
    at = [rows[0].index(axis) for axis in "xyz"]
    for row in rows[1:]:
        for k in at:
            row[k] = f"{10 * float(row[k]):g}"
    rows[0] = [f"{cell}_A" if cell in "xyz" else cell for cell in rows[0]]
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    panel.import_list(path)
    importer = wait_for_list(panel, qtbot)
    assert importer.listing.pairs == {"TS_01": "TS_01.mrc", "TS_02": "rec_TS_02", "blobs": ""}
    assert "All 25 particles lie inside their tomograms." in plain(importer)
    press(panel, "Import 25 particles")
    idle(session)
    np.testing.assert_allclose(session.particles.positions, truth.positions[::2])
    other = session.project.particles("TS_02")
    np.testing.assert_allclose(other.positions, truth.positions[1::2] / 2)


def test_a_list_waits_for_its_tomogram(make_napari_viewer, blobs, write, qtbot):
    viewer = make_napari_viewer(show=True)
    panel = OpenPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Open")
    panel.session.embed = lambda: None
    panel.import_list(write("relion5", "run.star"))
    assert plain(panel.importer).startswith("Open the tomogram of this list first")
    assert not panel.importer._import.isEnabled()
    panel.session.open_tomogram(blobs[0])
    wait_for_list(panel, qtbot)
    assert "All 25" in plain(panel.importer)
    press(panel, "Cancel")
    assert panel._report.isVisible()
    assert len(panel.session.particles) == 0


def test_a_list_dropped_on_the_panel_or_on_the_viewer_is_shown(panel, write, qtbot):
    path = write("dynamo", "list.tbl")
    viewer = panel.layers.viewer
    before = list(viewer.layers)
    viewer.open(str(path), plugin="napari-cryoshift")
    assert wait_for_list(panel, qtbot)._format.currentText() == "Dynamo"
    assert list(viewer.layers) == before
    press(panel, "Cancel")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    action, none = Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    panel.dropEvent(QDropEvent(QPointF(5, 5), action, mime, LEFT, none))
    assert "All 25" in plain(wait_for_list(panel, qtbot))


def test_a_dropped_list_is_seen_whichever_tab_is_open(make_napari_viewer, blobs, write, qtbot):
    viewer = make_napari_viewer(show=True)
    tabs = AnnotatePanels(viewer)
    viewer.window.add_dock_widget(tabs, name="Annotate")
    tabs.session.embed = lambda: None
    tabs.session.open_tomogram(blobs[0])
    tabs.setCurrentIndex(tabs.count() - 1)
    viewer.open(str(write("csv", "list.csv")), plugin="napari-cryoshift")
    assert tabs.currentWidget().title == "Open"
    wait_for_list(tabs.currentWidget(), qtbot)


def test_without_the_panel_a_dropped_list_becomes_points(panel, write, qtbot):
    viewer = panel.layers.viewer
    viewer.window.remove_dock_widget(panel.parentWidget())
    with qtbot.waitSignal(panel.destroyed, timeout=5000):
        panel.deleteLater()
    (layer,) = viewer.open(str(write("csv", "list.csv")), plugin="napari-cryoshift")
    assert len(layer.data) == 25


def test_a_new_list_starts_from_the_tomogram_that_is_open(panel, write, qtbot, type_into):
    path = write("relion5", "run.star")
    panel.import_list(path)
    wait_for_list(panel, qtbot)
    type_into(panel.importer, "voxel_size", "2.5")
    press(panel, "Cancel")
    panel.import_list(path)
    assert "All 25" in plain(wait_for_list(panel, qtbot))


def test_what_is_no_list_is_said_in_the_panel(panel, tmp_path):
    (tmp_path / "list.csv").write_text("colour,taste\nred,sweet\n")
    panel.import_list(tmp_path / "list.csv")
    assert "list.csv is no particle list" in panel._error.text()
    assert panel.importer.isHidden()


def test_numbered_tomograms_are_guessed_by_the_digits_of_their_names():
    assert guess_pairs(["7", "12"], ["TS_07", "TS_012", "TS_3"]) == {
        "TS_07": "7",
        "TS_012": "12",
        "TS_3": "",
    }
    assert guess_pairs(["a", "7"], ["TS_07"]) == {"TS_07": ""}
    assert guess_pairs(["x/rec_TS_1_10.00Apx.mrc"], ["TS_1"])["TS_1"] == "x/rec_TS_1_10.00Apx.mrc"


@pytest.mark.parametrize(
    ("change", "name", "sentence"),
    [
        (lambda p: p[:, [1, 0, 2]], "coords", "y and z exchanged"),
        (lambda p: p * 4, "coords", "voxels of 2.57 Å or less"),
        (lambda p: p - np.array([20, 60, 60]), "csv", "count from the centre"),
        (lambda p: p + np.array([0, 500, 0]), "copick", "belongs to this tomogram"),
    ],
)
def test_the_likely_cause_is_named(blobs, change, name, sentence):
    positions = np.random.default_rng(0).uniform(0, (39, 119, 119), (500, 3))
    cause = likely_cause(change(positions), ListContext.of(blobs[0]), TO_READ[name])
    assert sentence in cause


def test_every_format_says_what_it_asks_for():
    assert set(TO_READ) == set(TO_WRITE) == set(FORMATS)


def test_a_second_change_while_the_list_is_read_wins(panel, write, qtbot):
    panel.import_list(write("relion5", "run.star"))
    fields = panel.importer.fields
    for text in ("3", "4", "10"):
        fields._edits["voxel_size"].setText(text)
        panel.importer._read()
    wait_for_list(panel, qtbot)
    assert "All 25" in plain(panel.importer)
