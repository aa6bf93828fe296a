"""What the model says of the particles: embeddings kept by particle, predictions in one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core import workflows
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import OTHER, Particles

Classify = Callable[[npt.NDArray[np.float32], Particles], Particles]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector a particle, found again by its id as long as it has not moved.

    Attributes
    ----------
    ids
        (n,) sorted particle ids.
    positions
        (n, 3) where the particles were, zyx voxels.
    vectors
        (n, e) float32.
    """

    ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    positions: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    vectors: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def have(self, particles: Particles) -> npt.NDArray[np.bool_]:
        """Return (n,) whether there is a vector for each of these particles."""
        if not len(self.ids):
            return np.zeros(len(particles), dtype=bool)
        rows = self._rows(particles).clip(max=len(self.ids) - 1)
        same = (self.positions[rows] == particles.positions).all(axis=1)
        found: npt.NDArray[np.bool_] = (self.ids[rows] == particles.id) & same
        return found

    def of(self, particles: Particles) -> npt.NDArray[np.float32]:
        """Return the (n, e) vectors of particles that `have` says are there."""
        return self.vectors[self._rows(particles)]

    def all_of(self, particles: Particles) -> npt.NDArray[np.float32]:
        """Return (n, e) vectors, NaN where there is none."""
        have = self.have(particles)
        vectors = np.full((len(particles), self.vectors.shape[1]), np.nan, np.float32)
        vectors[have] = self.of(particles.take(have))
        return vectors

    def add(self, particles: Particles, vectors: npt.NDArray[np.float32]) -> Embeddings:
        """Return the union, with the new vector where a particle is in both."""
        ids, positions = particles.id, particles.positions
        old = ~np.isin(self.ids, ids)
        if old.any():
            ids = np.concatenate([self.ids[old], ids])
            positions = np.concatenate([self.positions[old], positions])
            vectors = np.concatenate([self.vectors[old], vectors])
        order = np.argsort(ids)
        return Embeddings(ids[order], positions[order], vectors[order])

    def _rows(self, particles: Particles) -> npt.NDArray[np.intp]:
        return np.searchsorted(self.ids, particles.id)


def ready(particles: Particles, embeddings: Embeddings) -> bool:
    """Tell whether labels of two classes, one of which may be "other", have an embedding."""
    labels = particles.label[embeddings.have(particles)]
    named = set(labels) - {""}
    return len(named) >= 2 and bool(named - {OTHER})


def predicted(particles: Particles, embeddings: Embeddings, classify: Classify) -> Particles:
    """Return the table with predictions where there is an embedding, and none elsewhere."""
    n = len(particles)
    blank = particles.replace(
        predicted=np.full(n, "", dtype=object),
        confidence=np.full(n, np.nan),
        probabilities=None,
        classes=(),
    )
    if not ready(particles, embeddings):
        return blank
    rows = np.flatnonzero(embeddings.have(particles))
    known = blank if len(rows) == n else blank.take(rows)
    answer = classify(embeddings.of(known), known)
    if len(rows) == n:
        return answer
    blank.predicted[rows] = answer.predicted
    blank.confidence[rows] = answer.confidence
    probabilities = np.full((n, len(answer.classes)), np.nan)
    probabilities[rows] = answer.probabilities
    return blank.replace(probabilities=probabilities, classes=answer.classes)


class Judged(NamedTuple):
    """Labelled particles beside what is predicted of them without their own label.

    Attributes
    ----------
    ids
        (m,) of the particles.
    labels, answers
        (m,) str.
    how
        Which labels these are, in words.
    sure
        (m,) confidence of each answer; empty where it is not known.
    """

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.object_]
    answers: npt.NDArray[np.object_]
    how: str
    sure: npt.NDArray[np.float64] = np.empty(0)

    @property
    def wrong(self) -> npt.NDArray[np.int64]:
        """Ids of the particles whose label is not what is predicted."""
        wrong: npt.NDArray[np.int64] = self.ids[self.labels != self.answers]
        return wrong


def left_out(
    particles: Particles, embeddings: Embeddings, classify: Classify, most: int = 300
) -> Job[Judged]:
    """Predict each labelled particle as if it had no label.

    Those that have no embedding, or are the only one of their class, cannot be judged.

    Parameters
    ----------
    particles, embeddings, classify
        As of `predicted`.
    most
        So many particles without a label are taken along as background.
    """
    rows = np.flatnonzero(embeddings.have(particles))
    labelled = rows[particles.label[rows] != ""]
    rows = np.concatenate([labelled, np.setdiff1d(rows, labelled)[:most]])
    table = particles.take(rows)
    judged = yield from workflows.left_out(table, partial(classify, embeddings.of(table)))
    return Judged(judged.id, judged.label, judged.predicted, "left out in turn", judged.confidence)
