"""Groups by k-means."""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from .points import Floats, Labels, checked_points


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
    points = checked_points(vectors, groups)
    with warnings.catch_warnings():
        # Fewer distinct vectors than groups: some groups stay empty, which is no error.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(groups, n_init=restarts, random_state=seed).fit(points)
    return Groups(
        labels=found.labels_.astype(np.int64),
        centres=found.cluster_centers_,
        variance=float(found.inertia_) / points.size,
    )
