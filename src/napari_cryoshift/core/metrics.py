"""How good a list of particles is: detection against true positions, classes, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.stats import t as student_t
from sklearn.metrics import (
    adjusted_rand_score,
    average_precision_score,
    normalized_mutual_info_score,
    precision_recall_fscore_support,
)
from sklearn.metrics.cluster import contingency_matrix

from napari_cryoshift.core.types import OTHER, Particles

Floats = npt.NDArray[np.float64]


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


@dataclass(frozen=True)
class ClassReport:
    """How well the classes of found particles agree with the true ones.

    Attributes
    ----------
    matched
        How many true positions have a particle.
    accuracy
        Share of the matched ones whose particle has the true class; 0 if none is matched.
    precision, recall, f1
        Class → figure. A particle where there is no true one is wrong for the class it was given;
        a true position without a particle is missed by its class.
    macro_f1
        Mean of ``f1`` over the true classes.
    """

    matched: int
    accuracy: float
    precision: Mapping[str, float]
    recall: Mapping[str, float]
    f1: Mapping[str, float]
    macro_f1: float


@dataclass(frozen=True)
class ClusterReport:
    """How well clusters agree with true classes.

    Attributes
    ----------
    clusters
        How many were found.
    accuracy
        Share of particles whose cluster is the one of their class, each class having at most one
        cluster and each cluster one class, so chosen that the share is largest (Hungarian).
    ari
        Adjusted Rand index (Hubert & Arabie 1985): 0 is chance, 1 perfect.
    nmi
        Mutual information over the mean of the two entropies: 0 to 1.
    """

    clusters: int
    accuracy: float
    ari: float
    nmi: float


def match_positions(
    found: npt.ArrayLike, truth: npt.ArrayLike, radius: float
) -> npt.NDArray[np.int64]:
    """Match found positions to true ones, one to one.

    The found positions choose in their order, best first: each takes the nearest true position
    within the radius that is still free.

    Parameters
    ----------
    found, truth
        (n, 3) and (m, 3) positions, Å (voxels × voxel size).
    radius
        Å; a distance of exactly this still matches.

    Returns
    -------
    (n,) index into ``truth``, or -1 where there is none.

    Raises
    ------
    ValueError
        If positions are not (n, 3) or the radius is not positive.
    """
    if not radius > 0:
        raise ValueError(f"the radius is {radius:g} Å; give a positive one")
    wanted, true = _points(found, "found"), _points(truth, "true")
    tree = cKDTree(true)
    matching = np.full(len(wanted), -1, dtype=np.int64)
    free = np.ones(len(true), dtype=bool)
    for i, point in enumerate(wanted):
        near = np.array(tree.query_ball_point(point, radius), dtype=np.int64)
        near = near[free[near]]
        if len(near):
            nearest = near[np.linalg.norm(true[near] - point, axis=1).argmin()]
            matching[i] = nearest
            free[nearest] = False
    return matching


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


def evaluate_classes(
    particles: Particles,
    truth_positions: npt.ArrayLike,
    truth_classes: Sequence[str],
    radius: float,
    *,
    voxel_size: float,
) -> ClassReport:
    """Compare the predicted classes of particles with the true ones.

    Particles match true positions whatever their class, those of the best score first. Where
    nothing is, "other" is the right answer.

    Parameters
    ----------
    particles
        Their ``predicted`` class is what is judged.
    truth_positions
        (m, 3) zyx voxels.
    truth_classes
        m names.
    radius
        Å within which a particle matches a true position.
    voxel_size
        Å, of the tomogram that the positions are in.

    Raises
    ------
    ValueError
        If there is no true position, or not one class for each.
    """
    truth = _points(truth_positions, "true")
    names = np.asarray(truth_classes, dtype=object)
    _need_truth(len(truth))
    if len(names) != len(truth):
        raise ValueError(
            f"{len(truth)} true positions but {len(names)} classes; give one class a position"
        )
    best_first = particles.take(np.argsort(-particles.score, kind="stable"))
    matching = match_positions(best_first.positions * voxel_size, truth * voxel_size, radius)
    hit = matching >= 0
    missed = np.setdiff1d(np.arange(len(truth)), matching)

    nothing = np.full(len(hit), OTHER, dtype=object)
    nothing[hit] = names[matching[hit]]
    true = np.concatenate([nothing, names[missed]])
    said = np.concatenate([best_first.predicted, np.full(len(missed), OTHER, dtype=object)])
    classes = sorted(set(names))
    precision, recall, f1, _ = precision_recall_fscore_support(
        true, said, labels=classes, zero_division=0
    )
    right = best_first.predicted[hit] == names[matching[hit]]
    return ClassReport(
        matched=int(hit.sum()),
        accuracy=float(right.mean()) if hit.any() else 0.0,
        precision=dict(zip(classes, map(float, precision), strict=True)),
        recall=dict(zip(classes, map(float, recall), strict=True)),
        f1=dict(zip(classes, map(float, f1), strict=True)),
        macro_f1=float(np.mean(f1)),
    )


def evaluate_clusters(truth: npt.ArrayLike, clusters: npt.ArrayLike) -> ClusterReport:
    """Compare clusters with true classes.

    Parameters
    ----------
    truth, clusters
        (n,) any labels.

    Raises
    ------
    ValueError
        If there are none, or not as many clusters as classes given.
    """
    true, found = np.asarray(truth), np.asarray(clusters)
    if len(true) == 0 or true.shape != found.shape:
        raise ValueError(
            f"{len(true)} true classes but {len(found)} clusters; give one of each a particle"
        )
    shared = contingency_matrix(true, found)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    return ClusterReport(
        clusters=shared.shape[1],
        accuracy=float(shared[rows, columns].sum() / len(true)),
        ari=float(adjusted_rand_score(true, found)),
        nmi=float(normalized_mutual_info_score(true, found)),
    )


def mean_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """Return the mean of independent values and the half width of its 95 % interval.

    The interval is Student's: mean ± t(0.975, n − 1) · s / √n with the sample deviation s.

    Raises
    ------
    ValueError
        If there are fewer than two values.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    n = len(sample)
    if n < 2:
        raise ValueError(f"{n} value has no interval; give at least two")
    width = student_t.ppf(0.975, n - 1) * sample.std(ddof=1) / np.sqrt(n)
    return float(sample.mean()), float(width)


def _points(positions: npt.ArrayLike, what: str) -> Floats:
    points = np.asarray(positions, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, 3))
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(
            f"the {what} positions have shape {points.shape}; give (n, 3), in the order z, y, x"
        )
    return points


def _need_truth(count: int) -> None:
    if count == 0:
        raise ValueError("the list of true positions is empty; give at least one position")


def _ranked_hits(
    found: npt.ArrayLike, scores: npt.ArrayLike, truth: npt.ArrayLike, radius: float
) -> tuple[npt.NDArray[np.bool_], Floats, int]:
    """Return hits and scores of the found positions, best first, and the number of true ones."""
    positions, true = _points(found, "found"), _points(truth, "true")
    values = np.asarray(scores, dtype=np.float64)
    _need_truth(len(true))
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


@dataclass(frozen=True, eq=False)
class ClassTable:
    """How well classes agree with the true ones, as a matrix and what follows from it.

    Attributes
    ----------
    classes
        k names.
    confusion
        (k, k) int64 how many of a true class, a row, were given a class, a column.
    """

    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64]

    @property
    def support(self) -> npt.NDArray[np.int64]:
        """(k,) how many are truly of a class."""
        counts: npt.NDArray[np.int64] = self.confusion.sum(1)
        return counts

    @property
    def precision(self) -> Floats:
        """(k,) right ones among those that were given the class; 0 where there are none."""
        return _share(self.confusion.diagonal(), self.confusion.sum(0))

    @property
    def recall(self) -> Floats:
        """(k,) right ones among those truly of the class; 0 where there are none."""
        return _share(self.confusion.diagonal(), self.support)

    @property
    def f1(self) -> Floats:
        """(k,) harmonic mean of the two."""
        return _share(2 * self.confusion.diagonal(), self.support + self.confusion.sum(0))

    @property
    def accuracy(self) -> float:
        """Share that is right."""
        return float(_share(self.confusion.trace(), self.confusion.sum()))

    @property
    def macro(self) -> tuple[float, float, float]:
        """Mean precision, recall and F1 of the classes that truly occur."""
        return self._mean((self.support > 0).astype(np.float64))

    @property
    def weighted(self) -> tuple[float, float, float]:
        """The same, each class weighted by how many are truly of it."""
        return self._mean(self.support.astype(np.float64))

    def _mean(self, weights: Floats) -> tuple[float, float, float]:
        columns = (self.precision, self.recall, self.f1)
        precision, recall, f1 = (
            float(_share(weights @ column, weights.sum())) for column in columns
        )
        return precision, recall, f1


def class_table(true: Sequence[str], said: Sequence[str]) -> ClassTable:
    """Compare classes with the true ones, name by name.

    Parameters
    ----------
    true, said
        n names each. The table has all that occur in either, in the order of their names, `OTHER`
        last.

    Raises
    ------
    ValueError
        If there are not as many of both, or none.
    """
    if len(true) != len(said) or not len(true):
        raise ValueError(
            f"{len(true)} true classes but {len(said)} to compare; give one each for at least one"
        )
    classes = sorted({*true, *said}, key=lambda name: (name == OTHER, name))
    row = {name: i for i, name in enumerate(classes)}
    confusion = np.zeros((len(classes),) * 2, dtype=np.int64)
    np.add.at(confusion, ([row[name] for name in true], [row[name] for name in said]), 1)
    return ClassTable(tuple(classes), confusion)


def _share(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """Divide; nothing of nothing is 0."""
    parts, wholes = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(parts, wholes, out=np.zeros_like(wholes), where=wholes > 0)
