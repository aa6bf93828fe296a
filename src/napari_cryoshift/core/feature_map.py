"""Features drawn in the plane by t-SNE, and how well two domains mix in them."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from .progress import Job, Progress

_FEWEST = 10
_PERPLEXITY = 30.0
_EXAGGERATED, _PLAIN = 250, 500
"""Iterations with attraction twelvefold, and after these: van der Maaten's of 2014."""
_AT_ONCE = 25
"""Iterations from one report to the next."""
_NEIGHBOURS = 15

Floats = npt.NDArray[np.float64]


def tsne(features: npt.ArrayLike, *, seed: int = 0) -> Job[Floats]:
    """Lay out features in the plane so that neighbours stay neighbours.

    t-SNE (van der Maaten & Hinton 2008) by openTSNE, begun with the two main axes. Neighbours in
    the plane are neighbours in the features; distances between groups, and how large a group is,
    say nothing.

    Parameters
    ----------
    features
        (n, e).
    seed
        Of what the main axes are computed with, for many features.

    Returns
    -------
    ndarray
        (n, 2).

    Raises
    ------
    ValueError
        If openTSNE is not installed, or there are too few rows or values that are not finite.
    """
    need_opentsne()
    from openTSNE import TSNEEmbedding, affinity, initialization

    rows = _checked(features)
    phase, total = "drawing the map", _EXAGGERATED + _PLAIN
    yield Progress(phase, 0, total)
    near = affinity.PerplexityBasedNN(
        rows,
        perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3),
        method="exact",
        n_jobs=1,
        random_state=seed,
    )
    embedding = TSNEEmbedding(
        initialization.pca(rows, random_state=seed), near, n_jobs=1, random_state=seed
    )
    for step in range(0, total, _AT_ONCE):
        early = step < _EXAGGERATED
        embedding.optimize(
            _AT_ONCE,
            exaggeration=12 if early else None,
            momentum=0.5 if early else 0.8,
            inplace=True,
        )
        yield Progress(phase, step + _AT_ONCE, total)
    return np.asarray(embedding, dtype=np.float64)


def need_opentsne() -> None:
    """Make sure that a map can be drawn, before any work for it is done.

    Raises
    ------
    ValueError
        If openTSNE is not installed.
    """
    if find_spec("openTSNE") is None:
        raise ValueError(
            "openTSNE is not installed, which draws the map; pip install napari-cryoshift[tsne]"
        )


def mixing(features: npt.ArrayLike, is_target: npt.ArrayLike) -> float:
    """How well two domains mix in their features: 0 if they lie apart, about 1 if they are one.

    The share of the other domain among the 15 nearest neighbours of each row, over what it would
    be if both were drawn from one distribution; the mean of the domains' means.

    Parameters
    ----------
    features
        (n, e).
    is_target
        (n,) bool.

    Raises
    ------
    ValueError
        If there are too few rows, values that are not finite, or one domain only.
    """
    rows, target = _checked(features), np.asarray(is_target, dtype=bool)
    n, counts = len(rows), (int((~target).sum()), int(target.sum()))
    if min(counts) == 0:
        raise ValueError(f"{counts[0]} rows of one domain and {counts[1]} of the other; give both")
    found = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, n - 1)).fit(rows)
    near = found.kneighbors(return_distance=False)  # each row without itself
    other = (target[near] != target[:, None]).mean(1)
    means = [other[target == domain].mean() for domain in (False, True)]
    expected = [counts[1] / (n - 1), counts[0] / (n - 1)]
    return float(np.mean(np.divide(means, expected)))


def _checked(features: npt.ArrayLike) -> Floats:
    rows = np.asarray(features, dtype=np.float64)
    if len(rows) < _FEWEST:
        raise ValueError(f"{len(rows)} particles are too few to lay out; give {_FEWEST} or more")
    if wrong := int((~np.isfinite(rows)).any(1).sum()):
        raise ValueError(f"features of {wrong} of {len(rows)} particles are not finite; train anew")
    return rows
