"""Groups among vectors: k-means, Gaussian mixtures, and what DISCA does with their labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.cluster import contingency_matrix
from sklearn.mixture import GaussianMixture

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Covariance = Literal["full", "spherical"]


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups by k-means.

    Attributes
    ----------
    labels
        (n,) group of each vector.
    centres
        (k, e).
    variance
        Mean over vectors and features of the squared distance to the own centre.
    """

    labels: Labels
    centres: Floats
    variance: float


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of k Gaussians, none of them without a member.

    Attributes
    ----------
    weights
        (k,) share of each.
    means
        (k, c).
    precisions
        (k, c, c) upper triangular factors U of the inverse covariances U Uᵀ.
    labels
        (n,) most probable component of each vector that it was fitted to.
    bic
        Bayesian information criterion of the fit, components without a member included; lower is
        better.
    """

    weights: Floats
    means: Floats
    precisions: Floats
    labels: Labels
    bic: float

    @property
    def count(self) -> int:
        """How many, k."""
        return len(self.weights)

    def renumbered(self, numbers: Labels) -> Mixture:
        """The same with component i called ``numbers[i]``."""
        order = np.argsort(numbers)
        return Mixture(
            self.weights[order],
            self.means[order],
            self.precisions[order],
            numbers[self.labels],
            self.bic,
        )


def kmeans(vectors: npt.ArrayLike, groups: int, *, seed: int, restarts: int = 100) -> Groups:
    """Group by k-means, the best of many starts by k-means++.

    Parameters
    ----------
    vectors
        (n, e).
    groups
        How many.
    seed
        Of the starts.
    restarts
        How many starts.

    Raises
    ------
    ValueError
        If there are fewer vectors than groups, or a value is not finite.
    """
    points = _points(vectors, groups)
    with warnings.catch_warnings():
        # Fewer distinct vectors than groups: some groups stay empty, which is no error.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(groups, n_init=restarts, random_state=seed).fit(points)
    return Groups(
        labels=found.labels_.astype(np.int64),
        centres=found.cluster_centers_,
        variance=float(found.inertia_) / points.size,
    )


def principal_axes(vectors: npt.ArrayLike, count: int) -> tuple[Floats, Floats]:
    """Mean and principal axes, scaled so that the first component has variance 1.

    Parameters
    ----------
    vectors
        (n, e).
    count
        How many axes, c.

    Returns
    -------
    mean, axes
        (e,) and (c, e): ``(vectors - mean) @ axes.T`` are the components.

    Raises
    ------
    ValueError
        If there are more axes than features, or a value is not finite.
    """
    points = _points(vectors, 1)
    if count > points.shape[1]:
        raise ValueError(
            f"{count} principal components of {points.shape[1]} features; ask for fewer components"
        )
    mean = points.mean(0)
    variances, axes = np.linalg.eigh(np.cov(points.T, ddof=0).reshape(2 * (points.shape[1],)))
    largest = axes[:, ::-1][:, :count].T
    return mean, largest / np.sqrt(max(float(variances[-1]), 1e-24))


def fit_mixture(
    vectors: npt.ArrayLike,
    components: int,
    *,
    seed: int,
    restarts: int = 2,
    regularisation: float = 1e-5,
    covariance: Covariance = "full",
    previous: Labels | None = None,
) -> Mixture:
    """Fit a mixture of Gaussians by expectation maximisation.

    Parameters
    ----------
    vectors
        (n, c).
    components
        How many; those that are nobody's most probable one are dropped.
    seed
        Of the starts.
    restarts
        Cold starts, by k-means; the most likely end is kept.
    regularisation
        Added to all variances.
    covariance
        Of each Gaussian: any, or that of a ball.
    previous
        (n,) labels below ``components``, none of them without a member: one warm start, from the
        groups that these make, instead of cold ones.

    Raises
    ------
    ValueError
        If there are fewer vectors than components, or a value is not finite.
    """
    points = _points(vectors, components)
    start = {"n_init": restarts, "init_params": "kmeans"}
    if previous is not None:
        covariances = _covariances(points, previous, regularisation)
        variances = np.trace(covariances, axis1=1, axis2=2) / points.shape[1]
        start = {
            "n_init": 1,
            "weights_init": np.bincount(previous) / len(previous),
            "means_init": _means(points, previous),
            "precisions_init": (
                1 / variances if covariance == "spherical" else np.linalg.inv(covariances)
            ),
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = GaussianMixture(
            components,
            covariance_type=covariance,
            reg_covar=regularisation,
            random_state=seed,
            **start,
        ).fit(points)
    present, labels = np.unique(fitted.predict(points), return_inverse=True)
    weights = fitted.weights_[present]
    precisions = fitted.precisions_cholesky_[present]
    if covariance == "spherical":
        precisions = precisions[:, None, None] * np.eye(points.shape[1])
    return Mixture(
        weights=weights / weights.sum(),
        means=fitted.means_[present],
        precisions=precisions,
        labels=labels.astype(np.int64),
        bic=float(fitted.bic(points)),
    )


def simplest(mixtures: Sequence[Mixture], alone: float, tolerance: float) -> Mixture:
    """Choose the mixture of fewest components that is nearly as good as the best.

    Where groups are no Gaussians, more and more of these describe them ever so little better.

    Parameters
    ----------
    mixtures
        Of the same vectors.
    alone
        Bayesian information criterion of a single Gaussian.
    tolerance
        Share of what the best gains over that, which may be given away; with 0 it is the mixture
        of the lowest criterion.
    """
    best = min(mixtures, key=lambda mixture: mixture.bic)
    enough = best.bic + tolerance * max(alone - best.bic, 0.0)
    near = [mixture for mixture in mixtures if mixture.bic <= enough]
    return min(near, key=lambda mixture: (mixture.count, mixture.bic)) if tolerance else best


def posterior(vectors: npt.ArrayLike, weights: Floats, means: Floats, precisions: Floats) -> Floats:
    """Probability (n, k) of each component of a `Mixture` for vectors (n, c)."""
    away = np.asarray(vectors, dtype=np.float64)[:, None] - means
    whitened = np.einsum("nkc,kcd->nkd", away, precisions)
    scale = np.log(np.diagonal(precisions, axis1=1, axis2=2)).sum(1)
    found: Floats = softmax(np.log(weights) + scale - np.square(whitened).sum(-1) / 2, axis=1)
    return found


def linear_discriminants(
    vectors: npt.ArrayLike, labels: Labels, regularisation: float = 1e-5
) -> tuple[Floats, Floats]:
    """Linear discriminant analysis: Gaussians that share one covariance (Fisher 1936).

    Parameters
    ----------
    vectors
        (n, c).
    labels
        (n,) counted from 0, none empty.
    regularisation
        Added to all variances.

    Returns
    -------
    directions, offsets
        (k, c) and (k,): the softmax of ``vectors @ directions.T + offsets`` are probabilities.
    """
    points = np.asarray(vectors, dtype=np.float64)
    means = _means(points, labels)
    away = points - means[labels]
    within = away.T @ away / len(points) + regularisation * np.eye(points.shape[1])
    directions: Floats = np.linalg.solve(within, means.T).T.astype(np.float64)
    offsets: Floats = np.log(np.bincount(labels) / len(labels)) - (directions * means).sum(1) / 2
    return directions, offsets


def matching(labels: Labels, previous: Labels) -> Labels:
    """New numbers of clusters under which most labels are what they were before (Kuhn 1955).

    Parameters
    ----------
    labels, previous
        (n,) of two clusterings with the same number of clusters, counted from 0, none empty.

    Returns
    -------
    ndarray
        (k,): cluster i is to be called ``numbers[i]``.

    Raises
    ------
    ValueError
        If their numbers of clusters differ.
    """
    shared = contingency_matrix(labels, previous)
    if shared.shape[0] != shared.shape[1]:
        raise ValueError(
            f"{shared.shape[0]} clusters cannot be matched with {shared.shape[1]}; "
            "match clusterings of the same number"
        )
    numbers: Labels = linear_sum_assignment(shared, maximize=True)[1].astype(np.int64)
    return numbers


def smoothed(labels: Labels, clusters: int, factor: float) -> npt.NDArray[np.float32]:
    """Smooth labels: (1 − factor) · one-hot + factor / clusters, (n, clusters)."""
    hot = np.eye(clusters, dtype=np.float32)[labels]
    soft: npt.NDArray[np.float32] = (1 - factor) * hot + np.float32(factor / clusters)
    return soft


def distortion_index(vectors: npt.ArrayLike, labels: Labels, regularisation: float = 1e-5) -> float:
    """Davies-Bouldin index by Mahalanobis distances, DDBI (Zeng et al. 2023); lower is better.

    mean_j max_{i≠j} (T_i + T_j) / (D_ij + D_ji): T_i is the mean squared distance of the members
    of cluster i to its mean, D_ij that of the mean of j, both by the covariance of i.

    Parameters
    ----------
    vectors
        (n, c).
    labels
        (n,) counted from 0, none empty.
    regularisation
        Added to all variances.

    Returns
    -------
    float
        Infinity for a single cluster, which is apart from nothing.
    """
    points = np.asarray(vectors, dtype=np.float64)
    means = _means(points, labels)
    clusters = len(means)
    if clusters < 2:
        return float("inf")
    inverses = np.linalg.inv(_covariances(points, labels, regularisation))
    away = points - means[labels]
    own = np.einsum("nc,ncd,nd->n", away, inverses[labels], away)
    spread = np.bincount(labels, own) / np.bincount(labels)
    between = means - means[:, None]  # [i, j] leads from the mean of i to that of j
    apart = np.einsum("ijc,icd,ijd->ij", between, inverses, between)
    both = apart + apart.T
    np.fill_diagonal(both, np.inf)
    return float(((spread + spread[:, None]) / both).max(0).mean())


def surprise(
    vectors: npt.ArrayLike,
    labels: Labels,
    regularisation: float = 1e-5,
    covariance: Covariance = "full",
) -> float:
    """How badly Gaussians, one a group, describe its members: mean of −log(weight · density).

    Groups of the same vectors compare by it, wherever they come from; lower is better.

    Parameters
    ----------
    vectors
        (n, c).
    labels
        (n,) counted from 0, none empty.
    regularisation, covariance
        As in `fit_mixture`.
    """
    points = np.asarray(vectors, dtype=np.float64)
    covariances = _covariances(points, labels, regularisation)
    width = points.shape[1]
    if covariance == "spherical":
        variances = np.trace(covariances, axis1=1, axis2=2) / width
        covariances = variances[:, None, None] * np.eye(width)
    away = points - _means(points, labels)[labels]
    squared = np.einsum("nc,ncd,nd->n", away, np.linalg.inv(covariances)[labels], away)
    weights = np.bincount(labels) / len(labels)
    volume = width * np.log(2 * np.pi) + np.linalg.slogdet(covariances)[1]
    return float(((squared + volume[labels]) / 2 - np.log(weights)[labels]).mean())


def _points(vectors: npt.ArrayLike, groups: int) -> Floats:
    points = np.asarray(vectors, dtype=np.float64)
    if len(points) < groups:
        raise ValueError(
            f"{len(points)} particles cannot make {groups} groups; "
            "ask for fewer groups or pick more particles"
        )
    if not np.isfinite(points).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(points))} of {points.size} features are not finite; "
            "check the volumes for extreme values"
        )
    return points


def _means(points: Floats, labels: Labels) -> Floats:
    sums = np.zeros((labels.max() + 1, points.shape[1]))
    np.add.at(sums, labels, points)
    means: Floats = sums / np.bincount(labels)[:, None]
    return means


def _covariances(points: Floats, labels: Labels, regularisation: float) -> Floats:
    """(k, c, c), of a single member that of the regularisation alone."""
    identity = np.eye(points.shape[1])
    found = []
    for cluster in range(labels.max() + 1):
        members = points[labels == cluster]
        away = members - members.mean(0)
        found.append(away.T @ away / max(len(members) - 1, 1) + regularisation * identity)
    return np.array(found)
