"""Boxes in EMAN2's info files: JSON, a file a tomogram that also keeps other things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, FailFast, TypeAdapter
from typing_extensions import TypedDict

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext, spoken_class
from .json import Number, read_json

_BOX = 64
"""The side that EMAN2's boxer gives to a class that has none, in pixels of the file."""

_MANUAL = "manual"
_REST_OF_A_BOX = [_MANUAL, 0.0, 0]


def _complete(box: Any) -> Any:
    """Add what older boxes lack: who picked it, score and class; drop what newer ones add."""
    old = isinstance(box, list) and len(box) >= 3
    return (box + _REST_OF_A_BOX[len(box) - 3 :])[:6] if old else box


_Box = Annotated[tuple[Number, Number, Number, str, float | None, int], BeforeValidator(_complete)]


class _Class(TypedDict):
    name: str


class _Info(TypedDict):
    boxes_3d: NotRequired[Annotated[list[_Box], FailFast()]]
    class_list: NotRequired[dict[int, _Class]]
    apix_unbin: NotRequired[Number]


_INFO = TypeAdapter(_Info)


def read_eman2(path: Path, context: ListContext) -> Particles:
    """Read the boxes of an info file.

    They count unbinned pixels from the centre of the tomogram (size // 2) where the file tells the
    unbinned pixel size, else voxels from the first one. A lone class of the name that EMAN2 gives
    by itself ("particles_00") is none, and so is the score 0 of what was picked by hand.

    Raises
    ------
    ValueError
        If the file is not as EMAN2 writes it, has no boxes, or has centred ones and the voxel size
        or shape of the tomogram is unknown.
    """
    info = read_json(path.read_bytes(), _INFO, path)
    if "boxes_3d" not in info:
        raise ValueError(
            f"{path.name} has no boxes_3d; pick particles in EMAN2's 3D boxer, or choose the info "
            "file of another tomogram"
        )
    boxes = info["boxes_3d"]
    xyz = np.array([box[:3] for box in boxes], dtype=np.float64).reshape(-1, 3)
    scale, centre = _frame(info.get("apix_unbin"), context, path)
    known = {number: entry["name"] for number, entry in info.get("class_list", {}).items()}
    names = {k: known.get(k, _default_name(k)) for k in {box[5] for box in boxes}}
    defaults = [k for k, name in names.items() if name == _default_name(k)]
    if len(defaults) == 1:
        names[defaults[0]] = ""
    scores = [
        np.nan if box[4] is None or (box[3] == _MANUAL and box[4] == 0) else box[4] for box in boxes
    ]
    return Particles.at(
        (xyz * scale + centre)[:, ::-1],
        predicted=[names[box[5]] for box in boxes],
        score=scores,
    )


def write_eman2(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write the boxes into the info file of a tomogram; what else is in there stays.

    A file that is new gets the unbinned pixel size too (voxel size / binning).

    Raises
    ------
    ValueError
        If the voxel size or shape of the tomogram is unknown, or a file of that name is there and
        is no info file.
    """
    info, fresh = _filled(path, particles, context)
    write_text(path, json.dumps(info))
    return [f"Boxes of new classes have a side of {_BOX} pixels; set it in EMAN2."] if fresh else []


def _filled(file: Path, particles: Particles, context: ListContext) -> tuple[dict[str, Any], bool]:
    """Return the info with boxes in it, and whether classes were added."""
    if file.exists():
        text = file.read_bytes()
        read_json(text, _INFO, file)
        info: dict[str, Any] = json.loads(text.decode("utf-8-sig"))
    else:
        why = "counts in unbinned pixels"
        info = {"apix_unbin": context.need_voxel_size(file, why) / context.binning}
    scale, centre = _frame(info.get("apix_unbin"), context, file)
    xyz = ((particles.positions[:, ::-1] - centre) / scale).tolist()
    classes = info.setdefault("class_list", {})
    before = len(classes)
    spoken = spoken_class(particles)
    number = {name: _class_number(name, classes) for name in sorted(set(spoken))}
    info["boxes_3d"] = [
        [x, y, z, "cryoshift", score, number[name]]
        if np.isfinite(score)
        else [x, y, z, _MANUAL, 0.0, number[name]]
        for (x, y, z), score, name in zip(xyz, particles.score.tolist(), spoken, strict=True)
    ]
    return info, len(classes) > before


def _frame(
    unbinned: float | None, context: ListContext, path: Path
) -> tuple[float, npt.NDArray[np.int64]]:
    """Return voxels a unit of the file, and where it counts from, in voxels xyz."""
    if unbinned is None:
        return context.list_scale(path), np.zeros(3, dtype=np.int64)
    voxel_size = context.need_voxel_size(path, "counts in unbinned pixels")
    if context.shape is None:
        raise ValueError(
            f"{path.name} counts from the centre of the tomogram; give the tomogram or its size in "
            "voxels"
        )
    if unbinned <= 0:
        raise ValueError(
            f"{path.name} has an apix_unbin of {unbinned:g} Å; correct it to a positive number"
        )
    return unbinned / voxel_size, np.array(context.shape[::-1]) // 2


def _class_number(name: str, classes: dict[str, Any]) -> int:
    """Return the number of a class, which is added if it is not there yet."""
    for key, entry in classes.items():
        if entry["name"] == (name or _default_name(int(key))):
            return int(key)
    free = next(k for k in range(len(classes) + 1) if str(k) not in classes)
    classes[str(free)] = {"name": name or _default_name(free), "boxsize": _BOX}
    return free


def _default_name(number: int) -> str:
    return f"particles_{number:02d}"


def _recognises(head: Head) -> bool:
    return head.text.lstrip("\ufeff \r\n\t").startswith("{") and (
        '"boxes_3d"' in head.text or '"apix_unbin"' in head.text
    )


EMAN2 = Format(
    name="eman2",
    title="EMAN2 info JSON",
    suffix=".json",
    reader=read_eman2,
    writer=write_eman2,
    recognises=_recognises,
    holds=frozenset({"class", "score"}),
    notes=(
        "Unbinned pixels from the centre of the tomogram. EMAN2 takes info/<tomogram>_info.json of "
        "its project; writing over that file replaces its boxes and adds classes."
    ),
    apart=frozenset({"tomogram"}),
)
