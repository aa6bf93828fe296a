"""The difference of Gaussians and its peaks, one tile of a tomogram at a time.

Smoothing along an axis is a product with a small matrix, and a tile reads the margin that the
Gaussians reach, so tiles give what the whole volume would.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from napari_cryoshift.core.types import Tomogram

_TRUNCATE = 4.0  # a Gaussian ends at this many standard deviations, as in scipy
_SMALLEST_SIDE = 96  # voxels; less would mostly smooth the margins
_BAND = 24  # rows of a smoothing matrix that are multiplied at once, without the zeros around
_ROUNDING = 1e-9  # of a tile's grey range; far above double precision, far below any particle
_COPIES = 3  # of a tile in double precision that `scan_tile` holds at its worst


class Stretch(NamedTuple):
    """One tile's share of an axis: the voxels that it answers for, and what it reads for them."""

    own: slice  # in the tomogram
    window: slice  # in the tomogram; reaches as far around as the wider Gaussian
    inner: slice  # its own voxels in the smoothed tile, which has one neighbour more each side
    kernels: tuple[npt.NDArray[np.float64], ...]  # window → smoothed tile, one a Gaussian


class Scan(NamedTuple):
    """What one tile says."""

    positions: npt.NDArray[np.int64]  # (n, 3) zyx of its peaks
    values: npt.NDArray[np.float32]  # (n,) difference of Gaussians there
    square_sum: float  # of the difference of Gaussians
    low: float  # least and greatest grey value that it read
    high: float


def _tile_side(reach: int) -> int:
    """Return about how many voxels a tile should have along an axis."""
    # Every tile smooths its margins too; so large, it costs at most about twice what it needs.
    return max(_SMALLEST_SIDE, 2 * reach)


def cut_axis(length: int, sigmas: tuple[float, float]) -> list[Stretch]:
    """Cut an axis of ``length`` voxels into stretches for Gaussians of ``sigmas`` voxels."""
    reach = int(_TRUNCATE * max(sigmas) + 0.5)
    pieces = max(1, round(length / _tile_side(reach)))
    stretches = []
    for start, stop in pairwise(length * i // pieces for i in range(pieces + 1)):
        first, last = max(start - 1, 0), min(stop + 1, length)
        window = slice(max(first - reach, 0), min(last + reach, length))
        rows = slice(first - window.start, last - window.start)
        # Smoothing is linear, so the smoothed identity is the matrix that smooths, with the
        # reflection at the faces of the tomogram built in; that at the other ends of the window
        # does not reach the rows that are kept.
        identity = np.eye(window.stop - window.start)
        kernels = tuple(
            gaussian_filter1d(identity, sigma, axis=0, mode="reflect", truncate=_TRUNCATE)[rows]
            for sigma in sigmas
        )
        inner = slice(start - first, stop - first)
        stretches.append(Stretch(slice(start, stop), window, inner, kernels))
    return stretches


def bytes_needed(tile: tuple[Stretch, ...]) -> int:
    """Return about how much memory `scan_tile` takes for a tile."""
    return _COPIES * 8 * math.prod(len(axis.kernels[0].T) for axis in tile)


def scan_tile(tomogram: Tomogram, tile: tuple[Stretch, ...], mask: Any | None) -> Scan:
    """Find the peaks of one tile."""
    window = np.array(tomogram.data[tuple(axis.window for axis in tile)], dtype=np.float64)
    low, high = float(window.min()), float(window.max())
    if not np.isfinite(high - low):
        raise ValueError(
            f"{tomogram.name} has NaN or infinite grey values; replace them by its mean first"
        )
    window -= low  # changes no difference, and makes that of a flat region exactly zero
    narrow, wide = (_smooth(window, [axis.kernels[i] for axis in tile]) for i in range(2))
    difference = wide - narrow if tomogram.dark else narrow - wide

    inner = tuple(axis.inner for axis in tile)
    # Computed in double, compared in single precision: so no tile rounds a voxel differently.
    single = difference.astype(np.float32)
    peak = (single == _greatest_around(single)) & (single > _ROUNDING * (high - low))
    peak = peak[inner]
    if mask is not None:
        peak &= np.asarray(mask[tuple(axis.own for axis in tile)]) != 0
    return Scan(
        positions=np.argwhere(peak) + [axis.own.start for axis in tile],
        values=single[inner][peak],
        square_sum=float(np.sum(np.square(difference[inner]))),
        low=low,
        high=high,
    )


def _smooth(
    volume: npt.NDArray[np.float64], kernels: list[npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    """Apply one kernel (out, in) along each axis of a (z, y, x) volume."""
    for kernel in reversed(kernels):
        # This smooths the last axis and moves it to the front; after three, all are in place.
        lines = volume.reshape(-1, volume.shape[-1]).T
        smooth = np.empty((len(kernel), lines.shape[1]))
        for first in range(0, len(kernel), _BAND):
            band = kernel[first : first + _BAND]
            used = np.flatnonzero(band.any(axis=0))
            reach = slice(used[0], used[-1] + 1)
            np.matmul(band[:, reach], lines[reach], out=smooth[first : first + _BAND])
        volume = smooth.reshape(-1, *volume.shape[:-1])
    return volume


def _greatest_around(volume: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the greatest value among each voxel and its 26 neighbours."""
    for axis in range(3):
        values = np.moveaxis(volume, axis, 0)
        greatest = values.copy(order="K")
        np.maximum(greatest[1:], values[:-1], out=greatest[1:])
        np.maximum(greatest[:-1], values[1:], out=greatest[:-1])
        volume = np.moveaxis(greatest, 0, axis)
    return volume
