"""What a model says by itself, without a label: its classes, called as the person calls them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.calibration import scaled, temperature
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.types import Particles

from .predictions import Embeddings, Judged


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities of a model's own classes, a row a particle.

    Attributes
    ----------
    kinds
        Class of the model → kind of particle that it stands for, in the model's order. Several
        classes may be of one kind.
    learnt_from
        (m, 3) zyx voxels of the labelled particles that the model has seen.
    known
        (n, k) probabilities of the classes, by particle.
    """

    kinds: Mapping[str, str]
    learnt_from: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    known: Embeddings = field(default_factory=Embeddings)

    @classmethod
    def of(cls, checkpoint: Checkpoint, kinds: Mapping[str, str]) -> Answers:
        """Begin, with no particle known."""
        seen = np.asarray(checkpoint.card.get("learnt_from", ()), dtype=np.float64)
        return cls(kinds, seen.reshape(-1, 3))

    def add(self, particles: Particles, probabilities: npt.NDArray[np.float32]) -> Answers:
        """Take in what the model says of particles."""
        return dataclasses.replace(self, known=self.known.add(particles, probabilities))

    def called(self, kinds: Mapping[str, str]) -> Answers:
        """Have the classes stand for other kinds."""
        return dataclasses.replace(self, kinds=kinds)

    def forgotten(self) -> Answers:
        """Know no particle any more."""
        return dataclasses.replace(self, known=Embeddings())

    def predicted(self, particles: Particles) -> Particles:
        """Return the table with the model's predictions, and none where it was not asked.

        They are calibrated by the labels that the model has not learnt from; no answer changes.
        """
        kinds = tuple(dict.fromkeys(self.kinds.values()))
        have = self.known.have(particles)
        said = np.full((len(particles), len(kinds)), np.nan)
        if have.any():
            column = [kinds.index(kind) for kind in self.kinds.values()]
            said[have] = self.known.of(particles.take(have)) @ np.eye(len(kinds))[column]
            told = self._held_out(particles)
            told = told[have[told] & np.isin(particles.label[told], kinds)]
            true = [kinds.index(label) for label in particles.label[told]]
            said[have] = scaled(said[have], temperature(said[told], true))
        predicted = np.full(len(particles), "", dtype=object)
        predicted[have] = np.array(kinds, dtype=object)[said[have].argmax(1)]
        return particles.replace(
            predicted=predicted,
            confidence=said.max(1),
            probabilities=said if have.any() else None,
            classes=kinds if have.any() else (),
        )

    def judge(self, particles: Particles) -> Job[Judged]:
        """Compare with the labels that the model has not learnt from."""
        yield Progress("comparing with labels", 0, 0)
        table = self.predicted(particles)
        rows = self._held_out(particles)
        judged = table.take(rows[table.predicted[rows] != ""])
        return Judged(
            judged.id,
            judged.label,
            judged.predicted,
            "that it did not learn from",
            judged.confidence,
        )

    def _held_out(self, particles: Particles) -> npt.NDArray[np.int64]:
        """Rows of the labels that the model has not learnt from."""
        rows = np.flatnonzero(particles.label != "")
        seen = {position.tobytes() for position in self.learnt_from}
        return rows[[particles.positions[row].tobytes() not in seen for row in rows]]


def answers_by_itself(checkpoint: Checkpoint) -> bool:
    """Whether a model predicts classes of its own, which no label has to be given for."""
    return bool(checkpoint.classes) and not METHODS[checkpoint.method].follows_labels
