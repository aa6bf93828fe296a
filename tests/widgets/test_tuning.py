"""The embedding is tuned to the open tomogram by a button, and used at once."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods.protonet import ProtoNet, ProtoNetParams
from napari_cryoshift.core.simulate.source import SourceParams
from napari_cryoshift.widgets.session import session_of
from napari_cryoshift.widgets.train import TrainPanel


@pytest.fixture
def base():
    """A small embedding, and what it has learnt from."""
    imaging = SourceParams().imaging.model_copy(update={"box": 16, "voxel_size": 20.0})
    source = SourceParams(
        structures=("2fha", "1bxn"), chimeras=0, assemblies=1, distractors=1, imaging=imaging
    )
    learning = ProtoNetParams(width=8, ways=3, shots=2, queries=2)
    card = {"held_out": [], "source": source.model_dump(mode="json")}
    return Checkpoint.of(ProtoNet(learning, 16), 20.0, card)


@pytest.fixture
def panel(make_napari_viewer, blobs, base):
    viewer = make_napari_viewer()
    made, session = TrainPanel(viewer), session_of(viewer)
    viewer.window.add_dock_widget(made, name="Train", area="right")
    tomogram, truth = blobs
    session.embed = lambda: None
    session.open_tomogram(tomogram)
    session.set_picks(truth.replace(score=np.ones(len(truth))))
    session.set_diameter(120)
    session.use(base)
    made._tuning._form.set_params(made._tuning._form.params(tasks=3))
    return made


def press(panel):
    texts = {button.text(): button for button in panel.findChildren(QPushButton)}
    QTest.mouseClick(texts["Tune the embedding to this tomogram"], Qt.MouseButton.LeftButton)


def runs(session, pattern):
    return list((session.project.folder / "checkpoints").glob(pattern))


def test_the_button_tunes_the_embedding_in_use_and_the_session_uses_the_result(panel, base, idle):
    session = panel.session
    press(panel)
    idle(session, seconds=60)
    assert panel._error.text() == ""
    assert session.checkpoint.card["tuned"]["from"] == base.digest
    assert session.checkpoint.digest != base.digest
    assert "tuned to blobs" in panel._tuning._seen.text()
    assert "missing wedge" in panel._tuning._seen.text()
    (kept,) = runs(session, "*.safetensors")
    assert Checkpoint.load(kept).digest == session.checkpoint.digest
    assert not runs(session, "*.run")


def test_a_tuning_can_be_stopped_and_the_embedding_stays(panel, base, qtbot, idle):
    session = panel.session
    panel._tuning._form.set_params(panel._tuning._form.params(tasks=10_000))
    press(panel)
    job = session.work.job
    learning = "learning the embedding"
    qtbot.waitUntil(lambda: job.latest is not None and job.latest.phase == learning, timeout=60_000)
    panel._bar._stop.click()
    idle(session)
    assert session.checkpoint is base
    assert len(runs(session, "*.run")) == 1  # pressed again, it goes on
    assert not runs(session, "*.safetensors")


def test_without_particles_it_says_what_is_missing(panel, idle):
    session = panel.session
    session.set_picks(session.particles.take([]))
    press(panel)
    idle(session)
    assert "0 particles to look beside; pick some first" in panel._error.text()
