"""The state of one viewer. Dock widgets meet here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_cryoshift.core import workflows
from napari_cryoshift.core.domain_views import guess_kinds
from napari_cryoshift.core.open_set import withheld
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import Particles, Tomogram

from . import predictions, queue
from .answers import Answers, answers_by_itself
from .cluster_notes import ClusterNotes
from .job import sentence
from .notebook import Notebook
from .predictions import Embeddings, Judged
from .work import Work

if TYPE_CHECKING:
    import napari

    from napari_cryoshift.core.checkpoint import Checkpoint


class Session(Notebook):
    """What a person is working on, what is looked at, and what a model says of it.

    Attributes
    ----------
    threshold
        Picking score from which on candidates are shown.
    diameter
        Of a particle, Å.
    sure_enough
        Confidence from which on a prediction is given; what is less sure is unknown.
    current
        Id of the particle that is looked at, or None.
    checkpoint
        The model that predicts; None until it is needed.
    embeddings
        What the model sees in the particles.
    fits
        How well the particles fit the known structures, as far as they were compared.
    answers
        What the model says of them by itself; None if predictions start from labels.
    work
        The long work of this session.
    clusters
        Groups of particles that were found.
    """

    threshold_changed = Signal()
    diameter_changed = Signal()
    current_changed = Signal()
    checkpoint_changed = Signal()
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.threshold = -np.inf
        self.diameter = 250.0
        self.sure_enough = 0.0
        self.current: int | None = None
        self.checkpoint: Checkpoint | None = None
        self.embeddings = Embeddings()
        self.fits = Embeddings()
        self.answers: Answers | None = None
        self.work = Work()
        self.work.failed.connect(self.failed.emit)
        self.work.finished.connect(self.embed)
        self.clusters = ClusterNotes(self)
        self._visited: list[int] = []
        self._rule: workflows.Rule = workflows.fit_head

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
        self.fits = Embeddings()
        self._forget()
        # Before the table is read: what is hidden need not be embedded.
        self.threshold = float(self.remembered(f"threshold of {tomogram.name}", -np.inf))
        self.diameter = float(self.remembered("diameter", self.diameter))
        self.sure_enough = float(self.remembered("sure enough", 0.0))
        super().open_tomogram(tomogram)
        self.threshold_changed.emit()
        self.diameter_changed.emit()

    def change_tomogram(self, *, voxel_size: float | None = None, dark: bool | None = None) -> None:
        """Correct voxel size or contrast; what the model saw before is void."""
        self.fits = Embeddings()
        self._forget()
        super().change_tomogram(voxel_size=voxel_size, dark=dark)

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
        if self.answers is None:
            particles = predictions.predicted(particles, self.embeddings, self.classify)
        else:
            particles = self.answers.predicted(particles)
        super().take(withheld(particles, self.sure_enough))
        if self.current is not None and self.row is None:
            self.select(None)
        self.embed()

    def rename_class(self, old: str, new: str) -> None:
        """Call a kind of particle something else; its labels and predictions follow."""
        super().rename_class(old, new)
        if self.answers is not None and old in self.answers.kinds.values():
            kinds = self.answers.kinds.items()
            self.call({name: new.strip() if kind == old else kind for name, kind in kinds})

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

    def predict_from(self, confidence: float) -> None:
        """Give only predictions that are as sure as this, 0 to 1; the others are unknown."""
        self.sure_enough = confidence
        self.remember("sure enough", confidence)
        self.take(self.particles)

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

    # --- the model ---

    def use(self, checkpoint: Checkpoint) -> None:
        """Predict with this model from now on: by its own classes if it has any, or from labels."""
        self.checkpoint, self._rule = checkpoint, workflows.rule_of(checkpoint)
        self.answers = self.answers_of(checkpoint) if answers_by_itself(checkpoint) else None
        self._forget()
        self.checkpoint_changed.emit()
        self.take(self.particles)

    def answer_by_itself(self, on: bool) -> None:
        """Let the model name its own classes, or predict from labels by what it sees."""
        own = on and self.checkpoint is not None and answers_by_itself(self.checkpoint)
        if own != (self.answers is not None) and self.checkpoint is not None:
            self.answers = self.answers_of(self.checkpoint) if own else None
            self.checkpoint_changed.emit()
            self.take(self.particles)

    def call(self, kinds: Mapping[str, str]) -> None:
        """Say which kinds of particle the model's own classes stand for."""
        if self.answers is not None and self.checkpoint is not None:
            self.remember(f"kinds of {self.checkpoint.digest}", dict(kinds))
            self.answers = self.answers.called(kinds)
            self.checkpoint_changed.emit()
            self.take(self.particles)
            self._add_kinds()

    def judge(self) -> Job[Judged]:
        """Predict the labelled particles without their own labels, to see how right that is."""
        if self.answers is None:
            return predictions.left_out(self.particles, self.embeddings, self.classify)
        return self.answers.judge(self.particles)

    def embed(self) -> None:
        """Compute in the background what predictions need and is not there yet."""
        if self.tomogram is None or self.work.job is not None or not len(self.particles):
            return
        if self.checkpoint is None:
            self.checkpoint = workflows.shipped_checkpoint()
            self.checkpoint_changed.emit()
        folder = None if self.project is None else self.project.folder / "embeddings"
        if self.answers is not None:
            unasked = self.shown & ~self.answers.known.have(self.particles)
            if unasked.any():
                self._ask(self.tomogram, self.particles.take(unasked), self.checkpoint, folder)
                return
        missing = self.shown & ~self.embeddings.have(self.particles)
        if not missing.any():
            self._compare(self.tomogram, folder)
            return
        wanted, checkpoint = self.particles.take(missing), self.checkpoint

        def keep(vectors: npt.NDArray[np.float32]) -> None:
            if checkpoint is self.checkpoint:
                self.embeddings = self.embeddings.add(wanted, vectors)
                self.take(self.particles)

        job = workflows.embed(self.tomogram, wanted, checkpoint, cache=folder)
        self.work.run(job, "Preparing predictions", done=keep, background=True)

    @property
    def compares(self) -> bool:
        """Whether predictions from labels also go by how well particles fit known structures."""
        return bool(self.remembered("compare with structures", False))

    def compare_with_structures(self, on: bool) -> None:
        """Have predictions go by known structures, too, or not."""
        if self.compares != on:
            self.remember("compare with structures", on)
            self.take(self.particles)

    def _compare(self, tomogram: Tomogram, folder: Path | None) -> None:
        """Compare in the background the particles that were not compared yet, if wanted."""
        missing = self.shown & ~self.fits.have(self.particles)
        if not self.compares or self.answers is not None or not missing.any():
            return
        wanted = self.particles.take(missing)

        def keep(scores: npt.NDArray[np.float32]) -> None:
            if tomogram is self.tomogram:
                self.fits = self.fits.add(wanted, scores)
                self.take(self.particles)

        job = workflows.compare(tomogram, wanted, cache=folder)
        self.work.run(job, "Comparing with known structures", done=keep, background=True)

    def _ask(
        self, tomogram: Tomogram, wanted: Particles, checkpoint: Checkpoint, folder: Path | None
    ) -> None:
        """Ask the model for its own classes, in the background."""

        def keep(probabilities: npt.NDArray[np.float32]) -> None:
            if checkpoint is self.checkpoint and self.answers is not None:
                self.answers = self.answers.add(wanted, probabilities)
                self.take(self.particles)
                self._add_kinds()

        job = workflows.predict(tomogram, wanted, checkpoint, cache=folder)
        self.work.run(job, "Predicting", done=keep, background=True)

    def answers_of(self, checkpoint: Checkpoint) -> Answers:
        """Return what its classes are called here; no particle is known yet."""
        known = [one.name for one in self.classes]
        kinds = guess_kinds(checkpoint.classes, known)
        for name, kind in self.remembered(f"kinds of {checkpoint.digest}", {}).items():
            if kind in known:  # and was not renamed since
                kinds[name] = kind
        return Answers.of(checkpoint, kinds)

    def _add_kinds(self) -> None:
        """Make the kinds that the model found, if a person does not have them yet."""
        known = {one.name for one in self.classes}
        missing = set(self.particles.predicted) - known - {""}
        if missing:
            self.add_classes(sorted(missing))

    def _forget(self) -> None:
        """What the model saw and said is of other volumes."""
        self.embeddings = Embeddings()
        if self.answers is not None:
            self.answers = self.answers.forgotten()

    def classify(self, vectors: npt.NDArray[np.float32], particles: Particles) -> Particles:
        """Predict all particles from the labelled ones, given a vector each."""
        more = []
        if self.compares and self.fits.have(particles).any():
            more.append(workflows.fits(self.fits.all_of(particles)))
        return workflows.classify(vectors, particles, more=more, rule=self._rule)


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
