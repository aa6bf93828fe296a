"""Calibration: a confidence of 0.8 is to mean that 8 of 10 such answers are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

Floats = npt.NDArray[np.float64]

_TRIED = np.geomspace(0.1, 10.0, 81)
_PRIOR = 0.5
"""Standard deviation of the logarithm of the temperature, which few answers must not move far."""


def temperature(probabilities: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Find the temperature under which held-out answers are most probable (Guo et al. 2017).

    Its logarithm is expected about 0 with a standard deviation of 0.5, so that a handful of
    answers that all are right does not make everything certain.

    Parameters
    ----------
    probabilities
        (n, k) of volumes that the answers were not made from.
    true
        (n,) index of the true class.

    Returns
    -------
    float
        1 where nothing is to be changed, and for no answer at all; above 1 where they are too sure.

    Raises
    ------
    ValueError
        If there are not as many classes as answers.
    """
    given, rows = np.asarray(probabilities, dtype=np.float64), np.asarray(true, dtype=np.int64)
    if given.ndim != 2 or len(given) != len(rows):
        raise ValueError(
            f"probabilities of shape {given.shape} but {len(rows)} true classes; "
            "give one row and one class each"
        )
    if not len(rows):
        return 1.0

    each = np.arange(len(rows))
    losses = [-np.log(scaled(given, tried)[each, rows].clip(min=1e-12)).sum() for tried in _TRIED]
    prior = (np.log(_TRIED) / _PRIOR) ** 2 / 2
    return float(_TRIED[np.argmin(losses + prior)])


def scaled(probabilities: npt.ArrayLike, by: float) -> Floats:
    """Probabilities (n, k) at another temperature: softmax of their logarithms over it.

    The order of the classes stays, so that no answer changes.
    """
    logs = np.log(np.asarray(probabilities, dtype=np.float64).clip(min=1e-300)) / by
    powers = np.exp(logs - logs.max(1, keepdims=True))
    shares: Floats = powers / powers.sum(1, keepdims=True)
    return shares


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often answers are right, by how sure they are.

    Attributes
    ----------
    sure, right
        (b,) mean confidence, and share of right answers, of each bin that has any.
    count
        (b,) answers in it.
    """

    sure: Floats
    right: Floats
    count: npt.NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean difference, by answers (Naeini et al. 2015)."""
        return float(np.average(np.abs(self.sure - self.right), weights=self.count))


def reliability(sure: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10) -> Reliability:
    """Sort answers into bins of equal width by how sure they are.

    Parameters
    ----------
    sure
        (n,) confidence of each answer, 0 to 1.
    right
        (n,) bool.
    bins
        How many.

    Raises
    ------
    ValueError
        If there is no answer, or not one confidence each.
    """
    confidence, truth = _answers(sure, right)
    if not len(confidence):
        raise ValueError("0 answers say nothing of how right they are; give at least one")
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins)
    some = count > 0
    means = [np.bincount(which, weights=w, minlength=bins)[some] for w in (confidence, truth)]
    return Reliability(means[0] / count[some], means[1] / count[some], count[some])


@dataclass(frozen=True)
class Kept:
    """What a threshold is expected to keep, judged by held-out answers.

    Attributes
    ----------
    count, of
        Answers that are sure enough, of how many.
    right
        How many of the kept ones are right.
    """

    count: int
    of: int
    right: int

    @property
    def share(self) -> float:
        """Share kept; 0 of nothing."""
        return self.count / self.of if self.of else 0.0

    @property
    def precision(self) -> float:
        """Share of right ones among the kept; NaN if none is kept."""
        return self.right / self.count if self.count else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the precision (Wilson 1927); 0 to 1 if none is kept."""
        if not self.count:
            return 0.0, 1.0
        found = binomtest(self.right, self.count).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def kept(sure: npt.ArrayLike, right: npt.ArrayLike, threshold: float) -> Kept:
    """Judge a threshold by held-out answers: those as sure as that, or surer, are kept.

    Parameters
    ----------
    sure
        (n,) confidence of each answer.
    right
        (n,) bool.
    threshold
        0 to 1.

    Raises
    ------
    ValueError
        If there is not one confidence an answer.
    """
    confidence, truth = _answers(sure, right)
    enough = confidence >= threshold
    return Kept(int(enough.sum()), len(confidence), int(truth[enough].sum()))


def _answers(sure: npt.ArrayLike, right: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    confidence, truth = np.asarray(sure, dtype=np.float64), np.asarray(right, dtype=bool)
    if confidence.shape != truth.shape or confidence.ndim != 1:
        raise ValueError(
            f"confidences of shape {confidence.shape} of answers of shape {truth.shape}; "
            "give one an answer"
        )
    return confidence, truth
