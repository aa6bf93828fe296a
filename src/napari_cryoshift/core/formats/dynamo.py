"""Dynamo's tables: Castaño-Díez et al., J. Struct. Biol. 178 (2012), 139.

Positions are voxels of the tomogram. Dynamo indexes as MATLAB does, from 1, but every converter
between it and other programs takes the numbers as they are, and so does this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.files import replacing, write_text
from napari_cryoshift.core.types import Particles

from .angles import from_tom_angles, tom_angles
from .base import Format, Head, ListContext, classes_named, named_by, numbers_of
from .columns import finite, ids, numbers, scores, whole
from .numbered import describe

_POSITION = ["x", "y", "z"]
_SHIFT = ["dx", "dy", "dz"]
_ANGLES = ["tdrot", "tilt", "narot"]
_COLUMNS_AT_LEAST = 26
_CROPPED_MAP = "indices_column20.doc"
"""What Dynamo calls the map of tomograms in a folder of particles that it cropped."""


def read_dynamo(path: Path, context: ListContext) -> Particles:
    """Read a table of 26 to 42 columns; shifts are applied, class 0 and score 0 mean none.

    Unless the context names them, tomograms get their names from the map beside the table
    (``<stem>.doc`` or ``indices_column20.doc``) or the volume list (``<stem>.vll``).

    Raises
    ------
    ValueError
        If it has too few columns, a number is not one, or the map is damaged.
    """
    table = _table(path)
    xyz = finite(table, _POSITION, path) + finite(table, _SHIFT, path)
    angles = finite(table, _ANGLES, path)
    tags, tomograms, classes, found = numbers(table, ["tag", "tomo", "class", "cc"], path).T
    return Particles.at(
        xyz[:, ::-1] * context.list_scale(path),
        id=ids(whole(tags, "tag", path)),
        predicted=classes_named(classes, {}),
        score=scores(found),
        tomogram=_names(whole(tomograms, "tomogram", path), path, context),
        orientations=from_tom_angles(angles).transpose(0, 2, 1) if angles.any() else None,
    )


def write_dynamo(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write a table, and ``<stem>.doc`` and ``<stem>.vll`` if tomograms have names.

    Raises
    ------
    ValueError
        If the name does not end in ``.tbl``, or that of a tomogram cannot stand in a line.
    """
    import dynamotable

    if path.suffix != ".tbl":
        raise ValueError(
            f"Dynamo takes tables whose name ends in .tbl, not {path.name}; call it {path.stem}.tbl"
        )
    tomograms = numbers_of(particles.tomogram, context)
    volumes = _volumes(tomograms)
    described, said = describe(particles, tomograms)
    table = described.rename(columns={"tomogram": "tomo", "score": "cc"})
    table[_POSITION] = particles.positions[:, ::-1] / context.list_scale(path)
    if particles.orientations is not None:
        table[_ANGLES] = tom_angles(particles.orientations.transpose(0, 2, 1))
    table["averaged_value"] = 1
    table["apix"] = context.list_voxel_size or context.voxel_size or 0
    with replacing(path) as scratch:
        dynamotable.write(table, scratch)
    if volumes:
        said.append(_write_volumes(path, volumes))
    return said


def _table(path: Path) -> pd.DataFrame:
    import dynamotable

    try:
        table: pd.DataFrame = dynamotable.read(path)
    except ValueError as error:
        raise ValueError(
            f"{path.name} is no Dynamo table ({str(error).strip()}); check that each row has one "
            "number a column"
        ) from error
    if table.shape[1] < _COLUMNS_AT_LEAST:
        raise ValueError(
            f"{path.name} has {table.shape[1]} columns; a Dynamo table with positions has at least "
            f"{_COLUMNS_AT_LEAST}"
        )
    return table


def _volumes(tomograms: Mapping[str, int]) -> dict[int, str]:
    """Return the tomograms that have a name other than their number, by number."""
    for name in tomograms:
        if name != name.strip() or len(name.splitlines()) > 1:
            raise ValueError(
                f"a Dynamo list of volumes cannot hold the tomogram name {name!r}; choose one "
                "without line breaks and spaces around it"
            )
    return {number: name for name, number in tomograms.items() if name not in ("", str(number))}


def _write_volumes(path: Path, volumes: dict[int, str]) -> str:
    index, listing = path.with_suffix(".doc"), path.with_suffix(".vll")
    write_text(index, "".join(f"{number} {name}\n" for number, name in volumes.items()))
    write_text(
        listing, "".join(f"{name}\n* index = {number}\n" for number, name in volumes.items())
    )
    return (
        f"{index.name} and {listing.name} say which number is which tomogram; before cropping, put "
        "the path of its volume in place of each name."
    )


def _names(
    tomograms: npt.NDArray[np.int64], path: Path, context: ListContext
) -> npt.NDArray[np.object_]:
    kinds, rows = np.unique(tomograms, return_inverse=True)
    names = named_by(kinds, context)
    if not context.tomograms:
        known = _volumes_beside(path)
        for k, number in enumerate(kinds):
            names[k] = known.get(number, names[k])
    return names[rows]


def _volumes_beside(path: Path) -> dict[int, str]:
    for index in (path.with_suffix(".doc"), path.with_name(_CROPPED_MAP)):
        if index.is_file():
            return _read_index(index)
    listing = path.with_suffix(".vll")
    return _read_listing(listing) if listing.is_file() else {}


def _read_index(path: Path) -> dict[int, str]:
    """Read a map of tomograms: a number and a path a line."""
    volumes = {}
    for line in _lines(path):
        found = re.fullmatch(r"(\d+)\s+(.+)", line)
        if not found:
            raise ValueError(
                f"{path.name} beside the table has the line {line[:40]!r} instead of a number and "
                "a tomogram; correct or move that file"
            )
        volumes[int(found[1])] = found[2]
    return volumes


def _read_listing(path: Path) -> dict[int, str]:
    """Read a list of volumes, a path a line; ``* index = 7`` below one gives it that number."""
    volumes: list[tuple[int, str]] = []
    for line in _lines(path):
        found = re.fullmatch(r"\*\s*index\s*=\s*(\d+)", line)
        if found and volumes:
            volumes[-1] = int(found[1]), volumes[-1][1]
        elif line[0] not in "#*>!":
            volumes.append((len(volumes) + 1, line))
    return dict(volumes)


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _recognises(head: Head) -> bool:
    cells = head.text.split("\n", 1)[0].split()[:_COLUMNS_AT_LEAST]
    return len(cells) == _COLUMNS_AT_LEAST and all(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    return bool(re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|nan|inf", cell, re.IGNORECASE))


DYNAMO = Format(
    name="dynamo",
    title="Dynamo",
    suffix=".tbl",
    reader=read_dynamo,
    writer=write_dynamo,
    recognises=_recognises,
    holds=frozenset({"id", "class", "score", "orientation", "tomogram"}),
    notes=(
        "Voxels of the tomogram, for dtcrop. The table says nothing about the missing wedge: set "
        "ftype and the tilt range (columns 13 to 17) in Dynamo. Classes are numbers."
    ),
)
