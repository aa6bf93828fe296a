"""The unbinned pixels that RELION counts in: their size, and how many make a tomogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .base import ListContext, Shape
from .columns import positive
from .star import read_star

PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize"
_SIZES = ["rlnTomoSizeZ", "rlnTomoSizeY", "rlnTomoSizeX"]


@dataclass(frozen=True)
class TiltSeries:
    """Unbinned geometry of one tomogram.

    A voxel i of a tomogram that is binned by b lies at the unbinned pixel b·i.

    Attributes
    ----------
    name
        Of the tomogram.
    pixel_size
        Å.
    shape
        Unbinned pixels along z, y, x; None if unknown.
    guessed
        True if ``shape`` is only voxels × binning, rounded.
    """

    name: str
    pixel_size: float
    shape: Shape | None
    guessed: bool

    def centre(self, context: ListContext, path: Path) -> npt.NDArray[np.float64]:
        """Return where RELION 5 counts from, unbinned pixels along x, y, z.

        The C++ programs take size / 2 when they read (``src/jaz/tomography/tomogram_set.cpp``),
        RELION's napari picker takes size / 2 - 1 when it writes.

        Raises
        ------
        ValueError
            If the size is unknown.
        """
        if self.shape is None:
            raise ValueError(
                f"{path.name} counts from the centre of {self.name!r}, whose size is unknown; give "
                "the tomogram, its unbinned size or tomograms.star"
            )
        return np.array(self.shape[::-1]) / 2 - (1 if context.centre == "picker" else 0)


def tilt_series(
    names: npt.NDArray[np.object_],
    context: ListContext,
    path: Path,
    pixel_sizes: Mapping[str, float] | None = None,
) -> dict[str, TiltSeries]:
    """Find the geometry of each tomogram.

    Parameters
    ----------
    names
        (n,) of the tomogram of each particle.
    context
        Its ``tomograms_star`` is believed first. ``unbinned_shape``, or ``shape`` × binning, is
        taken for all tomograms that this file does not list.
    path
        The particle list, for messages.
    pixel_sizes
        Å by tomogram, where the list states them.

    Raises
    ------
    ValueError
        If the voxel size is unknown.
    """
    voxel_size = context.need_voxel_size(path, "counts in unbinned pixels or Å")
    listed = read_tomograms(context.tomograms_star) if context.tomograms_star else {}
    stated = pixel_sizes or {}
    found = {}
    for name in np.unique(names):
        if name in listed:
            found[name] = listed[name]
            continue
        pixel_size = stated.get(name, voxel_size / context.binning)
        shape, guessed = context.unbinned_shape, False
        if shape is None and context.shape is not None:
            z, y, x = (round(side * voxel_size / pixel_size) for side in context.shape)
            shape, guessed = (z, y, x), True
        found[name] = TiltSeries(name, pixel_size, shape, guessed)
    return found


def read_tomograms(path: Path) -> dict[str, TiltSeries]:
    """Read RELION's tomograms.star.

    Raises
    ------
    ValueError
        If it lists no tomograms with pixel size and unbinned size.
    """
    for table in read_star(path).values():
        if {"rlnTomoName", PIXEL_SIZE, *_SIZES} <= set(table):
            values = positive(table, [PIXEL_SIZE, *_SIZES], path)
            return {
                name: TiltSeries(name, float(pixel), (int(z), int(y), int(x)), guessed=False)
                for name, (pixel, z, y, x) in zip(table["rlnTomoName"], values, strict=True)
            }
    raise ValueError(
        f"{path.name} has no {PIXEL_SIZE} and rlnTomoSizeX/Y/Z; give the tomograms.star that "
        "RELION 5 reconstructed from"
    )
