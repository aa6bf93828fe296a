"""Boxes of crYOLO, .cbox: a STAR file that keeps the corner of a box instead of its centre.

X and Y are those of the lower left corner, half a width from the centre, also where that is odd; Z
is the slice of the centre (boxmanager's ``io/cbox.py``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext
from .columns import finite, numbers, positive
from .star import labels, read_star, star_text

_PLACE = ["CoordinateX", "CoordinateY", "CoordinateZ"]
_SIDES = ["Width", "Height"]
_BLOCK = "cryolo"
_BOX = 32
"""Voxels along each side where nobody knows how large the particles are."""


def read_cryolo(path: Path, context: ListContext) -> Particles:
    """Read the boxes of a tomogram; their confidence becomes the score.

    Raises
    ------
    ValueError
        If the boxes are of a micrograph or malformed, or a number is not one.
    """
    table = read_star(path).get(_BLOCK)
    if table is None or not {*_PLACE, *_SIDES} <= set(table):
        raise ValueError(
            f"{path.name} has no data_{_BLOCK} with {', '.join((*_PLACE, *_SIDES))}; choose a "
            ".cbox of crYOLO, or another format"
        )
    if len(table) and np.isnan(numbers(table, _PLACE[2:], path)).all():
        raise ValueError(
            f"{path.name} lists boxes in two dimensions, their CoordinateZ is empty; choose the "
            ".cbox of a tomogram"
        )
    xyz = finite(table, _PLACE, path)
    xyz[:, :2] += positive(table, _SIDES, path) / 2
    scores = np.full(len(table), np.nan)
    if "Confidence" in table:
        scores = numbers(table, ["Confidence"], path)[:, 0]
    return Particles.at((xyz * context.list_scale(path))[:, ::-1], score=scores)


def write_cryolo(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write boxes that are as wide as ``context.diameter``.

    Raises
    ------
    ValueError
        If there is a diameter and no voxel size to turn it into voxels.
    """
    side, said = _BOX, []
    if context.diameter is not None:
        voxel_size = context.list_voxel_size or context.need_voxel_size(path, "draws boxes")
        side = max(2, round(context.diameter / voxel_size))
    else:
        said.append(f"The boxes have {side} voxels a side; give a diameter for others.")
    xyz = particles.positions[:, ::-1] / context.list_scale(path)
    table = pd.DataFrame(xyz - [side / 2, side / 2, 0], columns=_PLACE)
    table[["Width", "Height", "Depth", "EstWidth", "EstHeight"]] = float(side)
    table["Confidence"] = particles.score
    table[["NumBoxes", "Angle"]] = np.nan
    slices = pd.DataFrame({"slice_index": np.unique(np.rint(xyz[:, 2]))})
    version = {"cbox_format_version": "1.0"}
    write_text(path, star_text({"global": version, _BLOCK: table, f"{_BLOCK}_include": slices}))
    return said


def _recognises(head: Head) -> bool:
    return f"data_{_BLOCK}" in head.text and {*_PLACE[:2], *_SIDES} <= labels(head.text)


CRYOLO = Format(
    name="cryolo",
    title="crYOLO",
    suffix=".cbox",
    reader=read_cryolo,
    writer=write_cryolo,
    recognises=_recognises,
    holds=frozenset({"score"}),
    notes="Boxes in voxels of the tomogram, one class a file; name the file like the tomogram.",
    apart=frozenset({"tomogram", "class"}),
)
