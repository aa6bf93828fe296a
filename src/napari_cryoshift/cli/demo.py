"""`cryoshift demo`: the whole way on the sample, with a report."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from napari_cryoshift.core import report
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.demo import DIAMETER, DemoResult, run_demo
from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.formats import ListContext, write_particles
from napari_cryoshift.core.formats.base import spoken_class
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.core.workflows import crop_for

from .command import Command, output_folder
from .demo_page import page
from .particles import load_embedding


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Run the whole way on a simulated sample, and report on it.

    A crowded tomogram is simulated (once; it is kept in the cache) and its particles are picked. A
    few candidates of each class are labelled from the truth, as a person would by clicking; all
    others are classified, and the result is compared with the truth.
    """

    out: Path
    """Folder for report.html, its pictures and the particle lists; it is made if it is missing."""
    checkpoint: Path | None = None
    """Embedding that `cryoshift train` wrote; by default the one that comes with the package."""
    seed: int = 0
    """Of the choice of labelled candidates."""
    window: bool = False
    """Open the result in napari."""

    def run(self) -> None:
        """Run the demo, write all files and print the figures."""
        if self.window and importlib.util.find_spec("napari") is None:
            raise ValueError(
                "napari is not installed; pip install 'napari-cryoshift[gui]' or leave out --window"
            )
        if self.seed < 0:
            raise ValueError(f"the seed is {self.seed}; give 0 or more")
        checkpoint = load_embedding(self.checkpoint)
        folder = output_folder(self.out)
        result = self.finish(run_demo(checkpoint, self.seed))
        _write_lists(result, folder)
        _draw(result, checkpoint, folder)
        write_text(folder / "report.html", page(result, self.seed))
        print(result.summary())
        print(f"report and pictures in {folder / 'report.html'}")
        if self.window:
            _open_window(result, folder / "project")


def _write_lists(result: DemoResult, folder: Path) -> None:
    """Write what each step leaves, so that each command can be tried on it."""
    context, all_of_them = ListContext.of(result.tomogram), result.particles
    picks = Particles.at(all_of_them.positions, id=all_of_them.id, score=all_of_them.score)
    labelled = all_of_them.label != ""
    support = picks.replace(label=all_of_them.label).take(labelled)
    for name, particles in (
        ("picks", picks),
        ("support", support),
        ("classified", all_of_them),
        ("truth", result.truth),
    ):
        write_particles(folder / f"{name}.csv", particles, "csv", context=context)
    relion = folder / "relion5"
    relion.mkdir(exist_ok=True)
    found = all_of_them.take(spoken_class(all_of_them) != OTHER)
    write_particles(relion / "particles.star", found, "relion5", context=context)


def _draw(result: DemoResult, checkpoint: Checkpoint, folder: Path) -> None:
    particles, actual = result.particles, result.actual
    classes = [name for name in particles.classes if name != OTHER]
    colour = report.colours(classes)
    pictures = {
        "section": report.section_picture(
            result.tomogram,
            particles.positions,
            particles.predicted,
            colour,
            diameter=DIAMETER,
            wrong=particles.predicted != actual,
        ),
        "gallery": report.gallery_picture(
            crop_for(result.tomogram, particles, checkpoint),
            particles.predicted,
            particles.confidence,
        ),
        "embedding": report.embedding_picture(
            result.vectors, actual, particles.label != "", colour
        ),
        "precision_recall": report.precision_recall_picture(
            {name: result.curve(name) for name in classes}, result.curve(), colour
        ),
    }
    for name, picture in pictures.items():
        picture.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight")


def _open_window(result: DemoResult, folder: Path) -> None:
    """Open the sample with its candidates and labels; the window classifies them itself."""
    import napari

    with Project.open(folder) as project:
        if not project.tomograms():
            _fill(project, result)
    viewer = napari.Viewer()
    # By its name in the manifest: the command line does not know the window's modules.
    _, panels = viewer.window.add_plugin_dock_widget("napari-cryoshift", "Annotate")
    panels.session.open_project(Project.open(folder))
    panels.session.open_tomogram(result.tomogram)
    napari.run()


def _fill(project: Project, result: DemoResult) -> None:
    particles, name = result.particles, result.tomogram.name
    project.add_tomogram(result.tomogram)
    for known in sorted(set(result.truth.label)):
        project.add_class(known)
    labelled = particles.take(particles.label != "")
    project.add(name, labelled.positions, label=labelled.label, score=labelled.score)
    project.set_picks(name, particles)
    project.set("diameter", DIAMETER)
