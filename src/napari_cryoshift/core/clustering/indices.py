"""How well groups describe vectors, without knowing what is true."""

import numpy as np
import numpy.typing as npt

from .mixtures import Covariance
from .points import Labels, group_covariances, group_means


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
    means = group_means(points, labels)
    clusters = len(means)
    if clusters < 2:
        return float("inf")
    inverses = np.linalg.inv(group_covariances(points, labels, regularisation))
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
    covariances = group_covariances(points, labels, regularisation)
    width = points.shape[1]
    if covariance == "spherical":
        variances = np.trace(covariances, axis1=1, axis2=2) / width
        covariances = variances[:, None, None] * np.eye(width)
    away = points - group_means(points, labels)[labels]
    squared = np.einsum("nc,ncd,nd->n", away, np.linalg.inv(covariances)[labels], away)
    weights = np.bincount(labels) / len(labels)
    volume = width * np.log(2 * np.pi) + np.linalg.slogdet(covariances)[1]
    return float(((squared + volume[labels]) / 2 - np.log(weights)[labels]).mean())
