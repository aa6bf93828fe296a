"""Label volumes: which particle, or class, a voxel of a tomogram belongs to."""

from __future__ import annotations

import math
from pathlib import Path

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


def painted(
    boxes: npt.NDArray[np.int16],
    positions: npt.NDArray[np.float64],
    *,
    shape: tuple[int, int, int],
    step: float,
) -> npt.NDArray[np.int16]:
    """Paint the labels of small boxes into a volume, where their particles are.

    Parameters
    ----------
    boxes
        (n, d, d, d) labels; 0 is nothing. Where two boxes overlap, the earlier one stays on top.
    positions
        (n, 3) zyx voxels of the volume, on which the centres d // 2 of the boxes come to lie.
    shape
        Of the volume.
    step
        Size of a voxel of the boxes in voxels of the volume.

    Returns
    -------
    ndarray
        (z, y, x); each voxel takes the label of the nearest one of a box.
    """
    volume = np.zeros(shape, dtype=np.int16)
    side = boxes.shape[-1]
    for box, position in zip(boxes, positions, strict=True):
        seen, read = [], []
        for centre, length in zip(position, shape, strict=True):
            first = math.ceil(centre - (side // 2 + 0.5) * step)
            last = math.floor(centre + (side - side // 2 - 0.5) * step)
            voxels = np.arange(max(first, 0), min(last, length - 1) + 1)
            nearest = np.rint((voxels - centre) / step).astype(np.int64) + side // 2
            seen.append(voxels)
            read.append(nearest.clip(0, side - 1))
        there = volume[np.ix_(*seen)]
        volume[np.ix_(*seen)] = np.where(there == 0, box[np.ix_(*read)], there)
    return volume
