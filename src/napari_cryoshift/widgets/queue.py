"""In which order a person meets the particles: pure functions of the table."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_otsu

from napari_cryoshift.core.types import Particles

Order: TypeAlias = Literal["least certain", "most informative", "highest score", "nearest"]
ORDERS: tuple[Order, ...] = get_args(Order)
EXPLAINED: dict[Order, str] = {
    "least certain": "The particle whose two best classes are closest to each other comes next.",
    "most informative": "Uncertain, and unlike everything that has a label yet.",
    "highest score": "The best picking score that has no label yet.",
    "nearest": "The particle without a label that is nearest in the volume.",
}


def first_threshold(scores: npt.NDArray[np.float64]) -> float:
    """Return where to cut (n,) picking scores until a person moves the line.

    Otsu's threshold between particles and background; the best hundredth is clipped first, since
    a few gold beads would else count as the particles.
    """
    if len(scores) < 2 or np.ptp(scores) == 0:
        return float(scores.min(initial=0.0))
    return float(threshold_otsu(np.minimum(scores, np.percentile(scores, 99))))


def margin(particles: Particles) -> npt.NDArray[np.float64]:
    """Return (n,) how far the best class is ahead of the second, 0 to 1; NaN without prediction."""
    if particles.probabilities is None or particles.probabilities.shape[1] < 2:
        return np.full(len(particles), np.nan)
    best_two = np.partition(particles.probabilities, -2, axis=1)[:, -2:]
    ahead: npt.NDArray[np.float64] = best_two[:, 1] - best_two[:, 0]
    return ahead


def novelty(
    vectors: npt.NDArray[np.float32], labelled: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return (n,) distance of each embedding (n, e) to the nearest one that has a label."""
    if not labelled.any():
        return np.ones(len(vectors))
    known = vectors[labelled]
    squared = (
        (vectors**2).sum(axis=1)[:, None] - 2 * vectors @ known.T + (known**2).sum(axis=1)[None]
    )
    nearest: npt.NDArray[np.float64] = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return nearest


def priority(
    particles: Particles,
    order: Order,
    *,
    here: npt.NDArray[np.float64] | None = None,
    vectors: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float64]:
    """Return (n,) how soon each particle is due, larger is sooner.

    Parameters
    ----------
    particles
        The table.
    order
        What a person wants to see first. Where nothing is predicted yet, the two orders that
        need predictions fall back to the score.
    here
        (3,) zyx voxels, where the person is; "nearest" starts there.
    vectors
        (n, e) embeddings, NaN where missing; "most informative" needs them.
    """
    score = np.nan_to_num(particles.score, nan=np.inf)
    if order == "nearest" and here is not None:
        away: npt.NDArray[np.float64] = np.linalg.norm(particles.positions - here, axis=1)
        return -away
    doubt = 1 - margin(particles)
    if order in ("highest score", "nearest") or np.isnan(doubt).all():
        return score
    if order == "most informative" and vectors is not None:
        doubt = doubt * novelty(np.nan_to_num(vectors), particles.label != "")
    return np.nan_to_num(doubt, nan=-1.0)
