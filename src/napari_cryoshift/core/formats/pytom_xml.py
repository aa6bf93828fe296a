"""Particle lists of PyTom: XML, positions in voxels of the tomogram, angles Z1, Z2 and X."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .angles import from_tom_angles, tom_angles
from .base import Format, Head, ListContext, spoken_class
from .columns import finite, numbers
from .xml import quoted, read_elements

_POSITION = ["PickPosition X", "PickPosition Y", "PickPosition Z"]
_SHIFT = ["Shift X", "Shift Y", "Shift Z"]
_ANGLES = ["Rotation Z1", "Rotation X", "Rotation Z2"]
"""In the order in which they turn the reference: phi, theta, psi."""

_SCORE = "Score Value"
_CLASS = "Class Name"
_ORIGIN = "PickPosition Origin"
_PARADIGM = "Rotation Paradigm"
_COLUMNS = (*_POSITION, *_SHIFT, *_ANGLES, _PARADIGM, _SCORE, _CLASS, _ORIGIN, "Filename")

_Array = npt.NDArray[np.float64]


def read_pytom(path: Path, context: ListContext) -> Particles:
    """Read a ``ParticleList``.

    A particle is at its PickPosition plus its Shift. Angles that are all 0 mean that there are
    none, and so does class 0 where no particle has another one: PyTom writes both by itself.

    Raises
    ------
    ValueError
        If a position is missing, a number is not one, angles are of another paradigm than ZXZ, or
        the file is not safe to read.
    """
    table = read_elements(path, "ParticleList", "Particle", _COLUMNS)
    paradigms = set(table[_PARADIGM].dropna()) - {"ZXZ"}
    if paradigms:
        raise ValueError(
            f"{path.name} has angles of the paradigm {min(paradigms)!r}; only ZXZ, PyTom's own, is "
            "read"
        )
    # Shifts and angles that are left out are 0.
    table[[*_SHIFT, *_ANGLES]] = table[[*_SHIFT, *_ANGLES]].fillna("0")
    xyz = finite(table, _POSITION, path) + finite(table, _SHIFT, path)
    angles = finite(table, _ANGLES, path)
    return Particles.at(
        xyz[:, ::-1] * context.list_scale(path),
        id=_ids(table),
        predicted=_classes(table),
        score=numbers(table, [_SCORE], path)[:, 0],
        tomogram=table[_ORIGIN].fillna("").to_numpy(dtype=object),
        orientations=from_tom_angles(angles) if angles.any() else None,
    )


def write_pytom(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write a ``ParticleList``; ids are kept in the names of the particles' files.

    Raises
    ------
    ValueError
        If the name of a tomogram or a class has characters that XML cannot hold.
    """
    said = []
    angles = np.zeros((len(particles), 3))
    if particles.orientations is None:
        said.append("No particle has an orientation: all angles are 0.")
    else:
        angles = tom_angles(particles.orientations)
    xyz = particles.positions[:, ::-1] / context.list_scale(path)
    classes = spoken_class(particles)
    origin = {name: quoted("tomogram name", name) for name in set(particles.tomogram)}
    named = {name: f"<Class Name={quoted('class', name)}/>" for name in set(classes)} | {"": ""}
    columns = (particles.id, xyz, angles, particles.score, particles.tomogram, classes)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    text = "".join(
        f'  <Particle Filename="particle_{number}.em">'
        f'<Rotation Z1="{phi!r}" Z2="{psi!r}" X="{theta!r}" Paradigm="ZXZ"/>'
        '<Shift X="0.0" Y="0.0" Z="0.0"/>'
        f'<PickPosition X="{x!r}" Y="{y!r}" Z="{z!r}" Origin={origin[tomogram]}/>'
        f"{_score(score)}{named[name]}</Particle>\n"
        for number, (x, y, z), (phi, theta, psi), score, tomogram, name in rows
    )
    write_text(path, f"<ParticleList>\n{text}</ParticleList>\n")
    return said


def _score(value: float) -> str:
    if not np.isfinite(value):
        return ""
    # PyTom makes a score from its type, and asks for the prior of its peak.
    prior = '<PeakPrior Filename="" Radius="0.0" Smooth="-1.0"/>'
    return f'<Score Type="FLCFScore" Value="{value!r}" RemoveAutocorr="False">{prior}</Score>'


def _classes(table: pd.DataFrame) -> npt.NDArray[np.object_]:
    names = table[_CLASS].fillna("").replace("None", "")
    if set(names) == {"0"}:
        names = names.replace("0", "")
    return names.to_numpy(dtype=object)


def _ids(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the numbers in names such as "particle_12.em" if no two are the same, else count."""
    found = table["Filename"].fillna("").astype(str).str.extract(r"_(\d{1,18})\.\w+$")[0]
    if found.notna().all() and found.is_unique:
        return found.to_numpy(dtype=np.int64)
    return np.arange(len(table), dtype=np.int64)


def _recognises(head: Head) -> bool:
    return "<ParticleList" in head.text


PYTOM = Format(
    name="pytom",
    title="PyTom XML",
    suffix=".xml",
    reader=read_pytom,
    writer=write_pytom,
    recognises=_recognises,
    holds=frozenset({"id", "class", "score", "orientation", "tomogram"}),
    notes=(
        "Voxels of the tomogram. Subtomograms are named particle_<id>.em; the missing wedge is not "
        "known here, so set it in PyTom."
    ),
)
