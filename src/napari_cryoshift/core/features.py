"""What is known of particles, in blocks of features that are joined with weights.

A block is one way of looking at all candidates: the learned embedding, how well they fit known
structures, the picking score. Any further one is a `Block` too. As every block is brought to the
same spread, a weight says how much it counts, and squared distances of blocks add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from .types import Particles

Floats = npt.NDArray[np.float32]

_FITS, _CONTRAST = 0.7, 0.5
"""Weights beside the learned embedding: docs/decisions/0006-few-shot-head.md."""

_FLOOR = 0.2
"""Added to the variances of the fits, in units of their mean, before they are made equal."""


@dataclass(frozen=True, eq=False)
class Block:
    """Features of n particles that belong together.

    Attributes
    ----------
    values
        (n, e) float32, centred, of mean squared length 1.
    weight
        By which they count beside the learned embedding.
    """

    values: Floats
    weight: float = 1.0

    @classmethod
    def of(cls, values: npt.ArrayLike, weight: float = 1.0) -> Block:
        """Centre and scale features, (n, e) or (n,).

        A row with a NaN, of a particle that nobody has looked at yet, counts as the mean.
        """
        rows = np.asarray(values, dtype=np.float32)
        rows = rows[:, None] if rows.ndim == 1 else rows
        known = np.isfinite(rows).all(1)
        every = bool(known.all())
        seen = rows if every else rows[known]
        centred = np.zeros_like(rows)
        if len(seen):
            centred[known] = seen - seen.mean(0)
            spread = np.sqrt(np.vdot(centred, centred) / len(seen))
            centred /= np.float32(max(spread, 1e-12))
        return cls(centred, weight)

    def times(self, factor: float) -> Block:
        """Return the block with another weight."""
        return Block(self.values, self.weight * factor)

    def take(self, rows: npt.NDArray[np.int64]) -> Block:
        """Return some rows, scaled as they are among all."""
        return Block(self.values[rows], self.weight)


def learned(embeddings: Floats) -> Block:
    """Return the block of embeddings (n, e)."""
    return Block.of(embeddings)


def fits(scores: Floats) -> Block:
    """Return the block of how well particles fit each of k structures.

    What the scores of all structures have in common, such as how strong a particle is, would drown
    what tells them apart; so their principal components over all candidates, labelled or not, are
    brought nearly to one variance.

    Parameters
    ----------
    scores
        (n, k), a row of NaN where a particle was not compared yet.
    """
    known = np.isfinite(scores).all(1)
    whitened = np.full(scores.shape, np.nan, np.float32)
    if known.any():
        centred = scores[known] - scores[known].mean(0)
        spread = centred.std(0)
        standard = centred / np.where(spread > 0, spread, 1)
        variance, axes = np.linalg.eigh(standard.T @ standard / len(standard))
        floor = max(_FLOOR * float(variance.mean()), 1e-12)
        whitened[known] = standard @ (axes / np.sqrt(variance.clip(min=0) + floor))
    return Block.of(whitened, _FITS)


def contrast(particles: Particles) -> Block | None:
    """Return the block of the picking score; None where no particle has one.

    It knows how strong a particle is, which the standardised volumes do not. A particle without
    a score, such as a clicked one, takes that of the nearest that has one.
    """
    scored = np.isfinite(particles.score)
    if not scored.any():
        return None
    score = particles.score
    if not scored.all():
        known = np.flatnonzero(scored)
        nearest = known[cKDTree(particles.positions[known]).query(particles.positions)[1]]
        score = score[np.where(scored, np.arange(len(score)), nearest)]
    # By median and quartiles, clipped: one gold bead must not flatten all the rest.
    low, middle, high = np.percentile(particles.score[scored], [25, 50, 75])
    clipped = np.clip((score - middle) / max((high - low) / 1.349, 1e-12), -3, 3)
    return Block.of(clipped, _CONTRAST)


def joined(blocks: Sequence[Block]) -> Floats:
    """Return all blocks beside each other, (n, e), each times its weight."""
    return np.concatenate([block.values * np.float32(block.weight) for block in blocks], axis=1)
