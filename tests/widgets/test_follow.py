"""After a key press the predictions of all candidates follow at once, on the screen too."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.widgets.annotate import AnnotatePanels
from napari_cryoshift.widgets.layers import CANDIDATES
from napari_cryoshift.widgets.predictions import Embeddings
from napari_cryoshift.widgets.session import session_of
from napari_cryoshift.widgets.style import colour_of, rgba

COUNT, FEATURES = 2_000, 128
KEYS = (Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3)
KINDS = ("ribosome", "proteasome", "ferritin")


@pytest.fixture
def labelling(make_napari_viewer, qtbot):
    """A window under Label, with 2,000 candidates that are embedded already."""
    viewer = make_napari_viewer(show=True)
    panels = AnnotatePanels(viewer)
    viewer.window.add_dock_widget(panels, name="Annotate", area="right")
    viewer.window._qt_window.resize(1280, 720)
    session = session_of(viewer)
    session.embed = lambda: None
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(100, 400, 400)).astype(np.float32)
    session.open_tomogram(Tomogram(noise, voxel_size=10.0, name="noise"))
    positions = rng.uniform(5, [95, 395, 395], (COUNT, 3))
    session.set_picks(Particles.at(positions, score=rng.uniform(size=COUNT)))
    session.set_threshold(0.0)
    for name in KINDS:
        session.add_class(name)
    table = session.particles
    kinds = rng.integers(0, 3, COUNT)
    vectors = np.eye(FEATURES)[kinds] * 4 + rng.normal(0, 0.5, (COUNT, FEATURES))
    session.embeddings = Embeddings().add(table, vectors.astype(np.float32))
    panels.setCurrentIndex(2)
    for row in range(3):
        session.label([int(table.id[np.flatnonzero(kinds == row)[0]])], KINDS[row])
    qtbot.wait(200)
    return viewer, session, kinds


def test_predictions_follow_a_click(labelling):
    viewer, session, kinds = labelling
    canvas = viewer.window._qt_viewer.canvas.native
    points = viewer.layers[CANDIDATES]
    for row in np.flatnonzero(session.particles.label == "")[:5]:
        session.select(int(session.particles.id[row]))
        QApplication.processEvents()
        QTest.keyClick(canvas, KEYS[kinds[row]])
        # Without going round the event loop: the key press itself has done it all.
        assert session.particles.label[row] == KINDS[kinds[row]]
        colours = colour_of(session.classes)
        expected = [rgba(colours[name])[:3] for name in session.particles.predicted]
        np.testing.assert_allclose(points.border_color[:, :3], expected, atol=1e-6)
    assert (session.particles.predicted == np.array(KINDS, dtype=object)[kinds]).mean() > 0.95
