"""How well found positions agree with true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from .positions import Floats, match_positions, need_truth, points_of


@dataclass(frozen=True)
class DetectionReport:
    """How well found positions agree with true ones.

    Attributes
    ----------
    found, truth, matched
        How many positions were found, are true, and are both.
    recall
        matched / truth.
    precision
        matched / found; 0 if nothing was found.
    f1
        Harmonic mean of the two; 0 if nothing was matched.
    average_precision
        Mean over *all* true positions of the precision at the rank where each was found, a missed
        one counting 0. A perfect list has 1; a list that finds half the truth has at most 0.5.
        Positions of equal score count as of one rank.
    recall_at
        n → recall of the n best.
    """

    found: int
    truth: int
    matched: int
    recall: float
    precision: float
    f1: float
    average_precision: float
    recall_at: Mapping[int, float]


def evaluate_detections(
    found: npt.ArrayLike,
    scores: npt.ArrayLike,
    truth: npt.ArrayLike,
    radius: float,
    at: Sequence[int] = (),
) -> DetectionReport:
    """Compare found positions with true ones.

    Parameters
    ----------
    found
        (n, 3) positions, Å.
    scores
        (n,), higher is better; equal scores rank in the order given.
    truth
        (m, 3) positions, Å.
    radius
        Å within which a found position matches a true one; see `match_positions`.
    at
        Lengths of the list to give the recall of.

    Raises
    ------
    ValueError
        If there is no true position, scores are not one finite number a position, or a length is
        not positive.
    """
    if at and min(at) < 1:
        raise ValueError(f"there is no recall of the {min(at)} best; give lengths of at least 1")
    hits, ranked_scores, truths = _ranked_hits(found, scores, truth, radius)
    matched = int(hits.sum())
    recall = matched / truths
    # scikit-learn knows the positions that were found only; those missed add zeros to the mean.
    average = recall * float(average_precision_score(hits, ranked_scores)) if matched else 0.0
    return DetectionReport(
        found=len(hits),
        truth=truths,
        matched=matched,
        recall=recall,
        precision=matched / len(hits) if len(hits) else 0.0,
        f1=2 * matched / (len(hits) + truths),
        average_precision=average,
        recall_at={n: int(hits[:n].sum()) / truths for n in at},
    )


def precision_recall(
    found: npt.ArrayLike, scores: npt.ArrayLike, truth: npt.ArrayLike, radius: float
) -> tuple[Floats, Floats]:
    """Return precision and recall, (n,) each, of the best 1, 2, … n found positions.

    Parameters and errors are those of `evaluate_detections`.
    """
    hits, _, truths = _ranked_hits(found, scores, truth, radius)
    matched = np.cumsum(hits, dtype=np.float64)
    return matched / np.arange(1, len(hits) + 1), matched / truths


def _ranked_hits(
    found: npt.ArrayLike, scores: npt.ArrayLike, truth: npt.ArrayLike, radius: float
) -> tuple[npt.NDArray[np.bool_], Floats, int]:
    """Return hits and scores of the found positions, best first, and the number of true ones."""
    positions, true = points_of(found, "found"), points_of(truth, "true")
    values = np.asarray(scores, dtype=np.float64)
    need_truth(len(true))
    if values.shape != (len(positions),):
        raise ValueError(
            f"{len(positions)} found positions but scores of shape {values.shape}; "
            "give one score a position"
        )
    if unranked := int(np.count_nonzero(~np.isfinite(values))):
        raise ValueError(
            f"{unranked} of {len(values)} scores are not finite; give every position a score"
        )
    order = np.argsort(-values, kind="stable")
    return match_positions(positions[order], true, radius) >= 0, values[order], len(true)
