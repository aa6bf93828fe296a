"""Simulate: the example follows the form, and what is made can be read, stopped and opened."""

import threading

import numpy as np
import pytest
import torch
from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_cryoshift.core.formats import read_particles
from napari_cryoshift.core.progress import Progress, finish
from napari_cryoshift.core.sets import read_set
from napari_cryoshift.core.simulate.settings import PAPERS, ImagingParams
from napari_cryoshift.core.simulate.source import SourceParams, simulate_source
from napari_cryoshift.core.simulate.tomogram import CrowdedParams
from napari_cryoshift.core.structures import library
from napari_cryoshift.widgets.examples import part_of, subtomogram_example
from napari_cryoshift.widgets.live import Live
from napari_cryoshift.widgets.simulate import SimulatePanel

GROEL, RIBOSOME = "1mnf", "4v6x"


@pytest.fixture
def settled(qtbot):
    """Wait until the example of a panel is that of its form."""

    def wait(panel):
        live = panel._live
        qtbot.waitUntil(
            lambda: not live._timer.isActive() and live._running is None, timeout=20_000
        )

    return wait


@pytest.fixture
def panel(make_napari_viewer, qtbot, settled):
    """The panel with two structures ticked, and its first example."""
    viewer = make_napari_viewer(show=True)
    made = SimulatePanel(viewer)
    viewer.window.add_dock_widget(made, name="Simulate", area="right")
    made._structures.tick((RIBOSOME, GROEL))
    qtbot.waitUntil(lambda: "SNR" in made._preview._words.text(), timeout=20_000)
    settled(made)
    yield made
    made._live.rest()
    settled(made)


def press(panel, text):
    (found,) = (one for one in panel.findChildren(QPushButton) if one.text() == text)
    found.click()


def choose(panel, kind):
    panel._kinds.button(("Subtomograms", "Tomogram").index(kind)).click()


def type_in(qtbot, line, text):
    line.setFocus()
    line.selectAll()
    qtbot.keyClicks(line, text)
    qtbot.keyClick(line, Qt.Key.Key_Return)


def set_range(qtbot, editor, low, high):
    for line, text in zip(editor._edits, (low, high), strict=True):
        type_in(qtbot, line, text)


def picture(panel):
    return panel._preview._noisy.grab().toImage()


# --- the example ---


def test_another_ratio_gives_another_picture_and_says_so(panel, qtbot, settled):
    before = picture(panel)
    set_range(qtbot, panel._set._imaging.editor("snr"), "0.02", "0.02")
    settled(panel)
    assert picture(panel) != before
    assert "SNR 0.02 (nominal)" in panel._preview._words.text()


def test_the_example_is_not_made_in_the_thread_of_the_window(panel, settled, monkeypatch):
    threads = []
    monkeypatch.setattr(
        "napari_cryoshift.widgets.examples.simulate_subtomograms",
        lambda *_, **__: threads.append(threading.current_thread()),
    )
    panel._live.renew()
    settled(panel)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_stepping_shows_other_examples_and_back_the_same(panel, settled):
    first = picture(panel)
    press(panel, "▸")
    settled(panel)
    assert picture(panel) != first
    press(panel, "◂")
    settled(panel)
    assert picture(panel) == first


def test_a_paper_fills_in_the_form_and_a_change_makes_it_ones_own(panel, qtbot, settled):
    recipe = panel._set
    recipe._paper.setCurrentText("cryo-shift")
    settled(panel)
    assert recipe.params((GROEL,)).imaging == PAPERS["cryo-shift"]
    type_in(qtbot, recipe._imaging.editor("voxel_size"), "10")
    assert recipe._paper.currentText() == "my own"
    type_in(qtbot, recipe._imaging.editor("voxel_size"), "13.68")
    assert recipe._paper.currentText() == "cryo-shift"


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [("0", "1", "the lowest snr is 0"), ("3", "1", "give the smaller number first")],
)
def test_what_does_not_fit_is_said_beside_the_example(panel, qtbot, settled, low, high, sentence):
    ratio = panel._set._imaging.editor("snr")
    before = picture(panel)
    set_range(qtbot, ratio, low, high)
    settled(panel)
    assert sentence in panel._preview._words.text()
    assert panel._status.text().startswith("Correct what is said in red")
    assert picture(panel) != before
    set_range(qtbot, ratio, "0.05", "3")
    settled(panel)
    assert picture(panel) == before
    assert panel._status.text().startswith("200 volumes of 2 classes")


def test_a_structure_wider_than_the_box_is_said_and_all_that_fit_leaves_it_out(panel, settled):
    panel._structures.tick(("1ihm", GROEL))
    panel._set._paper.setCurrentText("fsft-s1")  # boxes of 350 Å
    settled(panel)
    assert "396 Å wide but the box only 350 Å" in panel._preview._words.text()
    press(panel, "All that fit")
    settled(panel)
    assert "SNR" in panel._preview._words.text()
    diameters = {key: entry.diameter for key, entry in library().entries.items()}
    assert set(panel._structures.ids()) == {k for k, size in diameters.items() if size <= 350}


def test_without_a_tick_it_asks_for_one(panel, settled, tmp_path):
    press(panel, "None")
    settled(panel)
    assert "no structure is ticked" in panel._preview._words.text()
    panel.make(tmp_path / "set.zarr")
    assert "no structure is ticked" in panel._error.text()
    assert not list(tmp_path.glob("set*"))


def test_nothing_is_made_for_a_panel_that_nobody_sees(panel, settled):
    made = []
    panel._live.made.connect(made.append)
    panel.hide()
    panel._structures.tick((GROEL,))
    settled(panel)
    assert not made
    panel.show()
    settled(panel)
    assert len(made) == 1


def test_an_example_shows_the_particle_where_the_clean_one_lies():
    imaging = ImagingParams(snr=(1e4, 1e4), missing_wedge=(0, 0), defocus=(-1, -1), shift=60)
    params = SourceParams(structures=(RIBOSOME, GROEL), imaging=imaging)
    examples = [finish(subtomogram_example(params, 1, number)) for number in range(3)]
    match = np.corrcoef(
        [example.volume.ravel() for example in examples],
        [example.clean.ravel() for example in examples],
    )[:3, 3:]
    assert np.diag(match).min() > 0.7
    assert match.argmax(axis=1).tolist() == [0, 1, 2]


# --- parts of tomograms ---


def test_a_part_is_as_crowded_as_the_whole():
    whole = CrowdedParams(
        shape=(50, 480, 480),
        voxel_size=10,
        classes=("4v6x", "1mnf", "2fha"),
        particles_per_class=(64, 32, 3),
        membranes=3,
        beads=0,
    )
    part = part_of(whole)
    assert part.shape == (50, 120, 120)  # 1200 Å
    assert part.particles_per_class == (4, 2, 0)  # a sixteenth
    assert (part.membranes, part.beads) == (1, 0)
    small = whole.model_copy(update={"shape": (50, 100, 110)})
    assert part_of(small) == small


def test_a_tomogram_is_shown_in_part(panel, qtbot, settled):
    choose(panel, "Tomogram")
    assert panel._preview._words.text() == ""  # nor what was seen of a subtomogram
    settled(panel)
    assert "particles, which fill" in panel._preview._words.text()
    before = picture(panel)
    type_in(qtbot, panel._tomogram._form.editor("snr"), "50")
    settled(panel)
    assert picture(panel) != before


# --- making it ---


def make_small(panel, qtbot):
    recipe = panel._set
    recipe._imaging.editor("box").setValue(16)
    type_in(qtbot, recipe._imaging.editor("voxel_size"), "25")
    recipe._set.editor("per_class").setValue(3)


@pytest.mark.parametrize(
    ("typed", "files", "made"),
    [
        ("set", "Zarr store (*.zarr)", "set.zarr"),
        ("set.mrcs", "Zarr store (*.zarr)", "set.mrcs"),
        ("set", "Folder of MRC volumes (*)", "set"),
    ],
)
def test_a_set_is_what_the_form_says(panel, qtbot, idle, tmp_path, monkeypatch, typed, files, made):
    make_small(panel, qtbot)
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_, **__: (str(tmp_path / typed), files)
    )
    press(panel, "Make a set …")
    idle(panel.session)
    volumes = read_set(tmp_path / made)
    assert volumes.voxel_size == 25
    names = {library()[key].name for key in (RIBOSOME, GROEL)}
    assert {volumes.classes[label] for label in volumes.labels} == names
    wanted = simulate_source(panel._set.params(panel._structures.ids()))
    torch.testing.assert_close(volumes[:], wanted[:])
    assert panel.advice().startswith(f"6 volumes are in {made}")


@pytest.mark.parametrize(
    ("kind", "name"), [("Subtomograms", "made.zarr"), ("Tomogram", "made.mrc")]
)
def test_stopping_leaves_nothing(panel, qtbot, idle, tmp_path, kind, name):
    choose(panel, kind)
    panel._set._set.editor("per_class").setValue(5000)
    summary = panel.advice()
    panel.make(tmp_path / name)
    job = panel.session.work.job
    qtbot.waitUntil(lambda: job.latest is not None, timeout=20_000)
    assert "leaves nothing behind" in panel.advice()
    panel._bar._stop.click()
    idle(panel.session)
    assert not list(tmp_path.glob("*made*"))
    assert panel.advice() == summary


def test_a_name_that_is_taken_is_said(panel, qtbot, idle, tmp_path):
    make_small(panel, qtbot)
    for kind, name in (("Subtomograms", "set.mrcs"), ("Tomogram", "one.mrc")):
        (tmp_path / name).write_text("mine")
        choose(panel, kind)
        panel.make(tmp_path / name)
        idle(panel.session)
        assert f"{name} is there already" in panel._error.text()
        assert (tmp_path / name).read_text() == "mine"


def test_a_tomogram_is_opened_with_its_truth(panel, idle, settled, tmp_path):
    panel._tomogram._form.set_params(
        CrowdedParams(shape=(36, 72, 64), particles_per_class=2, membranes=0, beads=0, crowding=0)
    )
    choose(panel, "Tomogram")
    panel.make(tmp_path / "crowded.mrc")
    idle(panel.session)
    tomogram = panel.session.tomogram
    assert (tomogram.name, tomogram.shape, tomogram.dark) == ("crowded", (36, 72, 64), True)
    truth = panel.layers.viewer.layers["truth of crowded"]
    assert sorted(truth.features["class"]) == sorted(
        2 * [library()[key].name for key in (RIBOSOME, GROEL)]
    )
    written = read_particles(tmp_path / "crowded.csv")
    np.testing.assert_allclose(truth.data, written.positions, atol=1e-3)
    assert panel.layers.viewer.layers.selection.active is panel.layers.image


# --- the newest wins ---


def test_of_many_changes_only_the_last_is_made(qtbot):
    begun, made, asked = [], [], [0]

    def job():
        number = asked[-1]
        begun.append(number)
        for step in range(30):
            threading.Event().wait(0.01)
            yield Progress("making", step, 30)
        return number

    parent = QObject()
    live = Live(job, "Making", parent)
    live.made.connect(made.append)
    live.renew()
    qtbot.waitUntil(lambda: begun == [0], timeout=5000)
    for number in range(1, 6):
        asked.append(number)
        live.renew()
        qtbot.wait(10)
    qtbot.waitUntil(lambda: bool(made), timeout=10_000)
    assert begun == [0, 5]
    assert made == [5]
    qtbot.waitUntil(lambda: live._running is None, timeout=5000)
