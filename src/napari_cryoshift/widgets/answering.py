"""What a model says of the particles: asked in the background, and brought in line with labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_cryoshift.core import workflows
from napari_cryoshift.core.domain_views import guess_kinds
from napari_cryoshift.core.open_set import withheld
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import Particles, Tomogram

from . import predictions
from .answers import Answers, answers_by_itself
from .notebook import Notebook
from .predictions import Embeddings, Judged
from .work import Work

if TYPE_CHECKING:
    from napari_cryoshift.core.checkpoint import Checkpoint


class Answering(Notebook):
    """A notebook whose particles a model is asked about.

    It answers by its own classes, or from the labels of a person by what it sees in the particles.

    Attributes
    ----------
    sure_enough
        Confidence from which on a prediction is given; what is less sure is unknown.
    checkpoint
        The model that predicts; None until it is needed.
    embeddings
        What the model sees in the particles.
    fits
        How well the particles fit the known structures, as far as they were compared.
    answers
        What the model says of them by itself; None if predictions start from labels.
    work
        The long work, this and what a person starts.
    """

    checkpoint_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.sure_enough = 0.0
        self.checkpoint: Checkpoint | None = None
        self.embeddings = Embeddings()
        self.fits = Embeddings()
        self.answers: Answers | None = None
        self.work = Work()
        self.work.finished.connect(self.embed)
        self._rule: workflows.Rule = workflows.fit_head

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the model is asked about a particle."""
        return np.ones(len(self.particles), dtype=bool)

    # --- what changes with the tomogram and its table ---

    def open_tomogram(self, tomogram: Tomogram) -> None:
        """Show a tomogram; nothing is known of its particles yet."""
        self.fits = Embeddings()
        self._forget()
        self.sure_enough = float(self.remembered("sure enough", 0.0))
        super().open_tomogram(tomogram)

    def change_tomogram(self, *, voxel_size: float | None = None, dark: bool | None = None) -> None:
        """Correct voxel size or contrast; what the model saw before is void."""
        self.fits = Embeddings()
        self._forget()
        super().change_tomogram(voxel_size=voxel_size, dark=dark)

    def take(self, particles: Particles) -> None:
        """Predict for the table, as far as the model was asked, and tell everyone."""
        if self.answers is None:
            particles = predictions.predicted(particles, self.embeddings, self.classify)
        else:
            particles = self.answers.predicted(particles)
        super().take(withheld(particles, self.sure_enough))

    def rename_class(self, old: str, new: str) -> None:
        """Call a kind of particle something else; its labels and predictions follow."""
        super().rename_class(old, new)
        if self.answers is not None and old in self.answers.kinds.values():
            kinds = self.answers.kinds.items()
            self.call({name: new.strip() if kind == old else kind for name, kind in kinds})

    # --- which model, and how it answers ---

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

    def answers_of(self, checkpoint: Checkpoint) -> Answers:
        """Return what its classes are called here; no particle is known yet."""
        known = [one.name for one in self.classes]
        kinds = guess_kinds(checkpoint.classes, known)
        for name, kind in self.remembered(f"kinds of {checkpoint.digest}", {}).items():
            if kind in known:  # and was not renamed since
                kinds[name] = kind
        return Answers.of(checkpoint, kinds)

    def predict_from(self, confidence: float) -> None:
        """Give only predictions that are as sure as this, 0 to 1; the others are unknown."""
        self.sure_enough = confidence
        self.remember("sure enough", confidence)
        self.take(self.particles)

    @property
    def compares(self) -> bool:
        """Whether predictions from labels also go by how well particles fit known structures."""
        return bool(self.remembered("compare with structures", False))

    def compare_with_structures(self, on: bool) -> None:
        """Have predictions go by known structures, too, or not."""
        if self.compares != on:
            self.remember("compare with structures", on)
            self.take(self.particles)

    def judge(self) -> Job[Judged]:
        """Predict the labelled particles without their own labels, to see how right that is."""
        if self.answers is None:
            return predictions.left_out(self.particles, self.embeddings, self.classify)
        return self.answers.judge(self.particles)

    def classify(self, vectors: npt.NDArray[np.float32], particles: Particles) -> Particles:
        """Predict all particles from the labelled ones, given a vector each."""
        more = []
        if self.compares and self.fits.have(particles).any():
            more.append(workflows.fits(self.fits.all_of(particles)))
        return workflows.classify(vectors, particles, more=more, rule=self._rule)

    # --- what is missing is computed in the background ---

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

    # --- inside ---

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
