"""Particle lists of RELION 3, RELION 4 and RELION 5.

RELION 3 counts in voxels of the tomogram it names, RELION 4 in unbinned pixels of the tilt series,
RELION 5 in Å from the centre of the tomogram. Here they are written; `relion_reading` reads them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .angles import relion_angles
from .base import Format, Head, ListContext, numbered_classes
from .relion_reading import ANGLES, CENTRED, CORNER, NO_SCORE, read_relion
from .star import check_text, labels, star_text
from .tilt_series import PIXEL_SIZE, TiltSeries, tilt_series

_Texts = npt.NDArray[np.object_]


def write_relion3(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write one block with ``rlnCoordinateX/Y/Z`` in voxels of the tomogram.

    With ``context.list_voxel_size`` they are in voxels of that size.
    """
    names = checked_names(particles)
    xyz = particles.positions[:, ::-1] / context.list_scale(path)
    table = pd.DataFrame(xyz, columns=CORNER).assign(rlnMicrographName=names)
    classes, said = describe(table, particles)
    write_text(path, star_text({"": table}, classes))
    spaced = next((name for name in names if " " in name), None)
    if spaced is not None:
        said.append(f"RELION before 3.1 stops at names with spaces, such as {spaced!r}.")
    return said


def write_relion4(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write ``rlnCoordinateX/Y/Z`` in unbinned pixels, and an optics group for each pixel size.

    Raises
    ------
    ValueError
        If the voxel size is unknown.
    """
    names = checked_names(particles)
    series = tilt_series(names, context, path)
    voxel_size = context.need_voxel_size(path, "counts in unbinned pixels")
    pixels = np.array([series[name].pixel_size for name in names])
    sizes, groups = np.unique(pixels, return_inverse=True)
    xyz = particles.positions[:, ::-1] * voxel_size / pixels[:, None]
    table = pd.DataFrame(xyz, columns=CORNER).assign(
        rlnTomoName=names,
        rlnTomoParticleName=_particle_names(names, particles),
        rlnOpticsGroup=groups + 1,
    )
    classes, said = describe(table, particles)
    numbers = np.arange(len(sizes)) + 1
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": numbers,
            "rlnOpticsGroupName": [f"opticsGroup{number}" for number in numbers],
            PIXEL_SIZE: sizes,
        }
    )
    # Particles first: relion_tomo_import_particles reads only the first block of a file.
    write_text(path, star_text({"particles": table, "optics": optics}, classes))
    return said


def write_relion5(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write centred coordinates, and beside them what an import needs.

    ``<stem>_import.star`` is the input of the job Import coordinates: the name of a tomogram and
    its particle file a row. ``<stem>_optimisation_set.star`` names the list and, if
    ``context.tomograms_star`` is given, that file. Their paths are absolute. There is no optics
    block: RELION makes it from its tomograms.star, which knows voltage and aberrations.

    Raises
    ------
    ValueError
        If the voxel size, or every clue to the size of the tomogram, is unknown.
    """
    names = checked_names(particles)
    series = tilt_series(names, context, path)
    voxel_size = context.need_voxel_size(path, "gives positions in Å")
    centres = {name: one.centre(context, path) * one.pixel_size for name, one in series.items()}
    xyz = particles.positions[:, ::-1] * voxel_size - np.array([centres[name] for name in names])
    table = pd.DataFrame(xyz, columns=CENTRED).assign(
        rlnTomoName=names, rlnTomoParticleName=_particle_names(names, particles)
    )
    classes, said = describe(table, particles)
    said += [_how_guessed(one) for one in series.values() if one.guessed]
    check_text("path", [str(path.resolve())])
    write_text(path, star_text({"particles": table}, classes))
    return said + _write_import(path, table, classes) + _write_set(path, context)


def _write_import(path: Path, table: pd.DataFrame, classes: dict[int, str]) -> list[str]:
    """Write the input of RELION 5's import, and a list a tomogram if there are several."""
    names = list(table["rlnTomoName"].unique())
    files = [path]
    if len(names) > 1:
        # The import gives all rows of a file to the tomogram that the file is listed with.
        files = [path.with_name(f"{path.stem}_{k}.star") for k in range(1, len(names) + 1)]
        for name, file in zip(names, files, strict=True):
            rows = table[table["rlnTomoName"] == name]
            write_text(file, star_text({"particles": rows}, classes))
    # The file first: a row that starts with a name such as data_01 would look like a new block.
    listing = pd.DataFrame(
        {
            "rlnTomoImportParticleFile": [str(file.resolve()) for file in files],
            "rlnTomoName": names,
        }
    )
    file = path.with_name(f"{path.stem}_import.star")
    write_text(file, star_text({"": listing}, classes))
    return [f"RELION 5's job Import coordinates takes {file.name}, not the list itself."]


def _write_set(path: Path, context: ListContext) -> list[str]:
    entries = {"rlnTomoParticlesFile": str(path.resolve())}
    said = []
    file = path.with_name(f"{path.stem}_optimisation_set.star")
    if context.tomograms_star is None:
        said.append(f"No tomograms.star was given, so {file.name} names none; choose it in RELION.")
    else:
        entries["rlnTomoTomogramsFile"] = str(context.tomograms_star.resolve())
    write_text(file, star_text({"": entries}))
    return said


def describe(
    table: pd.DataFrame, particles: Particles, score: str = "rlnAutopickFigureOfMerit"
) -> tuple[dict[int, str], list[str]]:
    """Add angles, classes and scores to a table; return class names and what is to be said.

    Parameters
    ----------
    table
        A row a particle; it is changed.
    particles
        What to add.
    score
        The column for the score; it is left out where nothing has a score.
    """
    said = []
    angles = np.zeros((len(table), 3))
    if particles.orientations is None:
        said.append("No particle has an orientation: all angles are 0.")
    else:
        angles = relion_angles(particles.orientations)
    table[ANGLES] = angles
    classes, numbers = numbered_classes(particles)
    if classes:
        table["rlnClassNumber"] = numbers
    if np.isfinite(particles.score).any():
        table[score] = np.nan_to_num(particles.score, nan=NO_SCORE)
    return classes, said


def _how_guessed(series: TiltSeries) -> str:
    size = " × ".join(str(side) for side in reversed(series.shape or ()))
    return (
        f"The unbinned size of {series.name} was taken as {size} pixels of "
        f"{series.pixel_size:.4g} Å (x, y, z; size × binning); if RELION's tomograms.star says "
        "otherwise, give that file and export again."
    )


def checked_names(particles: Particles) -> _Texts:
    """Return the name of each particle's tomogram.

    Raises
    ------
    ValueError
        If there is no particle, one is in no tomogram, or a STAR file cannot hold a name.
    """
    if not len(particles):
        raise ValueError("there are 0 particles, and RELION reads no empty list; choose some first")
    nowhere = int((particles.tomogram == "").sum())
    if nowhere:
        raise ValueError(
            f"{nowhere} of {len(particles)} particles are in no tomogram that has a name, which "
            "such a list needs; give its name or the tomogram"
        )
    check_text("tomogram name", np.unique(particles.tomogram))
    return particles.tomogram


def _particle_names(names: _Texts, particles: Particles) -> list[str]:
    return [f"{name}/{number}" for name, number in zip(names, particles.id, strict=True)]


def _recognises_set(head: Head) -> bool:
    found = labels(head.text)
    return bool(found & {CENTRED[0], "rlnTomoParticlesFile", "rlnTomoImportParticleFile"})


def _recognises_corner(head: Head, *, tomo_name: bool) -> bool:
    found = labels(head.text)
    # RELION 5 lists may hold both; the centred ones are meant.
    corner = CORNER[0] in found and CENTRED[0] not in found
    return corner and ("rlnTomoName" in found) == tomo_name


_HOLDS = frozenset({"class", "score", "orientation", "tomogram"})

RELION3 = Format(
    name="relion3",
    title="RELION 3",
    suffix=".star",
    reader=partial(read_relion, frame="voxels"),
    writer=write_relion3,
    recognises=partial(_recognises_corner, tomo_name=False),
    holds=_HOLDS,
    notes="Voxels of the tomogram that rlnMicrographName names.",
)
RELION4 = Format(
    name="relion4",
    title="RELION 4",
    suffix=".star",
    reader=partial(read_relion, frame="unbinned"),
    writer=write_relion4,
    recognises=partial(_recognises_corner, tomo_name=True),
    holds=_HOLDS | {"id"},
    notes=(
        "Unbinned pixels. The names of tomograms must be those of the tomogram set. RELION's own "
        "import keeps positions and angles, and puts all particles into class 1."
    ),
)
RELION5 = Format(
    name="relion5",
    title="RELION 5",
    suffix=".star",
    reader=partial(read_relion, frame="centred"),
    writer=write_relion5,
    recognises=_recognises_set,
    holds=_HOLDS | {"id"},
    notes=(
        "Å from the centre of the tomogram. Give tomograms.star, whose unbinned sizes say where "
        "that is. The job Import coordinates takes the file ending in _import.star."
    ),
)
