"""What a person has and does, as the project keeps it.

The project is the truth: every change goes there first, which commits it, and is read back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_cryoshift.core.project import ParticleClass, Project, TomogramRecord
from napari_cryoshift.core.types import Particles, Tomogram


class Notebook:
    """A project that is open, one of its tomograms, and every step that can be undone.

    Signals carry nothing; who hears one reads the notebook. They are emitted, and attributes are
    written, in the main thread only.

    Attributes
    ----------
    project
        None until the first tomogram is opened.
    named
        A person chose the folder of the project.
    tomogram
        The one that is looked at.
    classes
        Kinds of particle, `OTHER` last.
    particles
        The table of that tomogram.
    """

    tomogram_changed = Signal()
    particles_changed = Signal()
    classes_changed = Signal()
    marks_changed = Signal()

    def __init__(self) -> None:
        self.project: Project | None = None
        self.named = False
        self.tomogram: Tomogram | None = None
        self.classes: tuple[ParticleClass, ...] = ()
        self.particles = Particles.at(np.empty((0, 3)))
        self._version = 0

    def take(self, particles: Particles) -> None:
        """Take over a table that was read from the project, and tell everyone."""
        self.particles = particles
        self.particles_changed.emit()

    # --- project and tomogram ---

    def open_project(self, project: Project, *, named: bool = False) -> None:
        """Continue this project; the one that was open is complete on disk already."""
        if self.project is not None:
            self.project.close()
        self.project, self.named = project, named
        self._version = project.data_version
        if self.tomogram is not None:
            self.tomogram = None
            self.tomogram_changed.emit()
            self.take(Particles.at(np.empty((0, 3))))
        self.classes = project.classes()
        self.classes_changed.emit()

    def save_project_as(self, folder: Path) -> None:
        """Move the project to a folder that a person chose."""
        if self.project is not None:
            self.project.save_as(folder)
            self.named = True

    def open_tomogram(self, tomogram: Tomogram) -> None:
        """Show a tomogram; what the project remembers of it wins over its header."""
        if self.project is None:
            self.open_project(Project.scratch())
        record = self.record_of(tomogram)
        if record is not None:
            tomogram = dataclasses.replace(tomogram, voxel_size=record.voxel_size, dark=record.dark)
        self._keep_tomogram(tomogram)

    def record_of(self, tomogram: Tomogram) -> TomogramRecord | None:
        """Return what the project remembers of a tomogram of this name and size, or None."""
        records = () if self.project is None else self.project.tomograms()
        same = (tomogram.name, tomogram.shape)
        return next((record for record in records if (record.name, record.shape) == same), None)

    def change_tomogram(self, *, voxel_size: float | None = None, dark: bool | None = None) -> None:
        """Correct what the header says, or whether particles are dark; the project remembers."""
        _, tomogram = self._opened()
        self._keep_tomogram(
            dataclasses.replace(
                tomogram,
                voxel_size=tomogram.voxel_size if voxel_size is None else voxel_size,
                dark=tomogram.dark if dark is None else dark,
            )
        )

    def look_for_changes(self) -> None:
        """Read everything again if another window worked on the same project."""
        if self.project is not None and self.tomogram is not None:
            version = self.project.data_version
            if version != self._version:
                self._version = version
                self._read_all()

    def remembered(self, name: str, default: Any = None) -> Any:
        """Return what the project remembers under a name."""
        return default if self.project is None else self.project.get(name, default)

    def remember(self, name: str, value: Any) -> None:
        """Keep a JSON value in the project; undo leaves it."""
        if self.project is not None:
            self.project.set(name, value)

    @property
    def marks(self) -> frozenset[str]:
        """Steps that a person went through, of those that nothing else tells."""
        return frozenset(self.remembered("marks", ()))

    def mark(self, step: str) -> None:
        """Remember that a person went through a step."""
        self.remember("marks", sorted(self.marks | {step}))
        self.marks_changed.emit()

    # --- particles and classes: each of these is a step that can be undone ---

    def set_picks(self, picks: Particles) -> None:
        """Replace the candidates; what a person labelled stays."""
        project, tomogram = self._opened()
        project.set_picks(tomogram.name, picks)
        self.show_picks(picks)

    def show_picks(self, picks: Particles) -> None:
        """Take over candidates that were written to the project."""
        self._read()

    def label(self, ids: Sequence[int], name: str) -> None:
        """Say what particles are; "" takes it back."""
        project, _ = self._opened()
        project.label(ids, name)
        # Committed; this one column is changed here too, as reading 10,000 rows takes too long
        # for the predictions to follow a click.
        label = self.particles.label.copy()
        label[np.isin(self.particles.id, ids)] = name
        self.take(self.particles.replace(label=label))

    def add(self, position: npt.ArrayLike, name: str = "") -> int:
        """Add a particle that the picker missed, at zyx voxels; return its id."""
        project, tomogram = self._opened()
        (particle,) = project.add(tomogram.name, position, label=name)
        self._read()
        return int(particle)

    def move(self, particle: int, position: npt.ArrayLike) -> None:
        """Put a particle at zyx voxels."""
        self._opened()[0].move(particle, position)
        self._read()

    def delete(self, ids: Sequence[int]) -> None:
        """Remove particles."""
        self._opened()[0].delete(ids)
        self._read()

    def add_class(self, name: str) -> None:
        """Make a kind of particle; its colour and key are the next free ones."""
        self._opened()[0].add_class(name.strip())
        self._read_all()

    def add_classes(self, names: Sequence[str]) -> None:
        """Make several kinds of particle, in one step."""
        self._opened()[0].add_classes(names)
        self._read_all()

    def rename_class(self, old: str, new: str) -> None:
        """Call a kind of particle something else; its labels follow."""
        self._opened()[0].rename_class(old, new.strip())
        self._read_all()

    def remove_class(self, name: str) -> None:
        """Remove a kind of particle; its particles stay, without a label."""
        self._opened()[0].remove_class(name)
        self._read_all()

    def undo(self) -> None:
        """Take the last step back."""
        self._opened()[0].undo()
        self._read_all()

    def redo(self) -> None:
        """Do again what was taken back."""
        self._opened()[0].redo()
        self._read_all()

    def read_again(self) -> None:
        """Take over what was written to the project by another way than those above."""
        self._opened()
        self._read_all()

    def read_classes(self) -> None:
        """Read the classes of the project again, and tell everyone if they are others."""
        classes = self._opened()[0].classes()
        if classes != self.classes:  # all points are drawn anew for it
            self.classes = classes
            self.classes_changed.emit()

    # --- inside ---

    def _opened(self) -> tuple[Project, Tomogram]:
        if self.project is None or self.tomogram is None:
            raise ValueError("no tomogram is open; open one, or try the sample")
        return self.project, self.tomogram

    def _keep_tomogram(self, tomogram: Tomogram) -> None:
        self.tomogram = tomogram
        self._opened()[0].add_tomogram(tomogram)
        self.tomogram_changed.emit()
        self._read()

    def _read(self) -> None:
        project, tomogram = self._opened()
        self.take(project.particles(tomogram.name))

    def _read_all(self) -> None:
        """Read the classes, too: a step of undo may concern either."""
        self.read_classes()
        self._read()
