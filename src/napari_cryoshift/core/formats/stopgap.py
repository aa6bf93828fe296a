"""Motive lists of STOPGAP: a STAR file with columns of its own.

They count in voxels of the tomogram **from 1**: STOPGAP cuts a box whose centre has the index
``orig_x`` in MATLAB (``extract_parse_subtomo_positions.m``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .angles import from_tom_angles, tom_angles
from .base import (
    Format,
    Head,
    ListContext,
    classes_named,
    named_by,
    numbered_classes,
    numbers_of,
    say_numbers,
)
from .columns import finite, ids, numbers, scores, whole
from .star import class_comments, labels, read_class_names, read_star

_BLOCK = "stopgap_motivelist"
_PLACE = ["orig_x", "orig_y", "orig_z"]
_SHIFT = ["x_shift", "y_shift", "z_shift"]
_ANGLES = ["phi", "the", "psi"]
_KNOWN = [*_PLACE, *_SHIFT, *_ANGLES, "subtomo_num", "tomo_num", "class", "score"]


def read_stopgap(path: Path, context: ListContext) -> Particles:
    """Read a motive list; its shifts are applied.

    Angles that are all 0 mean that there are none, and so do scores that are all 0.

    Raises
    ------
    ValueError
        If the file has no motive list, or a number is not one.
    """
    table = read_star(path).get(_BLOCK)
    if table is None or not set(_PLACE) <= set(table):
        raise ValueError(
            f"{path.name} has no data_{_BLOCK} with orig_x, orig_y and orig_z; choose a motive "
            "list, or another format"
        )
    # Columns that the list leaves out are 0.
    table = table.reindex(columns=table.columns.union(_KNOWN), fill_value=0)
    xyz = finite(table, _PLACE, path) + finite(table, _SHIFT, path) - 1
    angles = finite(table, _ANGLES, path)
    tags, tomograms, classes = finite(table, ["subtomo_num", "tomo_num", "class"], path).T
    return Particles.at(
        (xyz * context.list_scale(path))[:, ::-1],
        id=ids(whole(tags, "subtomo_num", path)),
        score=scores(numbers(table, ["score"], path)[:, 0]),
        predicted=classes_named(classes, read_class_names(path)),
        tomogram=named_by(whole(tomograms, "tomo_num", path), context),
        orientations=from_tom_angles(angles) if angles.any() else None,
    )


def write_stopgap(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write a motive list: whole voxels as ``orig_x``, what is beyond them as ``x_shift``.

    STOPGAP extracts at whole voxels and knows the rest as a shift.

    Raises
    ------
    ValueError
        If there is no particle, or the context numbers its tomograms and not all of these.
    """
    if not len(particles):
        raise ValueError(
            "there are 0 particles, and STOPGAP reads no empty list; choose some first"
        )
    xyz = particles.positions[:, ::-1] / context.list_scale(path) + 1
    voxels = np.rint(xyz)
    tomograms = numbers_of(particles.tomogram, context)
    classes, kinds = numbered_classes(particles)
    angles = np.zeros((len(particles), 3))
    if particles.orientations is not None:
        angles = tom_angles(particles.orientations)
    count = np.arange(len(particles)) + 1
    table = pd.DataFrame(
        {
            "motl_idx": count,
            "tomo_num": pd.Series(particles.tomogram).map(tomograms),
            "object": 1,
            "subtomo_num": particles.id,
            "halfset": np.where(count % 2, "A", "B"),
            **dict(zip(_PLACE, voxels.T.astype(np.int64), strict=True)),
            "score": particles.score if np.isfinite(particles.score).any() else 0.0,
            **dict(zip(_SHIFT, (xyz - voxels).T, strict=True)),
            **dict(zip(["phi", "psi", "the"], angles[:, [0, 2, 1]].T, strict=True)),
            "class": kinds,
        }
    )
    rows = table.to_csv(
        sep=" ", header=False, index=False, float_format="%.10g", na_rep="NaN", lineterminator="\n"
    )
    # Its reader takes labels without numbers, and skips the first row without an empty line.
    header = f"\ndata_{_BLOCK}\n\nloop_\n" + "".join(f"_{label}\n" for label in table)
    write_text(path, f"{class_comments(classes)}{header}\n{rows}")
    said = say_numbers(tomograms)
    if particles.orientations is None:
        said.append("No particle has an orientation: all angles are 0.")
    return said


def _recognises(head: Head) -> bool:
    return f"data_{_BLOCK}" in head.text and _PLACE[0] in labels(head.text)


STOPGAP = Format(
    name="stopgap",
    title="STOPGAP",
    suffix=".star",
    reader=read_stopgap,
    writer=write_stopgap,
    recognises=_recognises,
    holds=frozenset({"id", "class", "score", "orientation", "tomogram"}),
    notes="Voxels of the tomogram, counted from 1. Tomograms are numbered; halves alternate.",
)
