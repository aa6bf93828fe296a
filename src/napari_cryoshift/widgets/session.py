"""The state of one viewer. Dock widgets meet here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_cryoshift.core.types import Particles, Tomogram

from . import queue
from .answering import Answering
from .cluster_notes import ClusterNotes
from .job import sentence

if TYPE_CHECKING:
    import napari


class Session(Answering):
    """What a person is working on, what is looked at, and what a model says of it.

    Attributes
    ----------
    threshold
        Picking score from which on candidates are shown.
    diameter
        Of a particle, Å.
    current
        Id of the particle that is looked at, or None.
    clusters
        Groups of particles that were found.
    """

    threshold_changed = Signal()
    diameter_changed = Signal()
    current_changed = Signal()
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.threshold = -np.inf
        self.diameter = 250.0
        self.current: int | None = None
        self.work.failed.connect(self.failed.emit)
        self.clusters = ClusterNotes(self)
        self._visited: list[int] = []

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Say what a step in the volume could not do, in every panel, instead of a traceback."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.failed.emit(sentence(error))
        else:
            self.failed.emit("")

    def close(self) -> None:
        """Stop what runs and close the project; everything in it is on disk already."""
        self.work.stop()
        if self.project is not None:
            self.project.close()

    # --- what changes with the tomogram and its table ---

    def look_for_changes(self) -> None:
        """Read everything again if another window worked on it; a person's job comes first."""
        if not self.work.in_foreground:  # it may be writing, and the window would wait for it
            super().look_for_changes()

    def open_tomogram(self, tomogram: Tomogram) -> None:
        """Show a tomogram, with what the project has and remembers of it."""
        self._visited.clear()
        self.current = None
        # Before the table is read: what is hidden need not be embedded.
        self.threshold = float(self.remembered(f"threshold of {tomogram.name}", -np.inf))
        self.diameter = float(self.remembered("diameter", self.diameter))
        super().open_tomogram(tomogram)
        self.threshold_changed.emit()
        self.diameter_changed.emit()

    def show_picks(self, picks: Particles) -> None:
        """Take over new candidates, and show those that stand out."""
        self.threshold = queue.first_threshold(picks.score)
        super().show_picks(picks)
        self.set_threshold(self.threshold)

    def show_moved(self) -> None:
        """Take over particles that were moved in the project."""
        self._read()

    def add(self, position: npt.ArrayLike, name: str = "") -> int:
        """Add a particle at zyx voxels, and make it the current one."""
        particle = super().add(position, name)
        self.select(particle)
        return particle

    def take(self, particles: Particles) -> None:
        """Predict for the table, and tell everyone; what is missing for it is computed."""
        super().take(particles)
        if self.current is not None and self.row is None:
            self.select(None)
        self.embed()

    # --- how much is shown ---

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """(n,) whether a particle counts: a pick above the threshold, or a person's own."""
        table = self.particles
        shown: npt.NDArray[np.bool_] = (
            ~(table.score < self.threshold) | (table.label != "") | (table.source != "pick")
        )
        return shown

    def show_from(self, threshold: float) -> None:
        """Show the candidates from this score on, while a person is still choosing."""
        self.threshold = threshold
        self.threshold_changed.emit()

    def set_threshold(self, threshold: float) -> None:
        """Show the candidates from this score on; nothing is picked again."""
        if self.tomogram is not None:
            self.remember(f"threshold of {self.tomogram.name}", threshold)
        self.show_from(threshold)
        self.embed()

    def set_diameter(self, diameter: float) -> None:
        """Say how large a particle is, Å."""
        self.diameter = diameter
        self.remember("diameter", diameter)
        self.diameter_changed.emit()

    # --- the current particle ---

    @property
    def row(self) -> int | None:
        """Row of the current particle in the table, or None."""
        rows = np.flatnonzero(self.particles.id == self.current)
        return int(rows[0]) if len(rows) else None

    def select(self, particle: int | None) -> None:
        """Make a particle the current one."""
        if self.current is not None and particle != self.current:
            self._visited.append(self.current)
        self.current = particle
        self.current_changed.emit()

    def next(self, order: queue.Order) -> None:
        """Go to the particle without a label that is due first in this order."""
        table, row = self.particles, self.row
        here = None if row is None else table.positions[row]
        vectors = self.embeddings.all_of(table) if order == "most informative" else None
        due = queue.priority(table, order, here=here, vectors=vectors)
        due[~self.shown | (table.label != "") | (table.id == self.current)] = -np.inf
        if len(due) and np.isfinite(due.max()):
            self.select(int(table.id[int(due.argmax())]))

    def previous(self) -> None:
        """Go back to the particle that was current before."""
        while self._visited:
            particle = self._visited.pop()
            if particle in self.particles.id:
                self.current = particle
                self.current_changed.emit()
                return


_SESSIONS: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(viewer: napari.Viewer) -> Session:
    """Return the session of a viewer; the first call makes it.

    napari hands every dock widget a proxy of its own, so the viewer behind it is what counts.
    """
    real = getattr(viewer, "__wrapped__", viewer)
    if real not in _SESSIONS:
        _SESSIONS[real] = Session()
        finalize(real, _SESSIONS[real].close)
    return _SESSIONS[real]
