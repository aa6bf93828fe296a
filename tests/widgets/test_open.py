"""Open: files, layers, projects, and work from before a crash."""

import mrcfile
import numpy as np
import pytest
from qtpy.QtWidgets import QPushButton

from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import Particles
from napari_cryoshift.widgets.open import OpenPanel
from napari_cryoshift.widgets.panel import RED


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def panel(viewer):
    made = OpenPanel(viewer)
    viewer.window.add_dock_widget(made, name="Open")
    return made


def write(path, data, voxel_size):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = voxel_size
    return path


def press(panel, text):
    (found,) = [button for button in panel.findChildren(QPushButton) if button.text() == text]
    found.click()


def test_an_empty_window_says_what_to_do(panel):
    assert panel.advice() == "Open a tomogram, or try the sample."
    assert panel._welcome.isVisibleTo(panel)


def test_what_is_in_the_header_is_shown(panel, blobs, tmp_path, idle):
    panel.open_file(write(tmp_path / "blobs.mrc", blobs[0].data, 13.48))
    idle(panel.session)
    assert panel._size.text().startswith("120 × 120 × 40 voxels (x, y, z)")
    assert panel._voxel.value() == pytest.approx(13.48, abs=1e-5)
    assert not panel._welcome.isVisibleTo(panel)


def test_light_particles_are_recognised_and_one_click_flips(panel, blobs, tmp_path, idle):
    panel.open_file(write(tmp_path / "light.mrc", -blobs[0].data, 10))
    idle(panel.session)
    assert panel.session.tomogram.dark is False
    panel._shades.button(1).click()
    assert panel.session.tomogram.dark is True
    assert panel.session.project.tomograms()[0].dark is True


@pytest.mark.parametrize("size", [0, 1])
def test_a_voxel_size_that_nobody_filled_in_is_red_until_it_is_typed(panel, blobs, tmp_path, size):
    panel.open_file(write(tmp_path / "blobs.mrc", blobs[0].data, size))
    line = panel._voxel

    def colour():
        return line.palette().color(line.foregroundRole())

    assert colour() == RED
    assert panel.advice().startswith("Type the voxel size in Å")
    line.setText("12.5")
    line.editingFinished.emit()
    assert panel.session.tomogram.voxel_size == 12.5
    assert colour() != RED
    np.testing.assert_allclose(panel.layers.image.scale, 12.5)


def test_a_typed_voxel_size_is_remembered_with_the_project(panel, blobs, tmp_path):
    path = write(tmp_path / "blobs.mrc", blobs[0].data, 0)
    panel.open_file(path)
    panel.session.change_tomogram(voxel_size=12.5, dark=False)
    panel.open_file(path)
    assert panel.session.tomogram.voxel_size == 12.5
    assert panel.session.tomogram.dark is False


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"not a tomogram", "is no tomogram"), (None, "there is no file")],
)
def test_what_cannot_be_opened_is_said_in_the_panel(panel, tmp_path, content, sentence):
    path = tmp_path / "broken.mrc"
    if content is not None:
        path.write_bytes(content)
    panel.open_file(path)
    assert sentence in panel._error.text()
    assert panel._error.isVisibleTo(panel)
    assert panel.session.tomogram is None


def test_a_truncated_file_leaves_the_open_tomogram_alone(panel, blobs, tmp_path, idle):
    panel.open_file(write(tmp_path / "good.mrc", blobs[0].data, 10))
    idle(panel.session)
    bad = write(tmp_path / "bad.mrc", blobs[0].data, 10)
    bad.write_bytes(bad.read_bytes()[:5000])
    panel.open_file(bad)
    assert "cut short" in panel._error.text()
    assert panel.session.tomogram.name == "good"


def test_a_constant_volume_is_refused(panel, tmp_path):
    panel.open_file(write(tmp_path / "flat.mrc", np.ones((9, 9, 9), np.float32), 10))
    assert "blank" in panel._error.text()
    assert panel.session.tomogram is None


def test_a_file_dropped_on_napari_is_opened(panel, viewer, blobs, tmp_path):
    path = write(tmp_path / "dropped.mrc", blobs[0].data, 10)
    viewer.open(str(path), plugin="napari-cryoshift")
    assert panel.session.tomogram.name == "dropped"
    assert panel.session.tomogram.path == path
    assert [layer.name for layer in viewer.layers] == ["dropped"]


def test_an_open_image_becomes_the_tomogram(panel, viewer, blobs):
    viewer.add_image(blobs[0].data, name="from zarr", scale=(12,) * 3, units=("angstrom",) * 3)
    press(panel, "Use this layer")
    assert panel.session.tomogram.name == "from zarr"
    assert panel.session.tomogram.voxel_size == 12
    assert [layer.name for layer in viewer.layers] == ["from zarr"]


def test_changing_to_a_layer_of_another_voxel_size_takes_all_layers_along(panel, viewer, blobs):
    panel.session.embed = lambda: None
    panel.session.open_tomogram(blobs[0])
    panel.session.set_picks(Particles.at(blobs[1].positions, score=1.0))
    viewer.add_image(blobs[0].data[:, ::2, ::2], scale=(20,) * 3, units=("angstrom",) * 3, name="b")
    panel._layers.setCurrentText("b")
    press(panel, "Use this layer")
    for layer in viewer.layers:
        if layer.name != "blobs":
            np.testing.assert_allclose(layer.scale, 20)


def test_a_deleted_tomogram_layer_comes_back_from_the_panel(panel, viewer, blobs, tmp_path, idle):
    path = write(tmp_path / "blobs.mrc", blobs[0].data, 10)
    panel.open_file(path)
    idle(panel.session)
    viewer.layers.clear()
    panel.open_file(path)
    assert "blobs" in viewer.layers


def leave_work_behind(blobs, tmp_path):
    """What a crash leaves: a scratch project with 12 labels, and the tomogram's file."""
    path = write(tmp_path / "blobs.mrc", blobs[0].data, 10)
    project = Project.scratch()
    from napari_cryoshift.core.tomograms import open_tomogram

    project.add_tomogram(open_tomogram(path))
    project.add_class("ball")
    project.add("blobs", blobs[1].positions[:12], label="ball")
    project.close()


def test_work_from_before_a_crash_is_offered_and_comes_back(make_napari_viewer, blobs, tmp_path):
    leave_work_behind(blobs, tmp_path)
    viewer = make_napari_viewer()
    panel = OpenPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Open")
    panel.session.embed = lambda: None
    assert panel._recovery._text.text().startswith("12 labels in blobs from ")
    press(panel, "Continue")
    assert (panel.session.particles.label == "ball").sum() == 12
    assert [known.name for known in panel.session.classes] == ["ball", "other"]
    assert panel._recovery.isHidden()


def test_a_project_gets_a_name_and_is_opened_again(panel, blobs, tmp_path, idle):
    panel.open_file(write(tmp_path / "blobs.mrc", blobs[0].data, 10))
    idle(panel.session)
    panel.session.embed = lambda: None
    panel.session.set_picks(Particles.at(blobs[1].positions, score=1.0))
    panel._project.named.emit(tmp_path / "mine")
    assert "mine" in panel._project._folder.text()
    panel.session.add_class("ball")
    panel.session.open_project(Project.scratch())
    assert len(panel.session.particles) == 0
    panel._project.opened.emit(tmp_path / "mine")
    assert len(panel.session.particles) == len(blobs[1])
    assert panel.session.classes[0].name == "ball"
