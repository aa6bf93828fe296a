"""How long a person waits after a click: the predictions of 10,000 candidates, on the screen.

A real window under Label, embeddings computed beforehand. Measured from the key press until the
label is on the disk, all candidates are classified anew and the points have their new colours;
painting by OpenGL, which depends on the graphics card, stands beside it.

    xvfb-run -a python benchmarks/click.py
"""

import json
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.widgets.annotate import AnnotatePanels
from napari_cryoshift.widgets.predictions import Embeddings
from napari_cryoshift.widgets.session import session_of

COUNT, FEATURES, CLICKS = 10_000, 128, 50
KEYS = (Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3)
KINDS = ("ribosome", "proteasome", "ferritin")


def main():
    viewer = napari.Viewer()
    panels = AnnotatePanels(viewer)
    viewer.window.add_dock_widget(panels, name="Annotate", area="right")
    session = session_of(viewer)
    session.embed = lambda: None  # the vectors below stand for a computed embedding
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(100, 400, 400)).astype(np.float32)
    session.open_tomogram(Tomogram(noise, voxel_size=10.0, name="noise"))
    positions = rng.uniform(5, [95, 395, 395], (COUNT, 3))
    session.set_picks(Particles.at(positions, score=rng.uniform(size=COUNT)))
    session.set_threshold(0.0)
    for name in KINDS:
        session.add_class(name)
    kinds = rng.integers(0, 3, COUNT)
    vectors = np.eye(FEATURES)[kinds] * 4 + rng.normal(0, 0.5, (COUNT, FEATURES))
    session.embeddings = Embeddings().add(session.particles, vectors.astype(np.float32))
    panels.setCurrentIndex(2)
    for kind, name in enumerate(KINDS):
        session.label([int(session.particles.id[np.flatnonzero(kinds == kind)[0]])], name)
    canvas = viewer.window._qt_viewer.canvas.native
    follow, paint = [], []
    for row in np.flatnonzero(session.particles.label == "")[:CLICKS]:
        session.select(int(session.particles.id[row]))
        QApplication.processEvents()
        began = time.perf_counter()
        QTest.keyClick(canvas, KEYS[kinds[row]])
        followed = time.perf_counter()
        QApplication.processEvents()
        follow.append(1000 * (followed - began))
        paint.append(1000 * (time.perf_counter() - followed))
    figures = {
        f"{what}, ms": {
            "median": round(float(np.median(times)), 1),
            "90 %": round(float(np.percentile(times, 90)), 1),
            "worst": round(max(times), 1),
        }
        for what, times in (("key press to recoloured points", follow), ("painting", paint))
    }
    print(f"{COUNT:,} candidates, {FEATURES} features, {CLICKS} clicks")
    for what, row in figures.items():
        print(f"{what:36}" + "".join(f"{name} {value:7.1f}   " for name, value in row.items()))
    file = Path(__file__).parent / "results" / "click.json"
    file.write_text(json.dumps({"candidates": COUNT, "clicks": CLICKS, **figures}, indent=1))
    viewer.close()


if __name__ == "__main__":
    main()
