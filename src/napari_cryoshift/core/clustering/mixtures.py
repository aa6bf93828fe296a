"""Groups by mixtures of Gaussians, and how many of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from .points import Floats, Labels, checked_points, group_covariances, group_means

Covariance = Literal["full", "spherical"]


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
    points = checked_points(vectors, components)
    start = {"n_init": restarts, "init_params": "kmeans"}
    if previous is not None:
        covariances = group_covariances(points, previous, regularisation)
        variances = np.trace(covariances, axis1=1, axis2=2) / points.shape[1]
        start = {
            "n_init": 1,
            "weights_init": np.bincount(previous) / len(previous),
            "means_init": group_means(points, previous),
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
