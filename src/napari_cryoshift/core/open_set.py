"""Open-set recognition: what stays without a name, and how well the others are named.

Two things are not the same. *Other* is an answer: that a particle looks like none of the classes.
*Unknown* is what has no answer, as none is sure enough: its ``predicted`` is empty, though it was
looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from .metrics import class_table
from .types import OTHER, Particles


def withheld(particles: Particles, threshold: float) -> Particles:
    """Take back the answers that are less sure than a threshold; these particles are unknown.

    Confidence and probabilities stay as they are.

    Parameters
    ----------
    particles
        With ``predicted`` and ``confidence``.
    threshold
        0 to 1.
    """
    unsure = particles.confidence < threshold
    return particles.replace(predicted=np.where(unsure, "", particles.predicted).astype(object))


def is_unknown(particles: Particles) -> npt.NDArray[np.bool_]:
    """Return (n,) whether a particle was looked at and has no answer."""
    unknown: npt.NDArray[np.bool_] = (particles.predicted == "") & np.isfinite(particles.confidence)
    return unknown


def guesses(particles: Particles) -> npt.NDArray[np.object_]:
    """Return (n,) the likeliest class of each particle, sure enough or not; "" of what has none."""
    found = np.full(len(particles), "", dtype=object)
    if particles.probabilities is not None:
        known = np.isfinite(particles.confidence)
        best = particles.probabilities[known].argmax(1)
        found[known] = np.array(particles.classes, dtype=object)[best]
    return found


def nearest_known(
    probabilities: npt.ArrayLike, classes: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.object_]]:
    """Return (n,) the largest probability of a class that is not other, and (n,) that class.

    Parameters
    ----------
    probabilities
        (n, k).
    classes
        k names.
    """
    named = [i for i, name in enumerate(classes) if name != OTHER]
    of_named = np.asarray(probabilities, dtype=np.float64)[:, named]
    return of_named.max(1), np.array(classes, dtype=object)[named][of_named.argmax(1)]


@dataclass(frozen=True)
class OpenSetReport:
    """Accuracies of open-set recognition (MLUDA, section 3.2).

    Attributes
    ----------
    overall
        ALL: share of all that is right.
    per_class
        OS: mean of the accuracies of the known classes and of the unknown one; it lies between
        the next two.
    known
        OS*: mean of the accuracies of the known classes.
    unknown
        UNK: share of what is of no known class that is called so.
    """

    overall: float
    per_class: float
    known: float
    unknown: float


def open_set_report(true: Sequence[str], said: Sequence[str]) -> OpenSetReport:
    """Compare answers with the truth; `OTHER` is what is of no known class.

    Parameters
    ----------
    true, said
        n names each.

    Raises
    ------
    ValueError
        If there are not as many of both, or nothing is truly of a known class, or all is.
    """
    table = class_table(true, said)
    occurs = dict(zip(table.classes, table.support > 0, strict=True))
    recalls = dict(zip(table.classes, map(float, table.recall), strict=True))
    known = [recalls[name] for name in table.classes if occurs[name] and name != OTHER]
    _need_both(sum(name != OTHER for name in true), sum(name == OTHER for name in true))
    return OpenSetReport(
        overall=table.accuracy,
        per_class=float(np.mean([*known, recalls[OTHER]])),
        known=float(np.mean(known)),
        unknown=recalls[OTHER],
    )


def auroc(sureness: npt.ArrayLike, known: npt.ArrayLike) -> float:
    """Probability that something known is surer to be so than something unknown (area under ROC).

    Parameters
    ----------
    sureness
        (n,) e.g. the largest probability of a known class.
    known
        (n,) bool, whether it truly is of a known class.

    Raises
    ------
    ValueError
        If nothing is known, or everything.
    """
    truth = np.asarray(known, dtype=bool)
    _need_both(int(truth.sum()), int((~truth).sum()))
    return float(roc_auc_score(truth, np.asarray(sureness, dtype=np.float64)))


def oscr(sureness: npt.ArrayLike, right: npt.ArrayLike, known: npt.ArrayLike) -> float:
    """Area under the open-set classification rate (Dhamija et al. 2018).

    The share of the known that is named rightly and surely enough, against the share of the
    unknown that is named at all, over all thresholds; what is named wrongly counts nothing, so
    it is at most the area under ROC, and equal to it where all names are right.

    Parameters
    ----------
    sureness
        (n,) e.g. the largest probability of a known class.
    right
        (n,) bool, whether that class is the true one.
    known
        (n,) bool, whether it truly is of a known class.

    Raises
    ------
    ValueError
        If nothing is known, or everything.
    """
    truth, named = np.asarray(known, dtype=bool), np.asarray(right, dtype=bool)
    sure = np.asarray(sureness, dtype=np.float64)
    _need_both(int(truth.sum()), int((~truth).sum()))
    unknown = np.sort(sure[~truth])
    rightly = sure[truth & named]
    # A tie counts half, as in the area under ROC.
    below, upto = (np.searchsorted(unknown, rightly, side) for side in ("left", "right"))
    return float((below + upto).sum() / (2 * len(unknown) * truth.sum()))


def _need_both(known: int, unknown: int) -> None:
    if not known or not unknown:
        raise ValueError(
            f"{known} of known classes and {unknown} of unknown ones; give at least one of each"
        )
