"""Volumes that each have a file of their own: MRC, EM or .npy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.tomograms import SUFFIXES, open_tomogram, read_header

from .arrays import load_npy
from .base import Rows, Stored, check_cube
from .mrc_stack import said_voxel_size


def is_volume(path: Path) -> bool:
    """Tell by its name whether a file may hold a volume; hidden files do not."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((*SUFFIXES, ".npy")) and not name.startswith(".") and path.is_file()


def open_files(name: str, files: Sequence[Path]) -> Stored:
    """Make a set of files: their headers are read now, their values when asked for.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    ValueError
        If there are none, one is damaged, or they differ in size or voxel size.
    """
    if not files:
        raise ValueError(f"{name} holds 0 volumes; choose another set")
    shape, size = _look(files[0])
    check_cube(files[0].name, shape)
    for file in files[1:]:
        other, other_size = _look(file)
        if other != shape:
            sides, others = (" × ".join(map(str, sides)) for sides in (shape, other))
            raise ValueError(
                f"{files[0].name} has {sides} voxels but {file.name} has {others}; "
                "cut all volumes of a set with one box"
            )
        if size and other_size and not math.isclose(size, other_size, rel_tol=1e-3):
            raise ValueError(
                f"{files[0].name} has voxels of {size:.4g} Å but {file.name} of {other_size:.4g} "
                "Å; bring them to one voxel size"
            )

    def read(rows: Rows) -> npt.NDArray[Any]:
        return np.stack([_values(files[row]) for row in rows])

    return Stored(
        name=name,
        read=read,
        count=len(files),
        shape=shape,
        voxel_size=size,
        axes=None if all(map(_is_npy, files)) else "zyx",
        names=[file.name for file in files],
    )


def _look(file: Path) -> tuple[tuple[int, ...], float | None]:
    """Return shape and voxel size, as far as the file says it."""
    if _is_npy(file):
        return load_npy(file).shape, None
    header = read_header(file)
    return header.shape, said_voxel_size(header.voxel_size)


def _values(file: Path) -> npt.NDArray[Any]:
    if _is_npy(file):
        return load_npy(file)
    # The voxel size of the set is known by now: any will do to open the file.
    return np.asarray(open_tomogram(file, voxel_size=1.0).data)


def _is_npy(file: Path) -> bool:
    return file.suffix.lower() == ".npy"
