"""The layer of ice that a specimen is frozen in: how thick it is, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import ndimage

from napari_cryoshift.core.params import Params

_WAVINESS = 800.0
"""Å over which the height of a surface forgets itself."""

FloatArray = npt.NDArray[np.float32]


class IceParams(Params):
    """A layer of ice: all of the specimen lies in it."""

    thickness: float | None = Field(
        None,
        ge=100,
        le=20_000,
        title="Thickness",
        description="Mean over the layer, Å; by default the depth of the tomogram.",
    )
    tilt: float = Field(
        2.0, ge=0, le=30, title="Tilt", description="Of the layer in a random direction, degrees."
    )
    relief: float = Field(
        20.0,
        ge=0,
        le=1000,
        title="Relief",
        description="Standard deviation of the height of either surface, Å.",
    )


@dataclass(frozen=True, eq=False)
class Ice:
    """A layer of ice.

    Attributes
    ----------
    lower, upper
        (y, x) heights of its surfaces, Å from the centre of the first voxel along z.
    """

    lower: FloatArray
    upper: FloatArray

    def inside(self, depth: int, voxel_size: float) -> npt.NDArray[np.bool_]:
        """(depth, y, x): which voxels of a tomogram are ice."""
        z = (np.arange(depth, dtype=np.float32) * voxel_size)[:, None, None]
        within: npt.NDArray[np.bool_] = (z >= self.lower) & (z <= self.upper)
        return within


def freeze(
    shape: tuple[int, int, int],
    voxel_size: float,
    params: IceParams,
    generator: np.random.Generator,
) -> Ice:
    """Draw a layer of ice about the middle of a tomogram.

    Parameters
    ----------
    shape
        Of the tomogram, zyx voxels.
    voxel_size
        Å.
    params
        How thick, tilted and uneven.
    generator
        Of the direction of the tilt and of the two surfaces, which are independent.
    """
    depth, *plane = shape
    thickness = params.thickness or depth * voxel_size
    along = generator.uniform(0, 2 * np.pi)
    y, x = (
        (np.arange(n, dtype=np.float32) - (n - 1) / 2)[slices] * voxel_size
        for n, slices in zip(plane, (np.s_[:, None], np.s_[None, :]), strict=True)
    )
    slope = np.tan(np.deg2rad(params.tilt))
    middle = (depth - 1) / 2 * voxel_size + slope * (np.sin(along) * y + np.cos(along) * x)
    lower, upper = (
        (middle + side * thickness / 2 + _relief(plane, voxel_size, params.relief, generator))
        for side in (-1, 1)
    )
    return Ice(lower.astype(np.float32), upper.astype(np.float32))


def _relief(
    plane: list[int], voxel_size: float, deviation: float, generator: np.random.Generator
) -> FloatArray:
    """Smooth random heights (y, x) of mean 0 and a standard deviation, Å."""
    noise = generator.standard_normal(plane)
    smooth = ndimage.gaussian_filter(noise, _WAVINESS / 2 / voxel_size, mode="wrap")
    smooth -= smooth.mean()
    heights: FloatArray = (deviation * smooth / max(smooth.std(), 1e-12)).astype(np.float32)
    return heights
