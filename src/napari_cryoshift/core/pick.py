"""Particle picking by difference of Gaussians, in tiles, on all cores.

Pei, Xu, Frazier & Alber, "Simulating cryo electron tomograms of crowded cell cytoplasm for
assessment of automated particle picking", BMC Bioinformatics 17, 405 (2016).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.spatial import cKDTree
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.tiles import Scan, bytes_needed, cut_axis, scan_tile
from napari_cryoshift.core.types import Particles, Tomogram

_SMALLEST = 3.0  # voxels; a particle narrower than this is not sampled
_MEMORY = 4 * 2**30  # bytes that all tiles at work may take; large particles need large tiles


class PickParams(Params):
    """How to pick by difference of Gaussians."""

    diameter: float = Field(
        250.0,
        gt=0,
        le=10_000,
        title="Particle diameter",
        description="Diameter of the particle, Å. The narrower Gaussian has a standard deviation "
        "of diameter / (2 √3), the scale that fits a solid ball of this diameter.",
    )
    sigma_ratio: float = Field(
        1.1,
        gt=1,
        le=4,
        title="Ratio of the two Gaussians",
        description="Standard deviation of the wider Gaussian in units of the narrower one "
        "(no unit; Pei et al. 2016 use 1.1).",
    )
    strictness: float = Field(
        0.0,
        ge=0,
        le=20,
        title="Strictness",
        description="Drops peaks below worst + strictness × (best − worst) / 20 (no unit). 0 keeps "
        "every peak, so that the score decides afterwards; Pei et al. 2016 use 3, but one gold "
        "bead then hides the particles.",
    )
    min_distance: float = Field(
        0.5,
        gt=0,
        le=2,
        title="Least distance",
        description="Of two candidates that are closer than this, the better one stays; in "
        "particle diameters.",
    )
    border: float = Field(
        0.0,
        ge=0,
        le=10_000,
        title="Border",
        description="Candidates closer than this to a face of the tomogram are dropped, Å.",
    )
    max_count: int = Field(
        0,
        ge=0,
        title="Most candidates",
        description="How many of the best candidates to keep; 0 keeps all.",
    )


def pick(tomogram: Tomogram, params: PickParams, mask: Any | None = None) -> Job[Particles]:
    """Find the places of a tomogram that look like a blob of the particle's diameter.

    The tomogram is read tile by tile, each with the margin that the Gaussians reach, so the result
    is that of the whole volume, at a memory use that does not grow with it.

    Parameters
    ----------
    tomogram
        Any real grey values; ``tomogram.dark`` says whether particles are minima or maxima.
    params
        What to look for.
    mask
        Array-like of the tomogram's shape, nonzero where candidates are wanted, or None.

    Returns
    -------
    Job[Particles]
        Yields after every few tiles and returns the candidates, best first. Their score is the
        difference of Gaussians in units of its root mean square over the tomogram (about its
        standard deviation); only positive scores are listed.

    Raises
    ------
    ValueError
        If the tomogram is not 3-D, constant, not finite, smaller than the particle or sampled too
        coarsely for it, or the mask has another shape.
    """
    _check(tomogram, params, mask)
    sigma = params.diameter / (2 * np.sqrt(3)) / tomogram.voxel_size
    sigmas = sigma, params.sigma_ratio * sigma
    tiles = list(product(*(cut_axis(length, sigmas) for length in tomogram.shape)))
    affordable = _MEMORY // max(map(bytes_needed, tiles))
    workers = max(1, min(affordable, os.cpu_count() or 1))

    scans: list[Scan] = []
    blas = ThreadpoolController()
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(tiles), 4 * workers):
            batch = tiles[first : first + 4 * workers]
            # One thread a tile: more of them inside the products would fight over the cores.
            with blas.limit(limits=1, user_api="blas"):
                scans += pool.map(lambda tile: scan_tile(tomogram, tile, mask), batch)
            yield Progress("picking", first + len(batch), len(tiles))

    low, high = min(scan.low for scan in scans), max(scan.high for scan in scans)
    if low == high:
        raise ValueError(
            f"every voxel of {tomogram.name} has the value {low:g}; open a reconstructed tomogram"
        )
    mean_square = sum(scan.square_sum for scan in scans) / np.prod(tomogram.shape, dtype=float)
    positions = np.concatenate([scan.positions for scan in scans])
    values = np.concatenate([scan.values for scan in scans])

    from_face = np.minimum(positions + 0.5, np.array(tomogram.shape) - 0.5 - positions)
    inside = (from_face * tomogram.voxel_size >= params.border).all(axis=1)
    positions, values, from_face = positions[inside], values[inside], from_face[inside]
    ranked = _best_first(positions, values, strictness=params.strictness)
    distance = params.min_distance * params.diameter / tomogram.voxel_size
    chosen = ranked[separate(positions[ranked], distance, max_count=params.max_count)]
    return Particles.at(
        positions[chosen],
        score=values[chosen] / np.sqrt(mean_square),
        source="pick",
        tomogram=tomogram.name,
        edge=(from_face[chosen] * tomogram.voxel_size < params.diameter / 2).any(axis=1),
    )


def separate(
    positions: npt.ArrayLike, distance: float, max_count: int = 0
) -> npt.NDArray[np.int64]:
    """Choose, best first, the points that are farther than ``distance`` from every better choice.

    Parameters
    ----------
    positions
        (n, 3) points, best first.
    distance
        In the unit of the positions.
    max_count
        Stop at this many; 0 never stops.

    Returns
    -------
    (m,) indices of the chosen points, rising.
    """
    points = np.asarray(positions, dtype=float).reshape(-1, 3)
    tree = cKDTree(points)
    free = np.ones(len(points), dtype=bool)
    chosen: list[int] = []
    for i, point in enumerate(points):
        if free[i]:
            # Neighbours that rank before i were dropped earlier, or i would not be free.
            free[tree.query_ball_point(point, distance)] = False
            chosen.append(i)
            if len(chosen) == max_count:
                break
    return np.asarray(chosen, dtype=np.int64)


def _check(tomogram: Tomogram, params: PickParams, mask: Any | None) -> None:
    shape = tuple(tomogram.data.shape)
    if len(shape) != 3:
        raise ValueError(
            f"{tomogram.name} has {len(shape)} dimensions; picking needs a volume with z, y and x"
        )
    if not (np.isfinite(tomogram.voxel_size) and tomogram.voxel_size > 0):
        raise ValueError(
            f"the voxel size of {tomogram.name} is {tomogram.voxel_size:g} Å; "
            "set the true one before picking"
        )
    across = params.diameter / tomogram.voxel_size
    if across < _SMALLEST:
        raise ValueError(
            f"a particle of {params.diameter:g} Å is only {across:.1f} voxels wide; give a "
            f"diameter of at least {_SMALLEST * tomogram.voxel_size:g} Å or a finer tomogram"
        )
    if min(shape) < across:
        raise ValueError(
            f"{tomogram.name} has {' × '.join(map(str, shape))} voxels but a particle is "
            f"{across:.1f} voxels wide; give a smaller diameter or correct the voxel size"
        )
    if mask is not None and tuple(mask.shape) != shape:
        raise ValueError(
            f"the mask has shape {tuple(mask.shape)} but the tomogram {shape}; "
            "give a mask of the tomogram's shape"
        )


def _best_first(
    positions: npt.NDArray[np.int64], values: npt.NDArray[np.float32], strictness: float
) -> npt.NDArray[np.int64]:
    """Return the rows of the peaks that are strong enough, best first, equal ones by place."""
    order = np.lexsort((*positions.T[::-1], -values))
    if len(order) == 0:
        return order
    best, worst = float(values[order[0]]), float(values[order[-1]])
    return order[values[order] >= worst + strictness * (best - worst) / 20]
