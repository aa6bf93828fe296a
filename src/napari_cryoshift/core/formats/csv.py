"""Comma-separated particle lists: ours, and any table with x, y and z."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .angles import from_relion_angles, relion_angles
from .base import Format, Head, ListContext, spoken_class
from .columns import finite, numbers, whole

_VOXEL_COLUMNS = (("x", "y", "z"), ("x_voxel", "y_voxel", "z_voxel"))
_ANGSTROM_COLUMNS = (("x_a", "y_a", "z_a"), ("x_angstrom", "y_angstrom", "z_angstrom"))
_CLASS_COLUMNS = ("class", "label", "class_name")
_TOMOGRAM_COLUMNS = ("tomogram", "tomo_name")
_ANGLES = ["rot", "tilt", "psi"]
_SEPARATORS = ",;\t"


def read_csv(path: Path, context: ListContext) -> Particles:
    """Read a table with a header row.

    It needs ``x,y,z`` (0-based voxels) or ``x_A,y_A,z_A`` (Å from the centre of the first voxel);
    ``class`` or ``label``, ``id``, ``confidence``, ``score``, ``p_<class>`` and RELION's angles
    ``rot,tilt,psi`` are optional.

    Raises
    ------
    ValueError
        If positions are missing, a number is not one, or an id appears twice.
    """
    table = _table(path)
    column = {_plain(name): name for name in table.columns}
    chances = [name for name in table.columns if name.startswith("p_")]
    return Particles.at(
        _positions(table, column, path, context)[:, ::-1],
        id=_ids(table, column["id"], path) if "id" in column else np.arange(len(table)),
        predicted=_texts(table, column, _CLASS_COLUMNS),
        confidence=_figures(table, column, "confidence", path),
        score=_figures(table, column, "score", path),
        tomogram=_texts(table, column, _TOMOGRAM_COLUMNS),
        probabilities=numbers(table, chances, path) if chances else None,
        classes=tuple(name[2:] for name in chances),
        orientations=_orientations(table, column, path),
    )


def write_csv(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write ``id,x,y,z,class,confidence,score`` and one column ``p_<class>`` a class.

    Between these, ``tomogram`` tells those of several tomograms apart, and ``rot,tilt,psi`` are
    RELION's angles where orientations are known.

    Positions are 0-based voxels, written so that reading gives back the same numbers. The class is
    what a person said, else what was predicted; the confidence is that of the prediction, and
    empty where a person said otherwise.
    """
    names = spoken_class(particles)
    table = pd.DataFrame(
        {
            "id": particles.id,
            "x": particles.positions[:, 2],
            "y": particles.positions[:, 1],
            "z": particles.positions[:, 0],
            "class": names,
            "confidence": np.where(names == particles.predicted, particles.confidence, np.nan),
            "score": particles.score,
        }
    )
    if len(set(particles.tomogram)) > 1:
        table["tomogram"] = particles.tomogram
    if particles.orientations is not None:
        table[_ANGLES] = relion_angles(particles.orientations)
    if particles.probabilities is not None:
        for name, column in zip(particles.classes, particles.probabilities.T, strict=True):
            table[f"p_{name}"] = column
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return []


def _table(path: Path) -> pd.DataFrame:
    """Read all cells as text: pandas would turn the class "001" into 1, and "NA" into nothing."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = _separator(file.readline())
            file.seek(0)
            cells = csv.reader(file, delimiter=separator)
            rows = [[cell.strip() for cell in row] for row in cells if any(row)]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no UTF-8 text ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path.name} is no regular table ({error}); save it again") from error
    header, body = rows[0] if rows else [], rows[1:]
    if len({_plain(name) for name in header}) < len(header):
        raise ValueError(f"{path.name} names a column twice in {header}; rename or remove one")
    for number, row in enumerate(body, 1):
        if len(row) != len(header):
            raise ValueError(
                f"{path.name}: row {number} has {len(row)} cells, the header {len(header)}; "
                "correct that row"
            )
    return pd.DataFrame(body, columns=header, dtype=object)


def _separator(header: str) -> str:
    """Return what stands between the columns: it splits most off, x, y and z among them."""
    # The name of a class, and so of a column, may be full of another one.
    return max(_SEPARATORS, key=lambda mark: (_has_positions(header, mark), header.count(mark)))


def _has_positions(header: str, separator: str) -> bool:
    cells = {_plain(cell.strip().strip('"')) for cell in header.split(separator)}
    return any(set(names) <= cells for names in (*_VOXEL_COLUMNS, *_ANGSTROM_COLUMNS))


def _plain(name: str) -> str:
    """Return the name of a column, in which case matters to the classes alone."""
    return name if name.startswith("p_") else name.lower()


def _positions(
    table: pd.DataFrame, column: dict[str, str], path: Path, context: ListContext
) -> npt.NDArray[np.float64]:
    for names in _VOXEL_COLUMNS:
        if set(names) <= set(column):
            xyz = finite(table, [column[name] for name in names], path)
            return xyz * context.list_scale(path)
    for names in _ANGSTROM_COLUMNS:
        if set(names) <= set(column):
            xyz = finite(table, [column[name] for name in names], path)
            return xyz / context.need_voxel_size(path, "gives positions in Å")
    raise ValueError(
        f"{path.name} has the columns {', '.join(table.columns)}; a list needs x, y and z "
        "(0-based voxels) or x_A, y_A and z_A (Å)"
    )


def _texts(
    table: pd.DataFrame, column: dict[str, str], choices: tuple[str, ...]
) -> npt.NDArray[np.object_]:
    for choice in choices:
        if choice in column:
            return table[column[choice]].to_numpy(dtype=object)
    return np.full(len(table), "", dtype=object)


def _figures(
    table: pd.DataFrame, column: dict[str, str], name: str, path: Path
) -> npt.NDArray[np.float64]:
    if name in column:
        return numbers(table, [column[name]], path)[:, 0]
    return np.full(len(table), np.nan)


def _orientations(
    table: pd.DataFrame, column: dict[str, str], path: Path
) -> npt.NDArray[np.float64] | None:
    if not set(_ANGLES) <= set(column):
        return None
    return from_relion_angles(finite(table, [column[name] for name in _ANGLES], path))


def _ids(table: pd.DataFrame, column: str, path: Path) -> npt.NDArray[np.int64]:
    ids = whole(finite(table, [column], path)[:, 0], "id", path)
    unique, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"{path.name} has the id {unique[counts > 1][0]} {counts.max()} times; "
            "give each particle its own, or leave the column out"
        )
    return ids


def _recognises(head: Head) -> bool:
    first = head.text.lstrip("\ufeff").split("\n", 1)[0].strip()
    return any(_has_positions(first, separator) for separator in _SEPARATORS)


CSV = Format(
    name="csv",
    title="CSV",
    suffix=".csv",
    reader=read_csv,
    writer=write_csv,
    recognises=_recognises,
    holds=frozenset(
        {"id", "class", "confidence", "score", "probabilities", "orientation", "tomogram"}
    ),
    notes=(
        "Opens in any spreadsheet; x, y and z are 0-based voxels of the tomogram, rot, tilt and "
        "psi RELION's angles."
    ),
)
