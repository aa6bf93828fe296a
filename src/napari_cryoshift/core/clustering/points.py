"""Vectors and the groups that they make."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def checked_points(vectors: npt.ArrayLike, groups: int) -> Floats:
    """Vectors (n, e) as numbers of double precision.

    Raises
    ------
    ValueError
        If there are fewer of them than groups, or a value is not finite.
    """
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
    points = checked_points(vectors, 1)
    if count > points.shape[1]:
        raise ValueError(
            f"{count} principal components of {points.shape[1]} features; ask for fewer components"
        )
    mean = points.mean(0)
    variances, axes = np.linalg.eigh(np.cov(points.T, ddof=0).reshape(2 * (points.shape[1],)))
    largest = axes[:, ::-1][:, :count].T
    return mean, largest / np.sqrt(max(float(variances[-1]), 1e-24))


def group_means(points: Floats, labels: Labels) -> Floats:
    """Mean of each group, (k, c)."""
    sums = np.zeros((labels.max() + 1, points.shape[1]))
    np.add.at(sums, labels, points)
    means: Floats = sums / np.bincount(labels)[:, None]
    return means


def group_covariances(points: Floats, labels: Labels, regularisation: float) -> Floats:
    """(k, c, c), of a single member that of the regularisation alone."""
    identity = np.eye(points.shape[1])
    found = []
    for cluster in range(labels.max() + 1):
        members = points[labels == cluster]
        away = members - members.mean(0)
        found.append(away.T @ away / max(len(members) - 1, 1) + regularisation * identity)
    return np.array(found)
