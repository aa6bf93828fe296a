"""Export: what the program needs, what will be written, and the way back."""

import time

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_cryoshift.core.formats import FORMATS, ListContext, read_particles
from napari_cryoshift.core.progress import Progress
from napari_cryoshift.core.types import Particles
from napari_cryoshift.widgets.export import ExportPanel
from napari_cryoshift.widgets.list_fields import TO_WRITE
from napari_cryoshift.widgets.written import Written, how_far_off


@pytest.fixture
def panel(make_napari_viewer, blobs):
    """The panel Export with all blobs labelled."""
    viewer = make_napari_viewer(show=True)
    made = ExportPanel(viewer)
    viewer.window.add_dock_widget(made, name="Export", area="right")
    session = made.session
    session.embed = lambda: None
    session.open_tomogram(blobs[0])
    session.project.import_lists({session.tomogram.name: blobs[1]})
    session.read_classes()
    session.take(session.project.particles(session.tomogram.name))
    return made


def choose(panel, name):
    panel._format.setCurrentIndex(panel._format.findData(name))


def press(panel, text):
    (found,) = [one for one in panel.findChildren(QPushButton) if one.text() == text]
    assert found.isVisible()
    assert found.isEnabled()
    QTest.mouseClick(found, Qt.MouseButton.LeftButton)


def write(panel, qtbot, path):
    panel.write(path)
    qtbot.waitUntil(lambda: bool(panel.written or panel._error.text()), timeout=20_000)
    assert panel._error.text() == ""


def test_every_format_is_written_and_comes_back_where_it_was(panel, blobs, qtbot, tmp_path):
    """One test, as a window takes seconds to open."""
    truth = blobs[1]
    panel.fields._more.toggle()
    for name, entry in FORMATS.items():
        choose(panel, name)
        asked = {field for field, edit in panel.fields._edits.items() if edit.isVisible()}
        assert asked == set(TO_WRITE[name])
        assert panel._preview.toPlainText().count("\n") >= 4 or name == "eman2"
        write(panel, qtbot, tmp_path / f"{name}{entry.suffix}")
        assert panel._said.text().startswith(f"25 particles are in {name}{entry.suffix}.")
        press(panel, "Show re-imported")
        qtbot.waitUntil(lambda: panel._said.text().startswith("Read back"), timeout=20_000)
        assert panel._said.text().startswith(
            "Read back: all 25 particles, at most 0.0 Å from where they are here."
        ), name
        layer = panel.layers.viewer.layers[f"read back: {name}{entry.suffix}"]
        np.testing.assert_allclose(
            layer.data[np.lexsort(np.rint(layer.data).T)],
            truth.positions[np.lexsort(truth.positions.T)],
            atol=1e-3,
        )
        panel.layers.viewer.layers.remove(layer)
        assert panel._error.text() == ""


def test_the_file_comes_from_the_dialog_and_the_preview_is_what_is_in_it(
    panel, qtbot, tmp_path, monkeypatch, type_into
):
    choose(panel, "relion5")
    type_into(panel, "binning", "4")
    path = tmp_path / "list.star"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), ""))
    press(panel, "Write the list …")
    qtbot.waitUntil(lambda: panel.written is not None, timeout=20_000)
    preview = panel._preview.toPlainText().splitlines()
    dated = [line for line in preview if line.startswith("# Created")]
    assert set(preview) - set(dated) <= set(path.read_text().splitlines())
    assert "480 × 480 × 160 pixels of 2.5 Å" in panel._said.text()  # what the binning is for
    assert panel.advice().startswith("list.star is written. “Show re-imported”")
    assert (tmp_path / "list_import.star").is_file()
    type_into(panel, "binning", "2")  # what was written is not what is shown any more
    assert panel.written is None


def test_a_list_for_another_binning_counts_in_its_voxels(panel, blobs, qtbot, tmp_path, type_into):
    choose(panel, "coords")
    type_into(panel, "list_voxel_size", "20")
    write(panel, qtbot, tmp_path / "list.coords")
    assert len(panel.written.files) == 3  # one class a file
    read = np.concatenate([np.loadtxt(file) for file in panel.written.files])
    truth = blobs[1].positions[:, ::-1] / 2
    np.testing.assert_allclose(read[np.lexsort(read.T)], truth[np.lexsort(truth.T)])


def test_only_ticked_and_sure_particles_are_written(panel, blobs, qtbot, tmp_path):
    session, truth = panel.session, blobs[1]
    table = session.particles
    nothing = np.full(25, "", dtype=object)
    label = np.where(np.arange(25) < 6, table.label, nothing).astype(object)
    confidence = np.linspace(0, 1, 25)
    session.particles = table.replace(
        label=label, predicted=truth.label, confidence=confidence, score=np.ones(25)
    )
    choose(panel, "csv")
    panel._items()[0].setCheckState(Qt.CheckState.Unchecked)  # no balls
    write(panel, qtbot, tmp_path / "list.csv")
    assert set(read_particles(tmp_path / "list.csv").predicted) == {"ring", "rod"}
    panel._cut.setValue(50)
    write(panel, qtbot, tmp_path / "sure.csv")
    # A person's own labels always count.
    wanted = ((confidence >= 0.5) | (label != "")) & (truth.label != "ball")
    assert read_particles(tmp_path / "sure.csv").id.tolist() == table.id[wanted].tolist()


def test_what_a_format_loses_is_said_before(panel):
    choose(panel, "imod")
    assert "Keeps position, class." in panel._notes.text()
    assert "Loses score, confidence, orientation, tomogram." in panel._notes.text()
    choose(panel, "csv")
    assert "orientation" in panel._notes.text().split("Loses")[0]


def test_numbered_tomograms_get_the_number_that_was_typed(panel, qtbot, tmp_path, type_into):
    choose(panel, "dynamo")
    type_into(panel, "tomograms", "a, b, blobs")
    write(panel, qtbot, tmp_path / "list.tbl")
    table = np.loadtxt(tmp_path / "list.tbl")
    assert set(table[:, 19]) == {3}
    type_into(panel, "tomograms", "a, b")
    assert "tomogram 'blobs' is none of the 2" in panel._error.text()


def test_a_folder_that_is_gone_is_said_and_nothing_is_shown(panel, qtbot, tmp_path):
    choose(panel, "csv")
    panel.write(tmp_path / "gone" / "list.csv")
    qtbot.waitUntil(lambda: bool(panel._error.text()), timeout=20_000)
    assert "could not write" in panel._error.text()
    assert panel.written is None
    assert not panel._show.isEnabled()


def test_a_list_is_written_while_something_else_runs(panel, qtbot, tmp_path, idle):
    def training():
        while True:
            time.sleep(0.01)
            yield Progress("training", 1, 2)

    panel.session.work.run(training(), "Training", done=print)
    choose(panel, "csv")
    write(panel, qtbot, tmp_path / "list.csv")
    assert len(read_particles(tmp_path / "list.csv")) == 25
    assert panel._bar.isVisible()  # of the training, again
    panel.session.work.stop()
    idle(panel.session)


def test_how_far_off_finds_what_is_off_and_what_is_missing(blobs, tmp_path):
    truth = blobs[1]
    written = Written(
        tmp_path / "x.csv", {tmp_path / "x.csv": truth}, "csv", ListContext.of(blobs[0]), []
    )
    mixed = truth.positions[::-1]
    assert "at most 0.0 Å" in how_far_off(mixed, written)
    assert "at most 5.0 Å" in how_far_off(mixed + np.array([0, 0.5, 0]), written)
    assert how_far_off(mixed[1:], written) == "Read back: 24 of 25 particles."


def test_nothing_chosen_is_nothing_to_write(panel):
    panel.session.take(Particles.at(np.empty((0, 3))))
    assert not panel._write.isEnabled()
    assert panel._preview.toPlainText() == ""
    assert panel.advice().startswith("Nothing to write")
