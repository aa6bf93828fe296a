"""Label volumes: which particle, or class, a voxel of a tomogram belongs to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt

from .files import replacing
from .headers import read_header
from .types import Tomogram


def write_label_volume(path: Path | str, labels: npt.ArrayLike, like: Tomogram) -> None:
    """Write labels as an MRC file of 16-bit integers that overlays its tomogram everywhere.

    Voxel size, origin and nstart are those of the tomogram's file, for some programs place volumes
    by them; a voxel size that a person corrected is written as corrected.

    Parameters
    ----------
    path
        Ends in .mrc, or in .mrc.gz to pack it. It is written whole or not at all.
    labels
        (z, y, x) whole numbers; 0 is nothing.
    like
        The tomogram.

    Raises
    ------
    ValueError
        If the shape is not the tomogram's, or a label is not whole or does not fit into 16 bits.
    OSError
        If it cannot be written; a file that was there before is unchanged.
    """
    given = np.asarray(labels)
    if given.shape != like.shape:
        ours, theirs = (" × ".join(map(str, shape[::-1])) for shape in (given.shape, like.shape))
        raise ValueError(
            f"the labels have {ours} voxels but {like.name} has {theirs} (x, y, z); "
            "make them on that tomogram"
        )
    limits = np.iinfo(np.int16)
    low, high = given.min(), given.max()
    if not limits.min <= low <= high <= limits.max:
        raise ValueError(
            f"the labels go from {low} to {high}, but 16 bits hold {limits.min} to {limits.max}; "
            "number them anew"
        )
    volume = given.astype(np.int16)
    if given.dtype.kind not in "iub" and (volume != given).any():
        raise ValueError(f"the labels hold {given[volume != given][0]:g}; give whole numbers")
    header = None if like.path is None else read_header(like.path)
    sizes = (like.voxel_size,) * 3
    if header is not None and math.isclose(header.voxel_size, like.voxel_size, rel_tol=1e-3):
        sizes = header.voxel_sizes  # which may differ between the axes
    with replacing(path) as scratch:
        mrcfile.write(scratch, volume, voxel_size=sizes[::-1])
        if header is not None:
            with mrcfile.open(scratch, "r+") as file:
                file.header.origin = header.origin[::-1]
                file.nstart = header.start[::-1]


def paint(
    volume: npt.NDArray[np.integer[Any]],
    boxes: npt.NDArray[np.integer[Any]],
    positions: npt.NDArray[np.float64],
    *,
    step: float,
) -> None:
    """Paint the labels of small boxes into a volume.

    Parameters
    ----------
    volume
        (z, y, x) labels, changed in place; each voxel takes the label of the nearest one of a box.
        What is there already stays on top, and so does the earlier box of two.
    boxes
        (n, d, d, d) labels; 0 is nothing.
    positions
        (n, 3) zyx voxels of the volume, on which the centres d // 2 of the boxes come to lie.
    step
        Size of a voxel of the boxes in voxels of the volume.
    """
    side = boxes.shape[-1]
    for box, position in zip(boxes, positions, strict=True):
        seen, read = [], []
        for centre, length in zip(position, volume.shape, strict=True):
            first = math.ceil(centre - (side // 2 + 0.5) * step)
            last = math.floor(centre + (side - side // 2 - 0.5) * step)
            voxels = np.arange(max(first, 0), min(last, length - 1) + 1)
            nearest = np.rint((voxels - centre) / step).astype(np.int64) + side // 2
            seen.append(voxels)
            read.append(nearest.clip(0, side - 1))
        there = volume[np.ix_(*seen)]
        volume[np.ix_(*seen)] = np.where(there == 0, box[np.ix_(*read)], there)


class Balls:
    """A label volume that is painted where it is read: a ball around each particle.

    It looks like an array of three axes, and takes no memory. Where balls overlap, a voxel belongs
    to the nearest particle.

    Parameters
    ----------
    positions
        (n, 3) zyx voxels.
    labels
        (n,) from 1 to 65,535; 0 where nothing is painted.
    radius
        Voxels.
    shape
        Of the volume, (z, y, x).

    Raises
    ------
    ValueError
        If a label does not fit.
    """

    ndim = 3

    def __init__(
        self,
        positions: npt.NDArray[np.float64],
        labels: npt.NDArray[np.int64],
        *,
        radius: float,
        shape: tuple[int, int, int],
    ) -> None:
        highest = int(labels.max(initial=0))
        if labels.min(initial=0) < 0 or highest > np.iinfo(np.uint16).max:
            raise ValueError(
                f"labels go from {labels.min()} to {highest}, but 16 bits hold 0 to 65535; "
                "number them anew"
            )
        self.shape, self.radius = shape, radius
        self.dtype = np.dtype(np.uint8 if highest < 256 else np.uint16)
        self._positions, self._labels = positions[labels > 0], labels[labels > 0]

    @property
    def size(self) -> int:
        """Voxels."""
        return math.prod(self.shape)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys = (*keys[:at], *[slice(None)] * (4 - len(keys)), *keys[at + 1 :])
        keys = (*keys, *[slice(None)] * (3 - len(keys)))
        axes = [
            np.arange(n)[one if isinstance(one, slice) else slice(one % n, one % n + 1)]
            for one, n in zip(keys, self.shape, strict=True)
        ]
        single = tuple(i for i, one in enumerate(keys) if not isinstance(one, slice))
        return self._painted(axes).squeeze(single)

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        # A few sections at a time: distances take four times the memory of labels.
        sections = [self[z : z + _AT_ONCE] for z in range(0, self.shape[0], _AT_ONCE)]
        return np.concatenate(sections).astype(dtype or self.dtype, copy=False)

    def _painted(self, axes: list[npt.NDArray[np.int64]]) -> npt.NDArray[Any]:
        """Labels of the voxels at these rising indices of each axis."""
        volume = np.zeros([len(axis) for axis in axes], dtype=self.dtype)
        nearest = np.full(volume.shape, self.radius**2, dtype=np.float32)
        if not volume.size:
            return volume
        low, high = ([axis[end] for axis in axes] for end in (0, -1))
        reach = self.radius
        near = (self._positions > np.subtract(low, reach)) & (self._positions < np.add(high, reach))
        for row in np.flatnonzero(near.all(1)):
            position = self._positions[row]
            part = tuple(
                slice(*np.searchsorted(axis, (centre - reach, centre + reach)))
                for axis, centre in zip(axes, position, strict=True)
            )
            z, y, x = (
                np.square(axis[some] - centre)
                for axis, some, centre in zip(axes, part, position, strict=True)
            )
            away = z[:, None, None] + y[:, None] + x
            closer = away < nearest[part]
            nearest[part][closer] = away[closer]
            volume[part][closer] = self._labels[row]
        return volume


_AT_ONCE = 16
