"""The whole way on the sample tomogram, judged by its ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from .checkpoint import Checkpoint
from .metrics import (
    ClassReport,
    DetectionReport,
    evaluate_classes,
    evaluate_detections,
    match_positions,
    precision_recall,
)
from .pick import PickParams
from .progress import Job
from .report import Curve
from .simulate.sample import cache_folder, sample_tomogram
from .simulate.tomogram import CrowdedParams
from .types import OTHER, Particles, Tomogram
from .workflows import classify, embed, pick

DIAMETER = 200.0
"""Å. What a person would type for particles of 130 to 350 Å."""

RADIUS = DIAMETER / 2
"""Å within which a candidate is a particle."""

CANDIDATES = 500
LABELLED = 5
LABELLED_OTHER = 10

Names = npt.NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What came out.

    Attributes
    ----------
    tomogram, truth
        The sample and all m particles in it.
    particles
        The n candidates with their predictions, the best first; a few have a ``label``.
    vectors
        (n, e) their embeddings.
    matching
        (n,) row of ``truth`` that each candidate is, -1 where no particle is.
    """

    tomogram: Tomogram
    truth: Particles
    particles: Particles
    vectors: npt.NDArray[np.float32]
    matching: npt.NDArray[np.int64]

    @property
    def actual(self) -> Names:
        """(n,) true class of each candidate, `OTHER` where no particle is."""
        return np.where(self.matching < 0, OTHER, self.truth.label[self.matching]).astype(object)

    @property
    def unlabelled(self) -> tuple[Particles, Particles]:
        """Candidates without a label, and the particles that no labelled candidate is."""
        labelled = self.particles.label != ""
        taken = np.isin(np.arange(len(self.truth)), self.matching[labelled])
        return self.particles.take(~labelled), self.truth.take(~taken)

    @cached_property
    def picking(self) -> DetectionReport:
        """How good the candidates are, whatever their class."""
        size = self.tomogram.voxel_size
        return evaluate_detections(
            self.particles.positions * size,
            self.particles.score,
            self.truth.positions * size,
            RADIUS,
        )

    @cached_property
    def classes(self) -> ClassReport:
        """How good the predictions are; what was labelled does not count."""
        particles, truth = self.unlabelled
        return evaluate_classes(
            particles,
            truth.positions,
            list(truth.label),
            RADIUS,
            voxel_size=self.tomogram.voxel_size,
        )

    def curve(self, name: str | None = None) -> Curve:
        """Return precision against recall.

        Parameters
        ----------
        name
            A class: its candidates rank by its probability, and what was labelled does not count.
            None for all candidates by their picking score.
        """
        particles, truth = (self.particles, self.truth) if name is None else self.unlabelled
        scores = particles.score
        if name is not None:
            truth = truth.take(truth.label == name)
            scores = np.asarray(particles.probabilities)[:, particles.classes.index(name)]
        size = self.tomogram.voxel_size
        found, true = particles.positions * size, truth.positions * size
        precision, recall = precision_recall(found, scores, true, RADIUS)
        average = evaluate_detections(found, scores, true, RADIUS).average_precision
        return Curve(recall, precision, average)

    def summary(self) -> str:
        """Return the figures in a few lines."""
        nothing = (self.matching < 0) & (self.particles.label == "")
        called = self.particles.predicted[nothing] == OTHER
        picking, classes = self.picking, self.classes
        return "\n".join(
            [
                f"picking recall           {picking.recall:.3f}  "
                f"({picking.matched} of {picking.truth} particles are within {RADIUS:.0f} Å of the "
                f"best {picking.found} candidates)",
                f"classification accuracy  {classes.accuracy:.3f}  "
                f"({len(classes.f1)} classes, {LABELLED} labelled each, {classes.matched} judged)",
                f"no particle recognised   {called.mean():.3f}  "
                f"({called.sum()} of {len(called)} candidates, {LABELLED_OTHER} labelled)",
            ]
        )


def run_demo(
    checkpoint: Checkpoint, seed: int = 0, sample: CrowdedParams | None = None
) -> Job[DemoResult]:
    """Pick, label as a person would, embed and classify the sample.

    Parameters
    ----------
    checkpoint
        The embedding.
    seed
        Of the choice of the labelled candidates.
    sample
        The tomogram, by default the one that everybody gets.
    """
    tomogram, truth = yield from sample_tomogram(sample)
    # No person would type the species behind a name.
    short = np.array([name.split(" (")[0] for name in truth.label], dtype=object)
    truth = truth.replace(label=short)
    candidates = yield from pick(tomogram, PickParams(diameter=DIAMETER, max_count=CANDIDATES))
    size = tomogram.voxel_size
    matching = match_positions(candidates.positions * size, truth.positions * size, RADIUS)
    labelled = candidates.replace(
        label=_click(candidates, truth, matching, far=2 * RADIUS / size, seed=seed)
    )
    vectors = yield from embed(tomogram, labelled, checkpoint, cache_folder() / "embeddings")
    return DemoResult(tomogram, truth, classify(vectors, labelled), vectors, matching)


def _click(
    candidates: Particles,
    truth: Particles,
    matching: npt.NDArray[np.int64],
    *,
    far: float,
    seed: int,
) -> Names:
    """Label a few candidates of each class, and some that are ``far`` voxels from any particle."""
    generator = np.random.default_rng(seed)
    label = candidates.label.copy()
    for name in sorted(set(truth.label)):
        members = np.flatnonzero((matching >= 0) & (truth.label[matching] == name))
        label[generator.choice(members, LABELLED, replace=False)] = name
    distance, _ = cKDTree(truth.positions).query(candidates.positions)
    nowhere = np.flatnonzero(distance > far)
    label[generator.choice(nowhere, LABELLED_OTHER, replace=False)] = OTHER
    return label
