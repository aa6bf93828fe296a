import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.patches import Circle
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from napari_cryoshift.core import report
from napari_cryoshift.core.report import Curve
from napari_cryoshift.core.types import OTHER, Subtomograms, Tomogram

GENERATOR = np.random.default_rng(0)


def legend(figure):
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def names(*values):
    return np.array(values, dtype=object)


@pytest.fixture
def tomogram():
    return Tomogram(GENERATOR.normal(size=(20, 40, 60)), voxel_size=10.0, name="t")


def test_every_class_has_its_own_colour_whatever_the_order_of_the_names():
    first = report.colours(["b", "a", OTHER, "a"])
    assert first == report.colours(["a", "b"])
    assert len(set(first.values())) == 3


def test_the_section_shows_the_plane_with_most_particles_and_leaves_others_out(tomogram):
    positions = np.array([[5, 10, 20], [5, 30, 40], [6, 20, 10], [15, 5, 5], [5, 5, 5]], float)
    classes = names("a", "a", "b", "a", OTHER)
    figure = report.section_picture(
        tomogram,
        positions,
        classes,
        report.colours(classes),
        diameter=80.0,
        wrong=np.array([True, False, False, False, False]),
    )
    (axes,) = figure.axes
    circles = [patch for patch in axes.patches if isinstance(patch, Circle)]
    assert {circle.center for circle in circles} == {(20, 10), (40, 30), (10, 20)}
    assert {circle.radius for circle in circles} == {4.0}  # 80 Å across, in voxels of 10 Å
    dashed = {circle.center for circle in circles if circle.get_linestyle() != "solid"}
    assert dashed == {(20, 10)}
    assert legend(figure) == ["a (2)", "b (1)", "wrong (1)"]


def test_the_scale_bar_has_its_length(tomogram):
    figure = report.section_picture(
        tomogram, np.array([[5.0, 5, 5]]), names("a"), report.colours(["a"]), diameter=80.0
    )
    (bar,) = figure.axes[0].findobj(AnchoredSizeBar)
    assert bar.txt_label.get_text() == "50 nm"
    assert bar.size_bar.get_children()[0].get_width() == 50  # voxels of 1 nm


def test_the_gallery_has_a_row_a_class_with_the_surest_first():
    volumes = torch.arange(6.0)[:, None, None, None].expand(6, 8, 8, 8)
    classes = names("b", OTHER, "b", "b", "a", "b")
    confidence = np.array([0.5, 0.9, 0.8, 0.7, 0.6, 0.1])
    figure = report.gallery_picture(
        Subtomograms.from_memory(volumes, 10.0), classes, confidence, columns=3
    )
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "a\n1 found",
        "b\n4 found",
        "other\n1 found",
    ]
    strip = figure.axes[1].images[0].get_array()
    seen = [strip[4, 4 + 10 * column] for column in range(3)]
    assert seen == [2, 3, 0]


def test_the_map_shows_each_particle_once_and_rings_the_labelled_ones():
    vectors = GENERATOR.normal(size=(30, 5)).astype(np.float32) * [9, 3, 1, 1, 1]
    classes = names(*["a"] * 12, *["b"] * 10, *[OTHER] * 8)
    labelled = np.arange(30) % 10 == 0
    figure = report.embedding_picture(vectors, classes, labelled, report.colours(classes))
    clouds = [one for one in figure.axes[0].collections if isinstance(one, PathCollection)]
    assert [len(cloud.get_offsets()) for cloud in clouds] == [8, 12, 10, 3]
    assert legend(figure) == ["other (8)", "a (12)", "b (10)", "labelled (3)"]
    # The plane keeps as much of the scatter as any plane can.
    drawn = np.concatenate([cloud.get_offsets() for cloud in clouds[:3]])
    best = np.linalg.eigvalsh(np.cov(vectors.T, ddof=0))[-2:].sum()
    assert drawn.var(axis=0).sum() == pytest.approx(best, rel=1e-4)


def test_precision_is_drawn_as_the_best_at_that_recall_or_beyond():
    curve = Curve(np.array([0.25, 0.5, 0.5, 1.0]), np.array([0.5, 1.0, 0.6, 0.7]), 0.81)
    whole = Curve(np.array([0.5]), np.array([0.4]), 0.2)
    figure = report.precision_recall_picture({"a": curve}, whole, report.colours(["a"]))
    black, line = figure.axes[0].lines
    assert black.get_color() == "black"
    assert line.get_ydata().tolist() == [1.0, 1.0, 1.0, 0.7, 0.7]
    assert legend(figure)[1] == "a: 0.81"
