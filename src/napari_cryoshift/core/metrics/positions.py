"""Found positions matched to true ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]


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
    wanted, true = points_of(found, "found"), points_of(truth, "true")
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


def points_of(positions: npt.ArrayLike, what: str) -> Floats:
    """Return positions as (n, 3) float64.

    Raises
    ------
    ValueError
        If they have another shape; ``what``, "found" or "true", says which they are.
    """
    points = np.asarray(positions, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, 3))
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(
            f"the {what} positions have shape {points.shape}; give (n, 3), in the order z, y, x"
        )
    return points


def need_truth(count: int) -> None:
    """Refuse to compare with no true position.

    Raises
    ------
    ValueError
        If there are none.
    """
    if count == 0:
        raise ValueError("the list of true positions is empty; give at least one position")
