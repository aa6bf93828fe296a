"""A tomogram in windows: each a tile and the surroundings that a template reaches there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from napari_cryoshift.core.types import Tomogram

_SIDE = 96
"""Voxels of a tile along each axis, about."""

_NARROWEST = 3.0
"""Voxels; what is narrower is not sampled."""

Corner = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Windows:
    """A tomogram in equal windows that overlap, its voxels averaged over blocks.

    Attributes
    ----------
    tomogram
        What is read.
    block
        Voxels along each axis that make one.
    voxel_size
        Å, of these.
    shape
        zyx, of the whole tomogram in these.
    tile
        zyx, what a window answers for.
    window
        zyx, what it reads for that.
    margin
        By which it begins before its tile.
    """

    tomogram: Tomogram
    block: int
    voxel_size: float
    shape: Corner
    tile: Corner
    window: Corner
    margin: int

    @classmethod
    def of(cls, tomogram: Tomogram, diameter: float, resolution: float) -> Windows:
        """Cut a tomogram for particles of a diameter seen at a resolution, both Å.

        Raises
        ------
        ValueError
            If the tomogram is too coarse for the particle, or smaller.
        """
        block = max(1, math.floor(resolution / 2 / tomogram.voxel_size))
        voxel_size = block * tomogram.voxel_size
        across = diameter / voxel_size
        shape = tuple(length // block for length in tomogram.shape)
        if across < _NARROWEST:
            raise ValueError(
                f"a particle of {diameter:.0f} Å is only {across:.1f} voxels of {voxel_size:g} Å "
                "wide; give a finer tomogram or a finer resolution"
            )
        if min(shape) < across:
            raise ValueError(
                f"{tomogram.name} is {min(tomogram.shape) * tomogram.voxel_size:.0f} Å thick but "
                f"the particle {diameter:.0f} Å wide; correct the voxel size or choose another one"
            )
        # The mask reaches a voxel beyond the particle, and a peak is seen from its neighbours.
        margin = math.ceil(across / 2) + 3
        pieces = [max(1, round(length / _SIDE)) for length in shape]
        tile = tuple(-(-length // count) for length, count in zip(shape, pieces, strict=True))
        window = tuple(next_fast_len(side + 2 * margin, real=True) for side in tile)
        return cls(tomogram, block, voxel_size, shape, tile, window, margin)  # type: ignore[arg-type]

    @property
    def corners(self) -> list[Corner]:
        """Where the tiles begin."""
        z, y, x = (range(0, n, side) for n, side in zip(self.shape, self.tile, strict=True))
        return list(product(z, y, x))

    def read(self, corner: Corner) -> Tensor:
        """Read the window of a tile, float32, protein positive, as in a mirror beyond the faces.

        Raises
        ------
        ValueError
            If it holds NaN or infinite values.
        """
        index = [
            _mirrored(np.arange(start - self.margin, start - self.margin + side), length)
            for start, side, length in zip(corner, self.window, self.shape, strict=True)
        ]
        first = [int(i.min()) for i in index]
        stop = [int(i.max()) + 1 for i in index]
        rows, columns = (
            slice(a * self.block, b * self.block) for a, b in zip(first[1:], stop[1:], strict=True)
        )
        split = (self.block, stop[1] - first[1], self.block, stop[2] - first[2], self.block)
        # Plane by plane, for what is read may be many times what is kept.
        planes = [
            np.asarray(
                self.tomogram.data[z * self.block : (z + 1) * self.block, rows, columns],
                dtype=np.float32,
            )
            .reshape(split)
            .mean((0, 2, 4))
            for z in range(first[0], stop[0])
        ]
        values = np.stack(planes)
        if not np.isfinite(values).all():
            raise ValueError(
                f"{self.tomogram.name} has NaN or infinite grey values; replace them by its mean "
                "first"
            )
        whole = values[np.ix_(*(i - a for i, a in zip(index, first, strict=True)))]
        return torch.from_numpy(-whole if self.tomogram.dark else whole)

    def positions(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Positions (n, 3) in voxels of the tomogram, of places in averaged voxels."""
        return (places + 0.5) * self.block - 0.5


def _mirrored(index: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Indices folded back at the faces, which are seen once."""
    if length == 1:
        return np.zeros_like(index)
    folded: npt.NDArray[np.int64] = np.abs((index + length - 1) % (2 * length - 2) - (length - 1))
    return folded
