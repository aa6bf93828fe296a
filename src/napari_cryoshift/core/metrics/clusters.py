"""How well clusters agree with true classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix


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
