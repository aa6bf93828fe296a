"""Stacks of volumes as MRC files: space group 401, `mz` sections a volume, as MRC2014 has it.

The header is that of Cheng et al., J. Struct. Biol. 192 (2015), 146.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import dtype_from_mode, spacegroup_is_volume_stack

from napari_cryoshift.core.types import Subtomograms

_HEADER_BYTES = 1024
_MODES = (0, 1, 2, 6, 12)
_LARGEST_SIDE = 2**20
"""Voxels; a header that promises more was read in the wrong byte order, or is none."""
_BATCH = 64


def open_stack(path: Path) -> tuple[npt.NDArray[Any], float | None]:
    """Open a stack of cubes, or one volume, memory-mapped.

    Where the header does not tell a stack of volumes from one of images, as many programs leave
    it, each volume is taken to be as deep as it is wide.

    Returns
    -------
    volumes
        (n, z, y, x).
    voxel_size
        Å; None if the header does not say, or has the place-holder 1.

    Raises
    ------
    ValueError
        If it is no MRC file, is cut short, or holds images.
    """
    header, order = _header(path)
    dtype = dtype_from_mode(header["mode"]).newbyteorder(order)
    width, height, sections = (int(header[side]) for side in ("nx", "ny", "nz"))
    depth = int(header["mz"]) if spacegroup_is_volume_stack(header["ispg"]) else width
    if depth < 1 or sections % depth:
        raise ValueError(
            f"{path.name} is a stack of {sections} images of {width} × {height} pixels, not of "
            "volumes; extract three-dimensional subtomograms"
        )
    shape = sections // depth, depth, height, width
    offset = _HEADER_BYTES + int(header["nsymbt"])
    promised = offset + math.prod(shape) * dtype.itemsize
    there = path.stat().st_size
    if there < promised:
        raise ValueError(
            f"{path.name} is cut short: the file has {there} bytes, its header promises "
            f"{promised}; copy it again"
        )
    volumes = np.memmap(path, dtype, mode="r", offset=offset, shape=shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return volumes, said_voxel_size(header["cella"]["x"] / header["mx"])


def _header(path: Path) -> tuple[Any, str]:
    """Return the header as a record, in the byte order that makes sense of it, and that order."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if len(head) == _HEADER_BYTES:
        for order in "<>":
            header = np.frombuffer(head, HEADER_DTYPE.newbyteorder(order), count=1)[0]
            sides = [int(header[side]) for side in ("nx", "ny", "nz")]
            likely = min(sides) > 0 and max(sides[:2]) < _LARGEST_SIDE and header["nsymbt"] >= 0
            if likely and int(header["mode"]) in _MODES:
                return header, order
    raise ValueError(
        f"{path.name} is no MRC stack: its first {_HEADER_BYTES} bytes hold no sensible size and "
        "mode; choose another file"
    )


def said_voxel_size(size: float) -> float | None:
    """Return what a header says in Å; None for 0 and for 1, which many programs write unasked."""
    return float(size) if np.isfinite(size) and size > 0 and size != 1 else None


def write_stack(path: Path, subtomograms: Subtomograms) -> Iterator[int]:
    """Write a stack as the volumes come; yield how many are written.

    The file grows by plain writes: a full disk is an error here, where one that is mapped would
    end the program.
    """
    count, box = len(subtomograms), subtomograms.box
    with mrcfile.new(path) as file:
        file.set_data(np.zeros((1, box, box, box), dtype=np.float32))
        file.voxel_size = subtomograms.voxel_size
        header = file.header.copy()
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    with path.open("wb") as stack:
        stack.write(header.tobytes())
        for start in range(0, count, _BATCH):
            volumes = subtomograms[start : start + _BATCH].numpy()
            stack.write(volumes.tobytes())
            low, high = min(low, volumes.min()), max(high, volumes.max())
            total += volumes.sum(dtype=np.float64)
            squares += np.square(volumes, dtype=np.float64).sum()
            yield start + len(volumes)
        mean = total / (count * box**3)
        header.nz = count * box
        header.dmin, header.dmax, header.dmean = low, high, mean
        header.rms = np.sqrt(max(squares / (count * box**3) - mean**2, 0))
        stack.seek(0)
        stack.write(header.tobytes())
