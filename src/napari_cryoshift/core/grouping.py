"""Groups of particles found without a label, and what can be said of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
import torch

from .averaging import Average, AveragingParams, average_particles
from .clustering import distortion_index, kmeans, posterior, principal_axes
from .devices import best_device
from .embeddings import Vectors
from .features import fits, joined, learned
from .methods import METHODS
from .methods.autoencoder import Autoencoder, AutoencoderParams
from .methods.disca_params import DiscaParams
from .methods.disca_rounds import Grouping, best_mixture
from .progress import Job, Progress
from .types import Particles, Subtomograms, Tomogram, TrainingData
from .volumes import half_turned
from .workflows import compare, held_for, shipped_checkpoint, train

_READ = 64
_COMPONENTS = 8
_FITS = 2.0
"""Times the weight that they have beside labels: decision 0008."""

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

NUMBERS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
"""Of groups, which are tried where nobody says how many there are."""

_SEEN = {
    "network": "embedding",
    "covariance": "spherical",
    "half_turns": True,
    "clusters": NUMBERS,
    "tolerance": 0.05,
}

WAYS: dict[str, DiscaParams | AutoencoderParams] = {
    "quick": DiscaParams.model_validate({**_SEEN, "iterations": 1}),
    "disca": DiscaParams.model_validate({**_SEEN, "iterations": 6, "learning_rate": 1e-4}),
    "autoencoder": AutoencoderParams(passes=30, filters=8),
}
"""How groups are found, on a processor: in what the shipped embedding sees, which is the first
round of DISCA; by more rounds, which learn; or by what it takes to draw particles."""

_ONE_ROUND = "known structures are asked where groups are found in one round; choose quick"

MOST = 150
"""Members of a group that are averaged: enough to see what it is."""

_WIDER = 1.2
"""Times the diameter, for an average: a group may be of larger particles than were picked for."""


@dataclass(frozen=True, eq=False)
class Found:
    """Groups of n particles, the largest first.

    Attributes
    ----------
    probabilities
        (n, k) of each group; the most probable one is the particle's.
    figures
        That the method reported last: the number of groups, ``bic`` (of the mixture, a particle)
        and ``distortion`` (DDBI) for DISCA, for both of which lower is better.
    drawn
        (k, d, d, d) what the autoencoder draws for the centre of each group, protein bright; None
        where groups were found by another method.
    """

    probabilities: Floats
    figures: Mapping[str, float]
    drawn: npt.NDArray[np.float32] | None = None

    @property
    def labels(self) -> Labels:
        """(n,) from 0 on."""
        most: Labels = self.probabilities.argmax(1).astype(np.int64)
        return most


def find_groups(
    tomogram: Tomogram,
    particles: Particles,
    params: DiscaParams | AutoencoderParams,
    scores: npt.ArrayLike | None = None,
) -> Job[Found]:
    """Sort particles into groups that look alike, without a label.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        More than groups; positions in its voxels.
    params
        Of the method, `Disca` or `Autoencoder`; `WAYS` has some.
    scores
        (n, k) how well they fit known structures, by `comparing.compare`: groups are looked for in
        that, too, which only a way that learns nothing can do.

    Raises
    ------
    ValueError
        If there are too few particles, one lies outside the tomogram, or there are scores and a
        way that learns.
    """
    if not len(particles):
        raise ValueError("there are 0 particles to group; pick some first")
    if scores is not None and not _learns_nothing(params):
        raise ValueError(_ONE_ROUND)
    held = yield from held_for(tomogram, particles, shipped_checkpoint())
    if _learns_nothing(params):
        vectors = yield from seen(held, params)
        features = vectors if scores is None else with_fits(vectors, scores)
        return (yield from group_features(features, params))
    method = next(name for name, kind in METHODS.items() if kind.params_type is type(params))
    checkpoint = yield from train(method, params, TrainingData(target=held))
    trained, said = checkpoint.build(), []
    batches = np.array_split(np.arange(len(held)), math.ceil(len(held) / _READ))
    for done, rows in enumerate(batches, start=1):
        said.append(trained.predict(held[rows]).double().cpu().numpy())
        yield Progress("sorting the particles", done, len(batches))
    probabilities, by_size = _largest_first(np.concatenate(said))
    drawn = None
    if isinstance(trained, Autoencoder):
        drawn = trained.typical().cpu().numpy()[by_size]
    return Found(probabilities, checkpoint.card["figures"], drawn)


def find_compared_groups(
    tomogram: Tomogram,
    particles: Particles,
    params: DiscaParams | AutoencoderParams,
    cache: Path | None = None,
) -> Job[Found]:
    """Compare particles with all known structures, and find groups with what these say, too.

    Parameters
    ----------
    tomogram, particles, params
        As in `find_groups`.
    cache
        As in `comparing.compare`.

    Raises
    ------
    ValueError
        As there.
    """
    if not _learns_nothing(params):
        raise ValueError(_ONE_ROUND)
    scores = yield from compare(tomogram, particles, cache=cache)
    return (yield from find_groups(tomogram, particles, params, scores))


def group_features(features: npt.ArrayLike, params: DiscaParams) -> Job[Found]:
    """Sort rows into groups as DISCA does in its first round, without learning anything.

    Parameters
    ----------
    features
        (n, e), all finite.
    params
        Of the mixtures.

    Raises
    ------
    ValueError
        If there are too few rows.
    """
    rows = np.asarray(features, dtype=np.float64)
    params.need_enough(len(rows))
    mean, axes = principal_axes(rows, min(params.components, rows.shape[1]))
    points = (rows - mean) @ axes.T
    best = yield from best_mixture(points, params, Grouping(untrained=False))
    figures = {
        "groups": float(best.count),
        "bic": best.bic / len(rows),
        "distortion": distortion_index(points, best.labels, params.regularisation),
    }
    said = posterior(points, best.weights, best.means, best.precisions)
    return Found(_largest_first(said)[0], figures)


def seen(volumes: Subtomograms, params: DiscaParams) -> Job[Vectors]:
    """Look at n volumes through the shipped embedding, (n, e), in as many poses as is said."""
    method = shipped_checkpoint().build().to(best_device())
    parts = []
    batches = np.array_split(np.arange(len(volumes)), math.ceil(len(volumes) / _READ))
    for done, rows in enumerate(batches, start=1):
        there = volumes[rows]
        poses = half_turned(there) if params.half_turns else [there]
        parts.append(torch.stack([method.embed(pose) for pose in poses]).mean(0).cpu().numpy())
        yield Progress("looking at the particles", done, len(batches))
    return np.concatenate(parts)


def with_fits(vectors: Vectors, scores: npt.ArrayLike) -> Vectors:
    """Join what an embedding sees, (n, e), with fits to known structures, (n, k)."""
    known = fits(np.asarray(scores, dtype=np.float32)).times(_FITS)
    return joined([learned(vectors), known])


def average_group(tomogram: Tomogram, members: Particles, diameter: float) -> Job[Average]:
    """Average `MOST` members of a group at most, the first ones, quickly.

    Parameters
    ----------
    tomogram
        Where the particles are.
    members
        The best first.
    diameter
        Of a particle, Å.

    Raises
    ------
    ValueError
        If there are fewer than four.
    """
    params = AveragingParams(diameter=_WIDER * diameter, rotation_step=20.0, rounds=2)
    some = members.take(np.arange(min(len(members), MOST)))
    return (yield from average_particles(tomogram, some, params))


def spreads(vectors: npt.ArrayLike, labels: Labels) -> Floats:
    """How far the members of each group lie apart, (k,); 1 is as far as all particles do.

    Root mean square distance of the members to their mean, over that of all rows to theirs.

    Parameters
    ----------
    vectors
        (n, e); rows that are not finite count nowhere.
    labels
        (n,) from 0 on; NaN is the spread of a group without a row.
    """
    rows, groups = _finite(vectors, labels)
    found = np.full(int(labels.max(initial=-1)) + 1, np.nan)
    if len(rows):
        whole = np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean())
        for group in np.unique(groups):
            members = rows[groups == group]
            own = np.sqrt(np.square(members - members.mean(0)).sum(1).mean())
            found[group] = own / max(whole, 1e-12)
    return found


def most_typical(vectors: npt.ArrayLike) -> Labels:
    """Rows of one group in the order of their distance to its mean; those not finite come last."""
    rows = np.asarray(vectors, dtype=np.float64)
    there = np.isfinite(rows).all(1)
    away = np.full(len(rows), np.inf)
    if there.any():
        away[there] = np.square(rows[there] - rows[there].mean(0)).sum(1)
    return np.argsort(away, kind="stable")


def halves(vectors: npt.ArrayLike, seed: int = 0) -> Labels:
    """Split one group in two, (n,) 0 or 1, by k-means in its own main components.

    Raises
    ------
    ValueError
        If there are fewer than two rows, or some are not finite.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} particle cannot be split; choose a larger cluster")
    mean, axes = principal_axes(rows, min(_COMPONENTS, rows.shape[1]))
    return kmeans((rows - mean) @ axes.T, 2, seed=seed, restarts=10).labels


def plane(vectors: npt.ArrayLike, labels: Labels) -> Floats:
    """Lay out rows in the plane in which the means of their groups lie farthest apart, (n, 2).

    Distances are those of the vectors, seen from one side. With fewer than three groups, the main
    axes of all rows do for what is missing.

    Parameters
    ----------
    vectors
        (n, e), all finite.
    labels
        (n,); -1 for none.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    away = rows - rows.mean(0)
    axes = np.zeros((0, rows.shape[1]))
    means = [away[labels == group].mean(0) for group in np.unique(labels[labels >= 0])]
    if len(means) > 1:
        apart = np.array(means) - np.mean(means, axis=0)
        axes = np.linalg.svd(apart, full_matrices=False)[2][: len(means) - 1]
    if len(axes) < 2:
        left = away - away @ axes.T @ axes
        axes = np.concatenate([axes, np.linalg.svd(left, full_matrices=False)[2]])
    seen: Floats = away @ axes[:2].T
    return seen


def _learns_nothing(params: DiscaParams | AutoencoderParams) -> TypeGuard[DiscaParams]:
    """Whether groups are found in features as they are."""
    return (
        isinstance(params, DiscaParams) and params.network == "embedding" and params.iterations == 1
    )


def _largest_first(probabilities: Floats) -> tuple[Floats, Labels]:
    """Leave out groups that are nobody's most probable one, and return which stay."""
    sizes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    by_size = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    return probabilities[:, by_size], by_size


def _finite(vectors: npt.ArrayLike, labels: Labels) -> tuple[Floats, Labels]:
    rows = np.asarray(vectors, dtype=np.float64)
    there = np.isfinite(rows).all(1) & (labels >= 0)
    return rows[there], labels[there]
