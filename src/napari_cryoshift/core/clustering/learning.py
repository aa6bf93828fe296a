"""What DISCA learns groups with: numbers that stay, soft labels, and a last layer to begin with."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix

from .points import Floats, Labels, group_means


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
    means = group_means(points, labels)
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
