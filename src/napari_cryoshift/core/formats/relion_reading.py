"""Reading particle lists of RELION 3, 4 and 5, and what their relatives share with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.types import Particles

from .angles import from_relion_angles
from .base import ListContext, classes_named
from .columns import finite, numbers, positive
from .star import read_class_names, read_star
from .tilt_series import PIXEL_SIZE, tilt_series

CORNER = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
CENTRED = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
NO_SCORE = -999.0
"""What RELION writes where it has no figure of merit."""

_BOX_ANGLES = ["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
_SHIFTS = ["rlnOriginX", "rlnOriginY", "rlnOriginZ"]
_SHIFTS_ANGSTROM = [f"{shift}Angst" for shift in _SHIFTS]
_SCORES = ("rlnAutopickFigureOfMerit", "rlnLCCmax")

Frame = Literal["voxels", "unbinned", "centred"]
_Array = npt.NDArray[np.float64]
_Texts = npt.NDArray[np.object_]


def read_relion(path: Path, context: ListContext, *, frame: Frame) -> Particles:
    """Read a RELION list, or those that an optimisation set or an import file names.

    Parameters
    ----------
    path
        The STAR file.
    context
        RELION 4 and 5 lists need its voxel size; RELION 5 lists also a size.
    frame
        What coordinates count: "voxels" of the tomogram (RELION 3), "unbinned" pixels (RELION 4),
        or Å from the centre (RELION 5, which also takes RELION 4 lists).

    Raises
    ------
    ValueError
        If columns are missing, a number is not one, or the context lacks what is needed.
    """
    path, context, blocks = _follow(path, context)
    if frame == "centred" and _block_with([*CORNER, "rlnTomoName"], blocks) is not None:
        frame = "unbinned" if _block_with(CENTRED, blocks) is None else frame
    return particles_in(blocks, path, context, frame=frame)


def particles_in(
    blocks: Mapping[str, pd.DataFrame], path: Path, context: ListContext, *, frame: Frame
) -> Particles:
    """Make particles of the blocks of a STAR file.

    Refined shifts are applied. Angles that are all 0 mean that there are none. Classes get the
    names that we wrote with them, else "class 1", "class 2", …

    Parameters
    ----------
    blocks
        As `read_star` returns them.
    path
        Where they were read from.
    context, frame
        As for `read_relion`.

    Raises
    ------
    ValueError
        As `read_relion` does.
    """
    wanted = CENTRED if frame == "centred" else CORNER
    table = _block_with(wanted, blocks)
    if table is None:
        raise ValueError(
            f"{path.name} has no {', '.join(wanted)} in one block; choose a list of particles in "
            "three dimensions, or another format"
        )
    names = _tomogram_names(table, context)
    xyz = finite(table, wanted, path)
    if frame == "voxels":
        pixel = np.full((len(table), 1), context.list_scale(path))
        xyz = xyz * pixel
    else:
        voxel_size = context.need_voxel_size(path, "counts in unbinned pixels or Å")
        stated = _stated_pixel_sizes(table, blocks.get("optics"), names, path)
        series = tilt_series(names, context, path, stated)
        pixel = np.array([series[name].pixel_size for name in names])[:, None] / voxel_size
        if frame == "centred":
            centres = np.array([series[name].centre(context, path) for name in names])
            xyz = xyz / voxel_size + centres.reshape(-1, 3) * pixel
        else:
            xyz = xyz * pixel
    box = _turns(table, _BOX_ANGLES, path)
    turn = _turns(table, ANGLES, path)
    xyz = xyz - _shifts(table, pixel, box, context, path)
    orientation = turn if box is None else box if turn is None else box @ turn
    return Particles.at(
        xyz[:, ::-1],
        id=_ids(table),
        predicted=_class_names(table, path),
        score=_scores(table, path),
        tomogram=names,
        orientations=orientation,
    )


def _follow(
    path: Path, context: ListContext
) -> tuple[Path, ListContext, Mapping[str, pd.DataFrame]]:
    """Go from an optimisation set to its list, and find the tomograms.star that belongs to it.

    An import file leads to the lists of all its tomograms.
    """
    blocks = read_star(path)
    tomograms = path.with_name("tomograms.star")
    listing = _block_with(["rlnTomoName", "rlnTomoImportParticleFile"], blocks)
    chosen = _block_with(["rlnTomoParticlesFile"], blocks)
    if listing is not None:
        blocks = {"particles": _imported(listing, path)}
    elif chosen is not None:
        if "rlnTomoTomogramsFile" in chosen:
            tomograms = _in_project(path, chosen["rlnTomoTomogramsFile"].iloc[0])
        path = _named_list(path, chosen["rlnTomoParticlesFile"].iloc[0])
        blocks = read_star(path)
    if context.tomograms_star is None and tomograms.is_file():
        context = replace(context, tomograms_star=tomograms)
    return path, context, blocks


def _imported(listing: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the rows of all files of an import; the file says nothing of their tomogram."""
    tables = []
    for name, named in zip(
        listing["rlnTomoName"], listing["rlnTomoImportParticleFile"], strict=True
    ):
        file = _named_list(path, named)
        blocks = read_star(file)
        table = _block_with(CORNER, blocks)
        if table is None:
            table = _block_with(CENTRED, blocks)
        if table is None:
            raise ValueError(
                f"{file.name}, which {path.name} names, lists no particles; correct that row"
            )
        tables.append(table.assign(rlnTomoName=name))
    return pd.concat(tables, ignore_index=True)


def _named_list(path: Path, named: str) -> Path:
    found = _in_project(path, named)
    if not found.is_file():
        raise ValueError(
            f"the particle list {found} that {path.name} names does not exist; open a list itself"
        )
    return found


def _block_with(columns: list[str], blocks: Mapping[str, pd.DataFrame]) -> pd.DataFrame | None:
    return next((block for block in blocks.values() if set(columns) <= set(block)), None)


def _in_project(path: Path, named: str) -> Path:
    """Find a file that RELION names relative to its project folder, somewhere above ``path``."""
    places = [Path(named), *(parent / named for parent in path.resolve().parents)]
    return next((place for place in places if place.is_file()), path.with_name(Path(named).name))


def _tomogram_names(table: pd.DataFrame, context: ListContext) -> _Texts:
    for label in ("rlnTomoName", "rlnMicrographName"):
        if label in table:
            return table[label].astype(str).to_numpy(dtype=object)
    return np.full(len(table), context.tomogram, dtype=object)


def _stated_pixel_sizes(
    table: pd.DataFrame, optics: pd.DataFrame | None, names: _Texts, path: Path
) -> dict[str, float]:
    """Return Å an unbinned pixel by tomogram, as far as optics groups tell."""
    if optics is None or PIXEL_SIZE not in optics or "rlnOpticsGroup" not in table:
        return {}
    groups, sizes = positive(optics, ["rlnOpticsGroup", PIXEL_SIZE], path).T
    by_group = dict(zip(groups, sizes, strict=True))
    stated = {}
    for name, group in zip(names, numbers(table, ["rlnOpticsGroup"], path)[:, 0], strict=True):
        if group not in by_group:
            raise ValueError(
                f"{path.name} has particles of optics group {group:g}, which its optics block does "
                "not list; add the group or remove them"
            )
        stated[name] = float(by_group[group])
    return stated


def _turns(table: pd.DataFrame, angles: list[str], path: Path) -> _Array | None:
    """Return (n, 3, 3) orientations; None where there are no angles or only 0."""
    if not set(angles) <= set(table):
        return None
    values = finite(table, angles, path)
    return from_relion_angles(values) if values.any() else None


def _shifts(
    table: pd.DataFrame, pixel: _Array, box: _Array | None, context: ListContext, path: Path
) -> _Array:
    """Return refined shifts in voxels of the tomogram, turned with the box.

    As ``getPosition`` does in RELION's ``src/jaz/tomography/particle_set.cpp``.
    """
    if set(_SHIFTS_ANGSTROM) <= set(table):
        shifts = finite(table, _SHIFTS_ANGSTROM, path)
        if shifts.any():
            shifts = shifts / context.need_voxel_size(path, "has shifts in Å")
    elif set(_SHIFTS) <= set(table):
        shifts = finite(table, _SHIFTS, path) * pixel
    else:
        return np.zeros((len(table), 3))
    return shifts if box is None else (box @ shifts[:, :, None])[:, :, 0]


def _ids(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the numbers in names such as "TS_01/12" if no two are the same, else count."""
    if "rlnTomoParticleName" in table:
        found = table["rlnTomoParticleName"].astype(str).str.extract(r"/(\d{1,18})$")[0]
        if found.notna().all() and found.is_unique:
            return found.to_numpy(dtype=np.int64)
    return np.arange(len(table), dtype=np.int64)


def _class_names(table: pd.DataFrame, path: Path) -> _Texts:
    if "rlnClassNumber" not in table:
        return np.full(len(table), "", dtype=object)
    classes = numbers(table, ["rlnClassNumber"], path)[:, 0]
    return classes_named(classes, read_class_names(path))


def _scores(table: pd.DataFrame, path: Path) -> _Array:
    label = next((label for label in _SCORES if label in table), None)
    if label is None:
        return np.full(len(table), np.nan)
    scores = numbers(table, [label], path)[:, 0]
    return np.where(scores == NO_SCORE, np.nan, scores)
