"""Bare coordinates: three numbers a line (TomoTwin, crYOLO, PyTom), or a class and three.

Positions are 0-based voxels, x y z, without a header; lines that begin with # are comments.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext, classes_named
from .columns import finite, numbers

_COLUMNS = {3: ["x", "y", "z"], 4: ["class", "x", "y", "z"]}
_LINES_TO_LOOK_AT = 20


def read_coords(path: Path, context: ListContext) -> Particles:
    """Read ``x y z`` or, as DeepETPicker writes it, ``class x y z``, told apart by counting.

    Of three columns none is the class, though the name of the file may be: nothing tells.

    Raises
    ------
    ValueError
        If there are fewer or more columns, or a number is not one.
    """
    table = _table(path)
    if table.shape[1] not in _COLUMNS:
        raise ValueError(
            f"{path.name} has {table.shape[1]} columns; a list of coordinates has x y z, or class "
            "x y z"
        )
    table.columns = pd.Index(_COLUMNS[table.shape[1]])
    xyz = finite(table, ["x", "y", "z"], path) * context.list_scale(path)
    if "class" not in table:
        return Particles.at(xyz[:, ::-1])
    classes = numbers(table, ["class"], path)[:, 0]
    return Particles.at(xyz[:, ::-1], predicted=classes_named(classes, {}))


def write_coords(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write ``x y z``.

    Raises
    ------
    ValueError
        If there is no particle.
    """
    if not len(particles):
        raise ValueError("there are 0 particles, and an empty file is no list; pick some first")
    xyz = pd.DataFrame(particles.positions[:, ::-1] / context.list_scale(path))
    write_text(path, xyz.to_csv(sep=" ", header=False, index=False, lineterminator="\n"))
    return []


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, sep=r"\s+", header=None, comment="#", encoding="utf-8-sig")
    except ValueError as error:
        raise ValueError(
            f"{path.name} is no list of coordinates ({str(error).strip()}); check that each line "
            "has the same count of numbers"
        ) from error


def _recognises(head: Head) -> bool:
    text = head.text.removeprefix("\ufeff")
    # Whole lines only: the head may end within one.
    lines = text[: text.rfind("\n") + 1].splitlines() or [text]
    cells = [row for line in lines if (row := line.split("#", 1)[0].split())]
    rows = cells[:_LINES_TO_LOOK_AT]
    try:
        values = np.array(rows, dtype=float)
    except ValueError:
        return False
    if values.ndim != 2 or values.shape[1] not in _COLUMNS:
        return False
    return values.shape[1] == 3 or bool((values[:, 0] == np.round(values[:, 0])).all())


COORDS = Format(
    name="coords",
    title="TomoTwin .coords",
    suffix=".coords",
    reader=read_coords,
    writer=write_coords,
    recognises=_recognises,
    holds=frozenset(),
    notes=(
        "0-based voxels x y z, one class of one tomogram a file; crYOLO reads it too. TomoTwin "
        "counts in voxels of the tomogram that it embedded, which is often rescaled."
    ),
    apart=frozenset({"tomogram", "class"}),
)
