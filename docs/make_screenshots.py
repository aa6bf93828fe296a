"""Take the pictures of the handbook: the window on the sample tomogram, step by step.

Run it where a window can be opened, or under Xvfb:

    xvfb-run -a -s "-screen 0 1280x1024x24" python docs/make_screenshots.py
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtGui import QPainter, QPixmap
from scipy.spatial import cKDTree

from napari_cryoshift.core.formats import ListContext, write_particles
from napari_cryoshift.core.methods.cryoshift_data import KNOWN_SOURCE
from napari_cryoshift.core.methods.cryoshift_params import (
    CryoShiftParams,
    DiscriminatorParams,
    StepZeroParams,
)
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.sample import sample_tomogram
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.core.workflows import SourceParams
from napari_cryoshift.widgets.annotate import AnnotatePanels
from napari_cryoshift.widgets.panel import Folded
from napari_cryoshift.widgets.session import Session, session_of
from napari_cryoshift.widgets.simulate import SimulatePanel
from napari_cryoshift.widgets.train import TrainPanel

IMAGES = Path(__file__).parent / "images"
KINDS = ("80S ribosome (human)", "20S proteasome (Thermoplasma acidophilum)", "ferritin (human)")
NAMES = ("ribosome", "proteasome", "ferritin")
STRUCTURES = ("4v6x", "3j9i", "2fha")
SHOTS = 6
SHORT = CryoShiftParams(
    step_zero=StepZeroParams(epochs=15),
    discriminator=DiscriminatorParams(pretraining=30),
    iterations=20,
    epochs=4,
    batch=8,
)
"""Minutes instead of half an hour: the pictures show what there is to see, not how good it is."""


def wait(milliseconds: int = 400) -> None:
    """Let the window work and paint."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def wait_for(session: Session) -> None:
    """Let the window work until no job is left."""
    wait()
    while session.work.job is not None:
        wait(50)
    wait()


def true_kinds(session: Session, truth: Particles) -> np.ndarray:
    """Return (n,) what each candidate really is: one of NAMES or "other"."""
    away, nearest = cKDTree(truth.positions).query(session.particles.positions)
    names = dict(zip(KINDS, NAMES, strict=True))
    kinds = np.array([names.get(kind, OTHER) for kind in truth.label], dtype=object)[nearest]
    # Particles of other kinds, and what is no particle, are both "other" here.
    return np.where(away < 8, kinds, OTHER)


def take_judging(session: Session, training: TrainPanel) -> None:
    """Adapt to the sample, briefly, and take the three sections that judge it."""
    training._cards["cryoshift"].radio.setChecked(True)
    training._sources.tick(STRUCTURES)
    training._simulation.set_params(KNOWN_SOURCE.model_copy(update={"per_class": 200}))
    training._forms["cryoshift"].set_params(SHORT)
    training.start()
    wait_for(session)
    judging, pictures = training._judging, []
    judging.show_examples()
    wait_for(session)
    judging.draw_map()
    wait_for(session)
    judging._colour.setCurrentIndex(1)
    right, _, examples, plane = judging.findChildren(Folded)
    for unfolded in ((right, plane), (examples,)):
        for fold in unfolded:
            fold.toggle()
        wait(1000)
        pictures.append(judging.grab())
        for fold in unfolded:
            fold.toggle()
    height = max(picture.height() for picture in pictures)
    both = QPixmap(sum(picture.width() for picture in pictures), height)
    both.fill(judging.palette().window().color())
    painter, left = QPainter(both), 0
    for picture in pictures:
        painter.drawPixmap(left, 0, picture)
        left += picture.width()
    painter.end()
    both.save(str(IMAGES / "12-judging.png"))


def main() -> None:
    """Go the whole way and take a picture of each step."""
    IMAGES.mkdir(exist_ok=True)
    scratch = tempfile.TemporaryDirectory()
    os.environ["CRYOSHIFT_SCRATCH"] = scratch.name
    _, truth = finish(sample_tomogram())

    viewer = napari.Viewer(show=False, show_welcome_screen=False)
    panels = AnnotatePanels(viewer)
    viewer.window.add_dock_widget(panels, name="CryoShift", area="right")
    viewer.show()
    viewer.window.resize(1280, 720)
    session = session_of(viewer)
    opening, picking, _, training, grouping, _, exporting = (panels.widget(i) for i in range(7))

    def show(title: str, name: str, before: Callable[[], object] = lambda: None) -> None:
        titles = [panels.widget(index).title for index in range(panels.count())]
        panels.setCurrentIndex(titles.index(title))
        wait()
        before()
        wait_for(session)
        viewer.screenshot(str(IMAGES / f"{name}.png"), canvas_only=False, flash=False)

    show("Open", "0-start")
    show("Open", "1-open", opening.open_sample)
    show("Pick", "2-diameter")
    show("Pick", "3-pick", picking.find)
    for name in NAMES:
        session.add_class(name)
    kinds = true_kinds(session, truth)
    for name in (*NAMES, OTHER):
        rows = np.flatnonzero((kinds == name) & session.shown)[:SHOTS]
        for particle in session.particles.id[rows]:
            session.label([int(particle)], name)
    session.select(int(session.particles.id[np.flatnonzero(kinds == "ribosome")[0]]))
    show("Label", "4-label", lambda: session.next("least certain"))

    training._simulation.set_params(
        SourceParams(chimeras=0, assemblies=0, distractors=0, per_class=50)
    )
    training._sources.tick(("4v6x", "1mnf", "2fha", "3j9i", "3cf3", "1wcm"))
    show("Train", "5-train")
    training.start()
    wait(15_000)
    viewer.screenshot(str(IMAGES / "6-training.png"), canvas_only=False, flash=False)
    session.work.stop()
    wait_for(session)

    show("Review", "7-review")
    show("Export", "8-export")
    with tempfile.TemporaryDirectory() as folder:
        exporting.write(Path(folder) / "sample_particles.star")
        wait(2000)
        show("Export", "9-exported", exporting.show_written)
        listed = Path(folder) / "truth.star"
        context = ListContext.of(session.tomogram)
        write_particles(listed, truth, "relion5", context=context)
        show("Open", "10-import", lambda: opening.import_list(listed))
    panels.setCurrentWidget(training)
    take_judging(session, training)
    grouping.find()
    wait_for(session)
    second = session.clusters.all[1].id
    show("Clusters", "13-clusters", lambda: session.clusters.choose([second]))
    viewer.close()
    viewer = napari.Viewer(show=False, show_welcome_screen=False)
    viewer.window.add_dock_widget(SimulatePanel(viewer), name="Simulate", area="right")
    viewer.show()
    viewer.window.resize(1280, 720)
    wait(6000)
    viewer.screenshot(str(IMAGES / "11-simulate.png"), canvas_only=False, flash=False)
    viewer.close()
    scratch.cleanup()


if __name__ == "__main__":
    main()
