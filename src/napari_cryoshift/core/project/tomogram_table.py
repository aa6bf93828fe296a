"""The tomograms that a project knows."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from napari_cryoshift.core.types import Tomogram


@dataclass(frozen=True)
class TomogramRecord:
    """What a project remembers of a tomogram.

    Attributes
    ----------
    name
        As in `Particles.tomogram`.
    path
        The file, if it came from one.
    voxel_size
        Å.
    dark
        True if particles are darker than their surroundings.
    shape
        Voxels along z, y, x.
    """

    name: str
    path: Path | None
    voxel_size: float
    dark: bool
    shape: tuple[int, int, int]


def read(connection: sqlite3.Connection) -> tuple[TomogramRecord, ...]:
    """Return the tomograms in the order they came."""
    rows = connection.execute(
        "SELECT name, path, voxel_size, dark, depth, height, width FROM tomogram ORDER BY id"
    )
    return tuple(
        TomogramRecord(
            name=name,
            path=None if path is None else Path(path),
            voxel_size=voxel_size,
            dark=bool(dark),
            shape=(depth, height, width),
        )
        for name, path, voxel_size, dark, depth, height, width in rows
    )


def write(connection: sqlite3.Connection, tomogram: Tomogram) -> None:
    """Insert a tomogram, or update the one of its name.

    Raises
    ------
    ValueError
        If the voxel size is not finite.
    """
    if not math.isfinite(tomogram.voxel_size):
        raise ValueError(
            f"the voxel size of {tomogram.name} is {tomogram.voxel_size}; give it in Å"
        )
    path = None if tomogram.path is None else str(tomogram.path.absolute())
    connection.execute(
        "INSERT INTO tomogram (name, path, voxel_size, dark, depth, height, width) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "path = excluded.path, voxel_size = excluded.voxel_size, dark = excluded.dark, "
        "depth = excluded.depth, height = excluded.height, width = excluded.width",
        # float and bool, as SQLite takes NumPy's scalars for bytes
        (tomogram.name, path, float(tomogram.voxel_size), bool(tomogram.dark), *tomogram.shape),
    )


def row_of(connection: sqlite3.Connection, name: str) -> int:
    """Return the row id of a tomogram.

    Raises
    ------
    ValueError
        If the project does not know it.
    """
    found = connection.execute("SELECT id FROM tomogram WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise ValueError(f"no tomogram {name!r} in this project; open it first")
    return int(found[0])
