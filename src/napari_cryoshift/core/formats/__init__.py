"""Particle lists: FORMATS has an entry a format; `read_particles` and `write_particles` use them.

Adding a format is one file with a `Format` in it, and one line in FORMATS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext, spoken_class
from .coords import COORDS
from .copick import COPICK
from .cryolo import CRYOLO
from .csv import CSV
from .deepfinder import DEEPFINDER
from .dynamo import DYNAMO
from .em_motl import EM_MOTL
from .eman2 import EMAN2
from .files import name_files, share_out
from .imod import IMOD
from .portal import PORTAL
from .pytom_star import PYTOM_STAR
from .pytom_xml import PYTOM
from .relion import RELION3, RELION4, RELION5
from .stopgap import STOPGAP
from .tomograms import check_inside, in_tomogram, outside, rows_of, same_tomogram
from .warp import WARP

__all__ = [
    "FORMATS",
    "Format",
    "ListContext",
    "guess_format",
    "outside",
    "read_particles",
    "same_tomogram",
    "write_particles",
    "written_files",
]

FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        *(RELION5, RELION4, RELION3, WARP, PYTOM_STAR),
        *(STOPGAP, DYNAMO, EM_MOTL, PYTOM, EMAN2),
        *(CRYOLO, COORDS, DEEPFINDER, COPICK, PORTAL, IMOD, CSV),
    )
}
"""In the order in which people see them; what looks like RELION's lists and is not comes after."""

_HEAD_BYTES = 65536
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


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
    head = _head(path)
    entry = _guess(head) if format is None else _entry(format)
    particles = in_tomogram(entry.reader(path, context), context)
    particles = particles.replace(source=np.full(len(particles), "import", dtype=object))
    if not len(particles):
        raise ValueError(f"{path.name} lists 0 particles; choose another file")
    if only is not None:
        particles = particles.take(rows_of(only, particles, path))
    check_inside(particles, context, path)
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
    """Write a particle list; each file is written whole or not at all.

    The class of a particle is what a person said, else what was predicted.

    Parameters
    ----------
    path
        The file; `written_files` tells where there are several. RELION 5 gets two more beside it.
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
    context = context or ListContext()
    files = written_files(path, particles, format, context=context)
    said = [one for file, some in files.items() for one in entry.writer(file, some, context)]
    return [*name_files(files), *dict.fromkeys(said), *_losses(particles, entry)]


def written_files(
    path: Path | str,
    particles: Particles,
    format: str,  # noqa: A002
    *,
    context: ListContext | None = None,
) -> dict[Path, Particles]:
    """Tell which files `write_particles` writes a list as, and what goes into each.

    Parameters
    ----------
    path, particles, format, context
        As for `write_particles`.

    Returns
    -------
    dict
        ``path`` itself, or where the format holds one class or tomogram a file, files such as
        ``stem_<tomogram>_<class>.suffix``, named by what differs.

    Raises
    ------
    ValueError
        If there is no such format.
    """
    particles = in_tomogram(particles, context or ListContext())
    return share_out(Path(path), particles, _entry(format).apart)


def guess_format(path: Path | str) -> str:
    """Tell the format of a list by what it holds; return its name in FORMATS.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty or none of these.
    """
    return _guess(_head(Path(path))).name


def _head(path: Path) -> Head:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name and the folder")
    with path.open("rb") as file:
        head = Head(path.name, file.read(_HEAD_BYTES))
    if not head.data.strip():
        raise ValueError(f"{path.name} is empty; choose another file")
    return head


def _guess(head: Head) -> Format:
    fitting = [entry for entry in reversed(FORMATS.values()) if entry.recognises(head)]
    if fitting:
        suffix = Path(head.name).suffix.lower()
        return min(fitting, key=lambda entry: entry.suffix != suffix)
    if head.data.startswith(_PICKLE):
        raise ValueError(
            f"{head.name} is a Python pickle, which may hold a harmful program; save the list in "
            "another format, such as .coords from TomoTwin"
        )
    raise ValueError(
        f"{head.name} is no particle list known here; a table needs columns x, y and z, a STAR "
        "file rlnCoordinateX, Y and Z or rlnCenteredCoordinateXAngst, Y and Z"
    )


def _entry(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"there is no list format {name!r}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]


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
