"""Sets as particle STAR files: each row names a volume in a file of its own or in a stack.

RELION takes volumes one file each; it reads any .mrcs as a stack of images
(``Image::_read`` in RELION's ``src/image.h``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.formats.columns import finite, numbers, positive, whole
from napari_cryoshift.core.formats.star import check_text, read_class_names, read_star, star_text
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.types import Subtomograms

from .base import Labels, Rows, Stored
from .card import Card, read_card
from .mrc_stack import open_stack, write_stack
from .volume_files import open_files

_IMAGE = "rlnImageName"
_CLASS = "rlnClassNumber"
_EDGE = "cryoshiftEdge"
_PIXEL_SIZE = "rlnImagePixelSize"
_IN_STACK = re.compile(r"(\d+)@(.+)")
_FOLDER_LIST = "particles.star"
_BATCH = 64
_OPTICS_NOTE = """\
# RELION asks for the columns rlnVoltage to rlnAmplitudeContrast. These are usual values, not those
# of the data: correct them, or do without CTF correction.
"""
_STACK_NOTE = "# RELION reads a .mrcs as images. For RELION, write the set as a folder.\n"


def list_in(folder: Path) -> Path | None:
    """Find the particle list of a folder; None if it has none.

    Raises
    ------
    ValueError
        If it is not clear which list is meant.
    """
    if (folder / _FOLDER_LIST).is_file():
        return folder / _FOLDER_LIST
    lists = [
        file
        for file in sorted(folder.glob("*.star"))
        if _IMAGE in file.read_text(encoding="utf-8", errors="replace")
    ]
    if len(lists) > 1:
        raise ValueError(
            f"{folder.name} holds {len(lists)} particle lists "
            f"({', '.join(file.name for file in lists)}); choose one of them"
        )
    return lists[0] if lists else None


def read_particle_star(path: Path) -> Stored:
    """Open the volumes that a particle STAR file names.

    Files are looked for where the list says, seen from its folder and from those above it, as
    RELION names them from its project folder; then beside the list.

    Raises
    ------
    ValueError
        If it names no volumes, or they are missing, are images, or differ in size or voxel size.
    """
    blocks = read_star(path)
    table = next((block for block in blocks.values() if _IMAGE in block), None)
    if table is None:
        raise ValueError(
            f"{path.name} has no {_IMAGE}: its particles are not extracted; extract them first, "
            "or cut them out of their tomogram"
        )
    names = table[_IMAGE].astype(str)
    found = [match for name in names if (match := _IN_STACK.fullmatch(name))]
    if found and len(found) < len(names):
        raise ValueError(
            f"{path.name} names {len(found)} volumes in stacks and {len(names) - len(found)} in "
            "files of their own; list them apart"
        )
    if found:
        stored = _in_stacks(path, [(int(match[1]), match[2]) for match in found])
    else:
        stored = open_files(path.name, [_find(path, name) for name in names])
    card = read_card(path.with_suffix(".json"))
    named = read_class_names(path) if card is None else dict(enumerate(card.classes, 1))
    labels, classes = _classes(table, named, path)
    known = replace(
        stored,
        labels=labels,
        classes=classes,
        edge=numbers(table, [_EDGE], path)[:, 0] > 0 if _EDGE in table else None,
        voxel_size=_pixel_size(blocks, path) or stored.voxel_size,
    )
    return known if card is None else card.describe(known)


def write_particle_stack(
    folder: Path, path: Path, subtomograms: Subtomograms, card: Card
) -> Job[None]:
    """Write a stack, its STAR file and its card into ``folder``, to be moved beside ``path``."""
    names = [f"{number:06d}@{path.resolve()}" for number in range(1, len(subtomograms) + 1)]
    star = _star(path, names, subtomograms)
    write_text(folder / f"{path.stem}.star", _STACK_NOTE + star)
    write_text(folder / f"{path.stem}.json", card.model_dump_json(indent=1))
    for done in write_stack(folder / path.name, subtomograms):
        yield Progress("writing", done, len(subtomograms))


def write_particle_folder(
    folder: Path, path: Path, subtomograms: Subtomograms, card: Card
) -> Job[None]:
    """Write a folder under the name of ``path`` with one file each, their STAR file and card."""
    made = folder / path.name
    made.mkdir()
    count = len(subtomograms)
    files = [f"{number:06d}.mrc" for number in range(1, count + 1)]
    star = _star(path / _FOLDER_LIST, [str(path.resolve() / file) for file in files], subtomograms)
    write_text(made / _FOLDER_LIST, star)
    write_text((made / _FOLDER_LIST).with_suffix(".json"), card.model_dump_json(indent=1))
    for start in range(0, count, _BATCH):
        volumes = subtomograms[start : start + _BATCH].numpy()
        for file, volume in zip(files[start : start + _BATCH], volumes, strict=True):
            mrcfile.write(made / file, volume, voxel_size=subtomograms.voxel_size)
        yield Progress("writing", start + len(volumes), count)


def _in_stacks(path: Path, named: Sequence[tuple[int, str]]) -> Stored:
    """Open the stacks of volumes that are named by (number from 1, stack)."""
    opened = {name: open_stack(_find(path, name)) for name in dict.fromkeys(n for _, n in named)}
    shapes = {volumes.shape[1:] for volumes, _ in opened.values()}
    sizes = {size for _, size in opened.values() if size}
    if len(shapes) > 1 or len(sizes) > 1:
        several = " and ".join(sorted(map(str, shapes if len(shapes) > 1 else sizes)))
        what = "volumes" if len(shapes) > 1 else "voxel sizes"
        raise ValueError(f"the stacks of {path.name} have {what} of {several}; bring them to one")
    for number, name in named:
        if not 1 <= number <= len(opened[name][0]):
            raise ValueError(
                f"{path.name} names volume {number} of {name}, which holds {len(opened[name][0])}; "
                "correct the list, or copy the stack again"
            )

    def read(rows: Rows) -> npt.NDArray[Any]:
        chosen = [named[row] for row in rows]
        return np.stack([opened[name][0][number - 1] for number, name in chosen])

    return Stored(
        name=path.name,
        read=read,
        count=len(named),
        shape=shapes.pop(),
        voxel_size=sizes.pop() if sizes else None,
        axes="zyx",
        names=[f"{number}@{Path(name).name}" for number, name in named],
    )


def _find(star: Path, named: str) -> Path:
    above = star.resolve().parents
    places = [*(folder / named for folder in above), above[0] / Path(named).name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"{star.name} names {named}, which is not there; put it beside the list")
    return found


def _pixel_size(blocks: dict[str, pd.DataFrame], path: Path) -> float | None:
    """Return Å a voxel as the optics groups say it; None if they do not."""
    optics = next((block for block in blocks.values() if _PIXEL_SIZE in block), None)
    if optics is None:
        return None
    sizes = np.unique(positive(optics, [_PIXEL_SIZE], path))
    if len(sizes) > 1:
        raise ValueError(
            f"{path.name} has optics groups of {sizes[0]:g} and {sizes[1]:g} Å a voxel; bring them "
            "to one voxel size"
        )
    return float(sizes[0])


def _classes(
    table: pd.DataFrame, named: dict[int, str], path: Path
) -> tuple[Labels | None, tuple[str, ...]]:
    """Return labels and names; RELION's class 0 throughout means that there are none."""
    if _CLASS not in table:
        return None, ()
    given = whole(finite(table, [_CLASS], path)[:, 0], _CLASS, path)
    if not given.any():
        return None, ()
    known = sorted({*named, *given.tolist()})
    labels = np.searchsorted(known, given)
    return labels, tuple(named.get(number, f"class {number}") for number in known)


def _star(path: Path, names: Sequence[str], subtomograms: Subtomograms) -> str:
    """Return the STAR file of a set in the terms of RELION 3.1 and later."""
    check_text("path", [str(path.resolve())])
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["opticsGroup1"],
            _PIXEL_SIZE: [subtomograms.voxel_size],
            "rlnImageSize": [subtomograms.box],
            "rlnImageDimensionality": [3],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
        }
    )
    zeros = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    zeros += [f"rlnOrigin{axis}Angst" for axis in "XYZ"]
    particles = pd.DataFrame({_IMAGE: names, "rlnOpticsGroup": 1} | dict.fromkeys(zeros, 0.0))
    if subtomograms.labels is not None:
        particles[_CLASS] = subtomograms.labels + 1
    if subtomograms.edge is not None:
        particles[_EDGE] = subtomograms.edge.astype(int)
    blocks = {"optics": optics, "particles": particles}
    return _OPTICS_NOTE + star_text(blocks, dict(enumerate(subtomograms.classes, 1)))
