"""File › Save: points as particle lists, labels as MRC."""

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import FORMATS, ListContext, read_particles, write_particles
from napari_cryoshift.core.types import Particles
from napari_cryoshift.widgets.layers import layers_of
from napari_cryoshift.widgets.session import session_of
from napari_cryoshift.widgets.writer import NotWritten, format_of

PLUGIN = "napari-cryoshift"
IN_ANGSTROM = {"scale": (10.0,) * 3, "units": ("angstrom",) * 3}
SUFFIXES = sorted({entry.suffix for entry in FORMATS.values()})


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def tomogram(viewer, blobs, tmp_path):
    """The blobs, opened by napari from a file with an origin."""
    path = tmp_path / "blobs.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(blobs[0].data)
        mrc.voxel_size = 10
        mrc.header.origin = (-100, 20, 30)
        mrc.nstart = (-10, 2, 3)
    (layer,) = viewer.open(str(path), plugin=PLUGIN)
    return layer


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_points_on_a_tomogram_are_written_by_their_suffix(
    viewer, tomogram, blobs, tmp_path, suffix
):
    truth = blobs[1]
    balls = truth.positions[truth.label == "ball"]
    features = {"class": ["ball"] * len(balls)}
    layer = viewer.add_points(balls, name="picks", features=features, **IN_ANGSTROM)
    path = tmp_path / f"list{suffix}"
    assert layer.save(str(path), plugin=PLUGIN) == [str(path)]
    name = format_of(path)
    context = ListContext(voxel_size=10.0, shape=blobs[0].shape, tomogram="blobs")
    back = read_particles(path, name, context=context)
    np.testing.assert_allclose(back.positions, balls, atol=1e-3)
    assert set(back.tomogram) == {"blobs"}


def test_the_points_of_the_session_bring_their_classes(viewer, blobs, tmp_path):
    session = session_of(viewer)
    layers = layers_of(viewer)
    session.embed = lambda: None
    session.open_tomogram(blobs[0])
    session.set_picks(Particles.at(blobs[1].positions, score=np.arange(25.0)))
    session.add_class("ball")
    session.label(session.particles.id[20:22].tolist(), "ball")
    session.set_threshold(10)
    layers.points.save(str(tmp_path / "list.star"), plugin=PLUGIN)
    back = read_particles(tmp_path / "list.star", context=ListContext.of(blobs[0]))
    np.testing.assert_allclose(back.positions, blobs[1].positions[10:], atol=1e-3)
    assert back.predicted.tolist().count("ball") == 2
    np.testing.assert_allclose(back.score, np.arange(10.0, 25))


def test_a_list_that_was_read_is_written_with_what_was_changed(viewer, tomogram, blobs, tmp_path):
    particles = blobs[1].replace(orientations=Rotation.random(25, random_state=3).as_matrix())
    context = ListContext.of(blobs[0])
    write_particles(tmp_path / "in.star", particles, "relion5", context=context)
    (layer,) = viewer.open(str(tmp_path / "in.star"), plugin=PLUGIN)
    layer.selected_data = {0, 3}
    layer.remove_selected()
    layer.add([[5.0, 6.0, 7.0]])
    layer.save(str(tmp_path / "out.star"), plugin=PLUGIN)
    back = read_particles(tmp_path / "out.star", context=context)
    kept = [row for row in range(25) if row not in (0, 3)]
    np.testing.assert_allclose(back.positions[:-1], particles.positions[kept], atol=1e-3)
    np.testing.assert_allclose(back.orientations[:-1], particles.orientations[kept], atol=1e-5)
    np.testing.assert_allclose(back.orientations[-1], np.eye(3), atol=1e-5)
    assert back.id[:-1].tolist() == kept
    np.testing.assert_allclose(back.positions[-1], (5, 6, 7), atol=1e-3)
    assert back.predicted[:-1].tolist() == particles.label[kept].tolist()
    assert back.predicted[-1] == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, r"counts in pixels, so its voxel size is not known; set its scale and its units"),
        ({**IN_ANGSTROM, "scale": (10, 10, 20)}, r"10 × 10 × 20 Å"),
        ({**IN_ANGSTROM, "translate": (0, 0, 5)}, r"set its translation to 0"),
        ({**IN_ANGSTROM, "shown": False}, r"shows 0 points"),
    ],
)
def test_what_is_missing_is_said(viewer, tmp_path, options, sentence):
    layer = viewer.add_points(np.ones((3, 3)), name="picks", **options)
    with pytest.raises(NotWritten, match=sentence):
        layer.save(str(tmp_path / "list.csv"), plugin=PLUGIN)
    assert not (tmp_path / "list.csv").exists()


def test_a_layer_of_another_voxel_size_than_the_tomogram_is_refused(viewer, tomogram, tmp_path):
    layer = viewer.add_points(np.ones((3, 3)), scale=(5,) * 3, units=("angstrom",) * 3)
    with pytest.raises(NotWritten, match="are 5 Å wide, those of blobs 10 Å"):
        layer.save(str(tmp_path / "list.csv"), plugin=PLUGIN)


def test_nanometres_are_understood(viewer, tmp_path):
    layer = viewer.add_points([[1, 2, 3]], scale=(1.5,) * 3, units=("nm",) * 3)
    layer.save(str(tmp_path / "list.json"), plugin=PLUGIN)
    back = read_particles(tmp_path / "list.json", context=ListContext(voxel_size=15.0))
    np.testing.assert_allclose(back.positions, [[1, 2, 3]])
    assert '"x": 45.0' in (tmp_path / "list.json").read_text()


def test_labels_get_the_header_of_their_tomogram(viewer, tomogram, blobs, tmp_path):
    labels = np.zeros(blobs[0].shape, np.uint8)
    labels[20, 15, 15:20] = 7
    layer = viewer.add_labels(labels, **IN_ANGSTROM)
    assert layer.save(str(tmp_path / "labels.mrc"), plugin=PLUGIN)
    with mrcfile.open(tmp_path / "labels.mrc") as mrc, mrcfile.open(tmp_path / "blobs.mrc") as its:
        np.testing.assert_array_equal(mrc.data, labels)
        assert mrc.voxel_size == its.voxel_size
        assert mrc.header.origin == its.header.origin
        assert mrc.nstart == its.nstart


def test_labels_without_a_tomogram_need_a_voxel_size(viewer, tmp_path):
    labels = np.ones((3, 4, 5), int)
    viewer.add_labels(labels, **IN_ANGSTROM).save(str(tmp_path / "a.mrc"), plugin=PLUGIN)
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert float(mrc.voxel_size.x) == pytest.approx(10)
    with pytest.raises(NotWritten, match="counts in pixels"):
        viewer.add_labels(labels, name="b").save(str(tmp_path / "b.mrc"), plugin=PLUGIN)


def test_napari_keeps_its_own_writer_for_csv(viewer, tmp_path):
    viewer.add_points(np.ones((2, 3))).save(str(tmp_path / "points.csv"))
    assert (tmp_path / "points.csv").read_text().startswith("index,axis-0")
