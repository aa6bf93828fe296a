"""Particle lists: FORMATS has an entry a format; `read_particles` and `write_particles` use them.

Adding a format is one file with a `Format` in it, and one line in FORMATS.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.types import Particles

from .base import Format, ListContext, spoken_class
from .csv import CSV
from .relion import RELION3, RELION4, RELION5

__all__ = [
    "FORMATS",
    "Format",
    "ListContext",
    "guess_format",
    "outside",
    "read_particles",
    "same_tomogram",
    "write_particles",
]

FORMATS: dict[str, Format] = {entry.name: entry for entry in (RELION5, RELION4, RELION3, CSV)}
"""In the order in which a file is tried: RELION 5 lists may also hold RELION 4 columns."""

_HEAD_BYTES = 65536
_DECORATION = re.compile(
    r"^rec_|_\d+(\.\d+)?Apx$|\.(tomostar|mrc|rec|map|ccp4|st|em|gz)$", re.IGNORECASE
)


def read_particles(
    path: Path | str,
    format: str | None = None,  # noqa: A002
    *,
    context: ListContext | None = None,
    as_label: bool = False,
    only: str | None = None,
) -> Particles:
    """Read a particle list.

    Parameters
    ----------
    path
        The file; for RELION 5 also an optimisation set.
    format
        A name in FORMATS; None to go by what the file holds.
    context
        What the list does not say itself: voxel size, shape, …
    as_label
        True if the classes are what a person said (a support set, a truth): they become
        ``label``. False for anything else: they become ``predicted``.
    only
        Keep the rows of this tomogram alone; ``rec_``, folders and suffixes such as ``.tomostar``
        do not matter.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty or malformed, has no row (of that tomogram), lacks something that the
        context does not give either, or lies mostly outside the tomogram, as lists do that count
        in other units.
    """
    path = Path(path)
    context = context or ListContext()
    entry = _entry(format or guess_format(path))
    particles = entry.reader(path, context)
    tomogram = np.where(particles.tomogram == "", context.tomogram, particles.tomogram)
    particles = particles.replace(
        tomogram=tomogram.astype(object), source=np.full(len(particles), "import", dtype=object)
    )
    if not len(particles):
        raise ValueError(f"{path.name} lists 0 particles; choose another file")
    if only is not None:
        particles = particles.take(_rows_of(only, particles, path))
    _check_inside(particles, context, path)
    if as_label:
        nothing = Particles.at(particles.positions)
        particles = particles.replace(
            label=particles.predicted,
            predicted=nothing.predicted,
            confidence=nothing.confidence,
            probabilities=None,
            classes=(),
        )
    return particles


def write_particles(
    path: Path | str,
    particles: Particles,
    format: str,  # noqa: A002
    *,
    context: ListContext | None = None,
) -> list[str]:
    """Write a particle list, whole or not at all.

    The class of a particle is what a person said, else what was predicted.

    Parameters
    ----------
    path
        The file; RELION 5 gets two more beside it.
    particles
        What to write.
    format
        A name in FORMATS.
    context
        What the list needs and the particles do not say: voxel size, shape, …

    Returns
    -------
    list of str
        What the format could not hold, and what to know when loading the file, one sentence each.

    Raises
    ------
    ValueError
        If the context lacks something, or a name cannot be written.
    OSError
        If the disk is full; a file that was there before is unchanged.
    """
    entry = _entry(format)
    said = entry.writer(Path(path), particles, context or ListContext())
    return said + _losses(particles, entry)


def guess_format(path: Path | str) -> str:
    """Tell the format of a list by what it holds; return its name in FORMATS.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty or none of these.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name and the folder")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8", errors="replace")
    if not head.strip():
        raise ValueError(f"{path.name} is empty; choose another file")
    for name, entry in FORMATS.items():
        if entry.recognises(head):
            return name
    raise ValueError(
        f"{path.name} is no particle list known here ({', '.join(FORMATS)}); a table needs columns "
        "x, y and z, a STAR file rlnCoordinateX or rlnCenteredCoordinateXAngst"
    )


def outside(
    positions: npt.NDArray[np.float64], shape: tuple[int, int, int]
) -> npt.NDArray[np.bool_]:
    """Tell which positions, (n, 3) zyx voxels, lie in no voxel of a tomogram of this shape."""
    beyond = (positions < -0.5) | (positions > np.array(shape) - 0.5)
    return np.asarray(beyond.any(axis=1))


def same_tomogram(name: str, other: str) -> bool:
    """Tell whether two names differ at most in folder, ``rec_``, ``_10.00Apx`` and suffixes."""
    return _plain(name) == _plain(other)


def _plain(name: str) -> str:
    name = re.split(r"[/\\]", name)[-1]
    while (shorter := _DECORATION.sub("", name)) != name:
        name = shorter
    return name


def _entry(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"there is no list format {name!r}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]


def _rows_of(name: str, particles: Particles, path: Path) -> npt.NDArray[np.bool_]:
    exact = particles.tomogram == name
    rows = exact if exact.any() else [same_tomogram(name, other) for other in particles.tomogram]
    if not any(rows):
        found = ", ".join(sorted(set(particles.tomogram))[:5])
        raise ValueError(
            f"{path.name} has no particle in {name!r}, its tomograms are {found}; choose one of "
            "these, or rename the tomogram"
        )
    return np.asarray(rows)


def _check_inside(particles: Particles, context: ListContext, path: Path) -> None:
    if context.shape is None or len(set(particles.tomogram)) > 1:
        return
    far = outside(particles.positions, context.shape)
    # A few may have been refined across the border; a list in other units is mostly beyond it.
    if far.mean() > 0.5:
        z, y, x = particles.positions[far][0]
        sides = " × ".join(str(side) for side in reversed(context.shape))
        raise ValueError(
            f"{far.sum()} of {len(far)} particles of {path.name} lie outside the tomogram of "
            f"{sides} voxels (x, y, z), the first at {x:.1f}, {y:.1f}, {z:.1f}; check the voxel "
            "size or binning of the list, and that it belongs to this tomogram"
        )


def _losses(particles: Particles, entry: Format) -> list[str]:
    """Say what of these particles the format does not hold."""
    there = {
        "id": bool((particles.id != np.arange(len(particles))).any()),
        "class": bool((spoken_class(particles) != "").any()),
        "score": bool(np.isfinite(particles.score).any()),
        "confidence": bool(np.isfinite(particles.confidence).any()),
        "probabilities": particles.probabilities is not None,
        "orientation": particles.orientations is not None,
        "tomogram": len(set(particles.tomogram)) > 1,
        "cluster": bool((particles.cluster >= 0).any()),
    }
    lost = [what for what, present in there.items() if present and what not in entry.holds]
    said = [f"{entry.title} has no place for: {', '.join(lost)}."] if lost else []
    given = particles.label != ""
    if given.any() and (~given & (particles.predicted != "")).any():
        said.append("The list does not tell which classes a person gave and which were predicted.")
    return said
