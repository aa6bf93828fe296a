"""Annotations of the CryoET Data Portal: NDJSON, voxels of the tomogram, one object a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
import numpy.typing as npt
from pydantic import FailFast, TypeAdapter
from typing_extensions import TypedDict

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext
from .json import Number, check_rotations, read_json

_KINDS = r'"type"\s*:\s*"(point|orientedPoint|instancePoint)"'
_PORTAL_NAME = re.compile(r"(?:\d+-)?(.+)-\d+(?:\.\d+)*_[a-z]+")
_Row = tuple[Number, Number, Number]


class _Location(TypedDict):
    x: Number
    y: Number
    z: Number


class _Point(TypedDict):
    type: Literal["point", "orientedPoint", "instancePoint"]
    location: _Location
    xyz_rotation_matrix: NotRequired[tuple[_Row, _Row, _Row]]


_POINTS = TypeAdapter(Annotated[list[_Point], FailFast()])


def read_portal(path: Path, context: ListContext) -> Particles:
    """Read points, one a line.

    The file does not name the object; where it has the name that the portal gave it, such as
    ``cytosolic_ribosome-1.0_orientedpoint.ndjson``, the class is "cytosolic ribosome".

    Raises
    ------
    ValueError
        If a line is not as the portal writes it, or an oriented point has no matrix in the order
        x, y, z, as in files from before 2024.
    """
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    points = read_json(b"[" + b",\n".join(lines) + b"]", _POINTS, path)
    matrices = [point.get("xyz_rotation_matrix") for point in points]
    for number, (point, matrix) in enumerate(zip(points, matrices, strict=True), 1):
        if point["type"] == "orientedPoint" and matrix is None:
            raise ValueError(
                f"{path.name}: point {number} is oriented but has no xyz_rotation_matrix; "
                "download the file again, the portal has replaced those"
            )
    orientations = None
    if matrices and None not in matrices:
        orientations = np.array(matrices)
        check_rotations(orientations, path)
    places = [point["location"] for point in points]
    zyx = np.array([(place["z"], place["y"], place["x"]) for place in places]).reshape(-1, 3)
    found = _PORTAL_NAME.fullmatch(path.stem)
    return Particles.at(
        zyx * context.list_scale(path),
        predicted=found[1].replace("_", " ") if found else "",
        orientations=orientations,
    )


def write_portal(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write points, oriented where orientations are known."""
    xyz = particles.positions[:, ::-1] / context.list_scale(path)
    write_text(path, "".join(f"{json.dumps(point)}\n" for point in _points(xyz, particles)))
    return []


def _points(xyz: npt.NDArray[np.float64], particles: Particles) -> Iterator[dict[str, Any]]:
    matrices = particles.orientations
    for number, (x, y, z) in enumerate(xyz.tolist()):
        location = {"x": x, "y": y, "z": z}
        if matrices is None:
            yield {"type": "point", "location": location}
        else:
            turn = matrices[number].tolist()
            yield {"type": "orientedPoint", "location": location, "xyz_rotation_matrix": turn}


def _recognises(head: Head) -> bool:
    first = head.text.lstrip("\ufeff \r\n\t").split("\n", 1)[0]
    return first.startswith("{") and re.search(_KINDS, first) is not None


PORTAL = Format(
    name="portal",
    title="CryoET Data Portal NDJSON",
    suffix=".ndjson",
    reader=read_portal,
    writer=write_portal,
    recognises=_recognises,
    holds=frozenset({"orientation"}),
    notes=(
        "Voxels of the tomogram that was annotated; the file does not tell its voxel size. One "
        "object a file, which does not name it."
    ),
    apart=frozenset({"tomogram", "class"}),
)
