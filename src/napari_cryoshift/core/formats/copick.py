"""Picks of copick: JSON, Å from the centre of the first voxel, one object of one run a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, NotRequired

import numpy as np
from pydantic import FailFast, TypeAdapter
from typing_extensions import TypedDict

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext, spoken_class
from .json import Number, check_rotations, read_json

_Row = tuple[Number, Number, Number, Number]
_IDENTITY = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
_UNFIT = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\s_]')


class _Location(TypedDict):
    x: Number
    y: Number
    z: Number


class _Point(TypedDict):
    location: _Location
    transformation_: NotRequired[tuple[_Row, _Row, _Row, _Row] | None]
    score: NotRequired[Number | None]


class _Picks(TypedDict):
    pickable_object_name: str
    class_name: NotRequired[str]
    run_name: NotRequired[str | None]
    voxel_spacing: NotRequired[Number | None]
    unit: NotRequired[str]
    points: NotRequired[Annotated[list[_Point], FailFast()]]
    trust_orientation: NotRequired[bool | None]


_PICKS = TypeAdapter(_Picks)


def read_copick(path: Path, context: ListContext) -> Particles:
    """Read a file of picks.

    A particle is at its location plus the translation of its transformation, as copick has it; a
    translation that repeats the location, as some programs write it, is none. Where all
    transformations are the identity, or are not to be trusted, there are no orientations.

    Raises
    ------
    ValueError
        If the file is not as copick writes it, or neither it nor the context tells a voxel size.
    """
    picks = read_json(path.read_bytes(), _PICKS, path)
    if (unit := picks.get("unit", "angstrom")) != "angstrom":
        raise ValueError(
            f"{path.name} counts in {unit!r}; only lists in angstrom, copick's own unit, are read"
        )
    voxel_size = context.voxel_size or picks.get("voxel_spacing") or 0.0
    if voxel_size <= 0:
        voxel_size = context.need_voxel_size(path, "gives positions in Å")
    points = picks.get("points", [])
    places = [point["location"] for point in points]
    xyz = np.array([(place["x"], place["y"], place["z"]) for place in places]).reshape(-1, 3)
    matrices = np.array([point.get("transformation_") or _IDENTITY for point in points])
    matrices = matrices.reshape(-1, 4, 4)
    shifts, turns = matrices[:, :3, 3], matrices[:, :3, :3]
    repeated = np.isclose(shifts, xyz, rtol=1e-6, atol=1e-3).all(axis=1)
    xyz = xyz + np.where(repeated[:, None], 0.0, shifts)
    oriented = picks.get("trust_orientation", True) and (turns != np.eye(3)).any()
    if oriented:
        check_rotations(turns, path)
    scores = [point.get("score") for point in points]
    return Particles.at(
        xyz[:, ::-1] / voxel_size,
        predicted=picks.get("class_name", picks["pickable_object_name"]),
        score=[np.nan if score is None else score for score in scores],
        tomogram=picks.get("run_name") or "",
        orientations=turns if oriented else None,
    )


def write_copick(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write picks as those of user "cryoshift" in session "0".

    copick's names of objects have no spaces, underscores and the like: they become hyphens, and
    the name as it was stands beside, under "class_name", which copick passes over.

    Raises
    ------
    ValueError
        If the voxel size is unknown.
    """
    voxel_size = context.need_voxel_size(path, "gives positions in Å")
    name = next(iter(spoken_class(particles)), "")
    fit = _UNFIT.sub("-", name).strip("-") or "unnamed"
    head = {
        "pickable_object_name": fit,
        "class_name": name,
        "user_id": "cryoshift",
        "session_id": "0",
        "run_name": next(iter(particles.tomogram), context.tomogram),
        "voxel_spacing": voxel_size,
        "unit": "angstrom",
        "trust_orientation": particles.orientations is not None,
    }
    text = ",\n".join(_points(particles, voxel_size))
    write_text(path, f'{json.dumps(head)[:-1]}, "points": [\n{text}\n]}}\n')
    if name in ("", fit):
        return []
    return [f"copick allows no object called {name!r}: it is {fit!r} there."]


def _points(particles: Particles, voxel_size: float) -> list[str]:
    matrices = np.tile(np.array(_IDENTITY), (len(particles), 1, 1))
    if particles.orientations is not None:
        matrices[:, :3, :3] = particles.orientations
    xyz = (particles.positions[:, ::-1] * voxel_size).tolist()
    scores = [score if np.isfinite(score) else None for score in particles.score.tolist()]
    return [
        json.dumps(
            {
                "location": {"x": x, "y": y, "z": z},
                "transformation_": matrix.tolist(),
                "instance_id": 0,
                "score": score,
            }
        )
        for (x, y, z), matrix, score in zip(xyz, matrices, scores, strict=True)
    ]


def _recognises(head: Head) -> bool:
    return '"pickable_object_name"' in head.text


COPICK = Format(
    name="copick",
    title="copick JSON",
    suffix=".json",
    reader=read_copick,
    writer=write_copick,
    recognises=_recognises,
    holds=frozenset({"class", "score", "orientation", "tomogram"}),
    notes=(
        "Å from the centre of the first voxel; one object of one run a file. copick finds it as "
        "Picks/cryoshift_0_<object>.json in the folder of the run."
    ),
    apart=frozenset({"tomogram", "class"}),
)
