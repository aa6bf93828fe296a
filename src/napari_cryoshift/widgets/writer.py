"""napari writers: points as a particle list, labels as MRC with the tomogram's header."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import napari
import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.utils.notifications import show_info

from napari_cryoshift.core.formats import FORMATS, ListContext, write_particles, written_files
from napari_cryoshift.core.formats.copick import COPICK
from napari_cryoshift.core.label_volume import write_label_volume
from napari_cryoshift.core.types import Particles, Tomogram

from .reader import tomogram_on_show
from .session import session_of

_SAME = 0.01
"""Voxel sizes that differ by less are the same: one of them was rounded."""


class NotWritten(Exception):
    """Why a layer was not written; napari takes a ValueError for a writer that is missing."""


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise NotWritten(str(error)) from error


def format_of(path: Path) -> str:
    """Return the format whose files end like this one, the first in FORMATS of several.

    But a .json is copick's: those of EMAN2 belong into its own project.

    Raises
    ------
    ValueError
        If none does.
    """
    for entry in (COPICK, *FORMATS.values()):
        if entry.suffix == path.suffix.lower():
            return entry.name
    known = ", ".join(sorted({entry.suffix for entry in FORMATS.values()}))
    raise ValueError(f"no particle list ends in {path.suffix!r}; choose from {known}")


def write_points(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a points layer as a particle list; its suffix tells the format.

    Parameters
    ----------
    path
        The file.
    data
        (n, 3) zyx voxels.
    meta
        What napari says of the layer. Its scale and units give the voxel size. What else is known
        of the particles comes from the session whose points they are, from
        ``metadata["particles"]`` of our reader, or from the features class, label and score.

    Returns
    -------
    list of str
        The files.

    Raises
    ------
    NotWritten
        If the layer does not tell its voxel size, or where `write_particles` raises ValueError.
    """
    with _sentences():
        return _write_points(Path(path), np.asarray(data, dtype=np.float64), meta)


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer as MRC, with the header of the tomogram of that size that is open.

    Parameters
    ----------
    path
        The file.
    data
        (z, y, x) whole numbers.
    meta
        What napari says of the layer; without a tomogram its scale and units give the voxel size.

    Returns
    -------
    list of str
        The file.

    Raises
    ------
    NotWritten
        If there is no such tomogram and the layer does not tell its voxel size, or where
        `write_label_volume` raises ValueError.
    """
    with _sentences():
        labels = np.asarray(data)
        like = tomogram_on_show(napari.current_viewer())
        if like is None or like.shape != labels.shape:
            like = Tomogram(labels, voxel_size=_voxel_size(meta), name=meta["name"])
        write_label_volume(path, labels, like)
    return [path]


def _write_points(
    path: Path, positions: npt.NDArray[np.float64], meta: Mapping[str, Any]
) -> list[str]:
    name, voxel_size = format_of(path), _voxel_size(meta)
    viewer = napari.current_viewer()
    particles = _particles(positions, meta, viewer)
    context = ListContext(voxel_size=voxel_size, tomogram=meta["name"])
    tomogram = tomogram_on_show(viewer)
    if tomogram is not None:
        if abs(tomogram.voxel_size / voxel_size - 1) > _SAME:
            raise ValueError(
                f"the voxels of {meta['name']!r} are {voxel_size:g} Å wide, those of "
                f"{tomogram.name} {tomogram.voxel_size:g} Å; give the layer the scale of the "
                "tomogram, or close the tomogram"
            )
        context = ListContext.of(tomogram)
    said = write_particles(path, particles, name, context=context)
    title = FORMATS[name].title
    show_info(" ".join([f"{len(particles):,} particles are in {path.name}, for {title}.", *said]))
    return [str(file) for file in written_files(path, particles, name, context=context)]


def _voxel_size(meta: Mapping[str, Any]) -> float:
    """Return Å a voxel of a layer, or say what it lacks."""
    name, units = meta["name"], meta["units"]
    if len(meta["scale"]) != 3:
        raise ValueError(f"the layer {name!r} has no z, y and x; choose a three-dimensional one")
    if not all((1 * unit).check("[length]") for unit in units):
        raise ValueError(
            f"the layer {name!r} counts in {units[-1]}s, so its voxel size is not known; set its "
            "scale and its units (angstrom), or make it on a tomogram that was opened by CryoShift"
        )
    sizes = np.array(
        [
            float((size * unit).to("angstrom").magnitude)
            for size, unit in zip(meta["scale"], units, strict=True)
        ]
    )
    if np.ptp(sizes) > _SAME * sizes.max():
        raise ValueError(
            f"the voxels of {name!r} are {sizes[0]:g} × {sizes[1]:g} × {sizes[2]:g} Å (z, y, x), "
            "but lists count in cubes; give it one scale"
        )
    if np.any(meta["translate"]):
        raise ValueError(
            f"the layer {name!r} is moved by {meta['translate']}, so its points are no voxels of "
            "the tomogram; set its translation to 0"
        )
    return float(sizes[0])


def _particles(
    positions: npt.NDArray[np.float64], meta: Mapping[str, Any], viewer: napari.Viewer | None
) -> Particles:
    """Return what is known of the points that are shown."""
    session = None if viewer is None else session_of(viewer)
    if session is not None and np.array_equal(session.particles.positions, positions):
        table = session.particles
    else:
        table = _with_features(positions, meta)
    shown = table.take(np.broadcast_to(np.asarray(meta["shown"], dtype=bool), len(table)))
    if not len(shown):
        raise ValueError(f"the layer {meta['name']!r} shows 0 points; show those to write")
    return shown


def _with_features(positions: npt.NDArray[np.float64], meta: Mapping[str, Any]) -> Particles:
    features = pd.DataFrame(meta["features"])
    made = Particles.at(positions)
    for column in ("class", "label"):
        if column in features:
            made = made.replace(predicted=_texts(features[column]))
    if "score" in features:
        scores = pd.to_numeric(features["score"], errors="coerce")
        made = made.replace(score=scores.to_numpy(dtype=np.float64))
    read = meta["metadata"].get("particles")
    if not isinstance(read, Particles) or "id" not in features:
        return made
    # By id, as points may have been added, moved and removed since.
    rows = pd.Index(read.id).get_indexer(pd.Index(features["id"]))
    known = (rows >= 0) & ~features["id"].duplicated().to_numpy()
    orientations = None
    if read.orientations is not None:
        orientations = np.where(known[:, None, None], read.orientations[rows], np.eye(3))
    tomogram = np.where(known, read.tomogram[rows], "").astype(object)
    fresh = np.arange(len(rows)) + read.id.max() + 1
    return made.replace(
        id=np.where(known, read.id[rows], fresh), tomogram=tomogram, orientations=orientations
    )


def _texts(column: pd.Series[Any]) -> npt.NDArray[np.object_]:
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)
