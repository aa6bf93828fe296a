"""Object lists of DeepFinder: XML, positions in voxels of the tomogram, classes by number."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
)
from .columns import finite, ids, numbers, whole
from .xml import read_elements

_POSITION = ["x", "y", "z"]
_ANGLES = ["phi", "the", "psi"]
_COLUMNS = (*_POSITION, *_ANGLES, "tomo_idx", "obj_id", "class_label", "cluster_size")
_CLASS_LINE = re.compile(r'<!-- class (\d+) = (".*") -->')


def read_deepfinder(path: Path, context: ListContext) -> Particles:
    """Read an ``objlist``.

    Classes get the names that we wrote with them, else "class 1", "class 2", …; 0 is background,
    so no class. The size of a cluster is the score.

    Raises
    ------
    ValueError
        If a position or class is missing, a number is not one, or the file is not safe to read.
    """
    table = read_elements(path, "objlist", "object", _COLUMNS)
    angles = numbers(table, _ANGLES, path)
    oriented = len(table) > 0 and bool(np.isfinite(angles).all())
    classes = _whole(table, "class_label", path)
    tomograms = np.full(len(table), "", dtype=object)
    if table["tomo_idx"].notna().any():
        # DeepFinder counts its list of tomograms from 0, where there is a list.
        first = 1 if context.tomograms else 0
        tomograms = named_by(_whole(table, "tomo_idx", path) + first, context)
    return Particles.at(
        finite(table, _POSITION, path)[:, ::-1] * context.list_scale(path),
        id=_ids(table, path),
        predicted=classes_named(classes, _class_names(path)),
        score=numbers(table, ["cluster_size"], path)[:, 0],
        tomogram=tomograms,
        orientations=from_tom_angles(angles) if oriented else None,
    )


def write_deepfinder(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write an ``objlist``, and the names of the classes in comments before it.

    Scores become sizes of clusters where all of them are whole numbers, as those have to be.

    Raises
    ------
    ValueError
        If the context numbers its tomograms and lacks one of these.
    """
    first = 1 if context.tomograms else 0
    tomogram = {name: k - first for name, k in numbers_of(particles.tomogram, context).items()}
    classes, kinds = numbered_classes(particles)
    sizes, said = _cluster_sizes(particles)
    said += _say("tomo_idx", {k: name for name, k in tomogram.items() if name})
    named = {k: name for k, name in classes.items() if name != f"class {k}"}
    said += _say("class_label", named)
    if not kinds.all():
        said.append("Particles without a class have class_label 0, which is the background.")
    xyz = particles.positions[:, ::-1] / context.list_scale(path)
    turns = [""] * len(particles)
    if particles.orientations is not None:
        turns = [
            f' psi="{psi!r}" phi="{phi!r}" the="{the!r}"'
            for phi, the, psi in tom_angles(particles.orientations).tolist()
        ]
    columns = (particles.tomogram, particles.id, kinds, xyz)
    rows = zip(*(column.tolist() for column in columns), turns, sizes, strict=True)
    text = "".join(
        f'  <object tomo_idx="{tomogram[name]}" obj_id="{number}" class_label="{kind}"'
        f' x="{x!r}" y="{y!r}" z="{z!r}"{turn}{size}/>\n'
        for name, number, kind, (x, y, z), turn, size in rows
    )
    comments = "".join(
        # No two hyphens may meet within a comment.
        f"<!-- class {k} = {json.dumps(name).replace('-', chr(92) + 'u002d')} -->\n"
        for k, name in named.items()
    )
    write_text(path, f"{comments}<objlist>\n{text}</objlist>\n")
    return said


def _cluster_sizes(particles: Particles) -> tuple[list[str], list[str]]:
    """Return attributes of sizes, or none of them and a sentence why not."""
    scores = particles.score
    there = np.isfinite(scores)
    if (scores[there] != np.round(scores[there])).any():
        said = "DeepFinder's cluster_size takes whole numbers alone, so scores were left out."
        return [""] * len(scores), [said]
    return [
        f' cluster_size="{score:.0f}"' if known else ""
        for score, known in zip(scores.tolist(), there, strict=True)
    ], []


def _say(attribute: str, named: dict[int, str]) -> list[str]:
    pairs = [f"{number} is {name!r}" for number, name in sorted(named.items())]
    return [f"DeepFinder knows {attribute} by number: {', '.join(pairs)}."] if pairs else []


def _class_names(path: Path) -> dict[int, str]:
    """Return the class names that were kept in comments before the list: number → name."""
    names = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if "<objlist" in line:
                break
            if found := _CLASS_LINE.fullmatch(line.strip()):
                try:
                    names[int(found[1])] = json.loads(found[2])
                except ValueError as error:
                    raise ValueError(
                        f"{path.name} has the damaged line {line.strip()!r}; correct or remove it"
                    ) from error
    return names


def _whole(table: pd.DataFrame, column: str, path: Path) -> npt.NDArray[np.int64]:
    return whole(finite(table, [column], path)[:, 0], column, path)


def _ids(table: pd.DataFrame, path: Path) -> npt.NDArray[np.int64]:
    """Return the ids of the objects if each has its own, else count."""
    if len(table) and table["obj_id"].notna().all():
        return ids(_whole(table, "obj_id", path))
    return np.arange(len(table), dtype=np.int64)


def _recognises(head: Head) -> bool:
    return "<objlist" in head.text


DEEPFINDER = Format(
    name="deepfinder",
    title="DeepFinder XML",
    suffix=".xml",
    reader=read_deepfinder,
    writer=write_deepfinder,
    recognises=_recognises,
    holds=frozenset({"id", "class", "score", "orientation", "tomogram"}),
    notes=(
        "Voxels of the tomogram. Classes and tomograms are numbers: DeepFinder takes tomo_idx for "
        "the place of the tomogram in its list of files, counted from 0."
    ),
)
