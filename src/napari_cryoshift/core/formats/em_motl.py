"""Motive lists of the TOM toolbox, AV3, novaSTA and Artiatomi: an EM file of 20 numbers a particle.

The header is that of Nickell et al., J. Struct. Biol. 149 (2005), 227. Positions count from 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.files import replacing
from napari_cryoshift.core.types import Particles

from .angles import from_tom_angles, tom_angles
from .base import Format, Head, ListContext, classes_named, named_by, numbers_of, say_numbers
from .columns import doubles, ids, scores, whole
from .numbered import describe

_HEADER_BYTES = 512
_ROWS = 20
_FLOATS = {5: "f4", 9: "f8"}
_FLOAT_CODE, _PC = 5, 6
_SCORE, _TAG, _TOMOGRAM, _CLASS = 0, 3, 4, 19
_POSITION, _SHIFT = [7, 8, 9], [10, 11, 12]
_ANGLES = [16, 18, 17]
"""Phi, theta, psi: the list has psi before theta."""
_NEEDED = [_TAG, _TOMOGRAM, _CLASS, *_POSITION, *_SHIFT, *_ANGLES]
_LARGEST_WHOLE = 2**24
"""32-bit floats beyond it skip whole numbers."""


def read_em_motl(path: Path, context: ListContext) -> Particles:
    """Read a motive list; shifts are applied, class 0 and score 0 mean none.

    Raises
    ------
    ValueError
        If it is cut short, is no list of 20 numbers a particle, or a number is not one.
    """
    values = _values(path)
    wrong = np.argwhere(~np.isfinite(values[:, _NEEDED]))
    if len(wrong):
        particle, row = wrong[0]
        raise ValueError(
            f"{path.name}: particle {particle + 1} has no number in row {_NEEDED[row] + 1}; "
            "correct or remove it"
        )
    tomograms = whole(values[:, _TOMOGRAM], "tomogram", path)
    angles = values[:, _ANGLES]
    xyz = values[:, _POSITION] + values[:, _SHIFT] - 1
    return Particles.at(
        xyz[:, ::-1] * context.list_scale(path),
        id=ids(whole(values[:, _TAG], "number", path)),
        predicted=classes_named(values[:, _CLASS], {}),
        score=scores(values[:, _SCORE]),
        tomogram=named_by(tomograms, context),
        orientations=from_tom_angles(angles) if angles.any() else None,
    )


def write_em_motl(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write a (1, n, 20) volume of 32-bit floats, with all shifts 0.

    Raises
    ------
    ValueError
        If an id or a number of a tomogram is too large for a 32-bit float.
    """
    tomograms = numbers_of(particles.tomogram, context)
    described, said = describe(particles, tomograms)
    for column in ("tag", "tomogram"):
        largest = int(described[column].max())
        if largest > _LARGEST_WHOLE:
            raise ValueError(
                f"a motive list holds whole numbers up to {_LARGEST_WHOLE}, but there is the "
                f"{column} {largest}; choose another format"
            )
    values = np.zeros((len(particles), _ROWS), dtype="<f4")
    values[:, [_TAG, _TOMOGRAM, _CLASS, _SCORE]] = described[["tag", "tomogram", "class", "score"]]
    values[:, _POSITION] = particles.positions[:, ::-1] / context.list_scale(path) + 1
    if particles.orientations is not None:
        values[:, _ANGLES] = tom_angles(particles.orientations)
    header = bytearray(_HEADER_BYTES)
    header[0], header[3] = _PC, _FLOAT_CODE
    header[4:16] = np.array([_ROWS, len(values), 1], dtype="<i4").tobytes()
    with replacing(path) as scratch, scratch.open("wb") as file:
        file.write(header)
        values.tofile(file)
    return said + say_numbers(tomograms)


def _values(path: Path) -> npt.NDArray[np.float64]:
    """Return the (n, 20) numbers of a list."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    shape = _shape(head)
    if shape is None:
        raise ValueError(
            f"{path.name} is no EM file of {_ROWS} numbers a particle; choose another file"
        )
    count, dtype = shape
    size, promised = path.stat().st_size, _HEADER_BYTES + count * _ROWS * dtype.itemsize
    if size < promised:
        raise ValueError(
            f"{path.name} is cut short: the file has {size} bytes, its header promises "
            f"{promised}; copy it again"
        )
    values = np.fromfile(path, dtype, count * _ROWS, offset=_HEADER_BYTES)
    return doubles(values.reshape(count, _ROWS))


def _shape(head: bytes) -> tuple[int, np.dtype[np.floating]] | None:
    """Return how many particles of which kind of float a header promises; None if it is none."""
    if len(head) < _HEADER_BYTES or head[3] not in _FLOATS:
        return None
    # TOM writes 6 for PCs and 1 for VAX; all its other machines are big-endian.
    order = "<" if head[0] in (1, _PC) else ">"
    rows, count, depth = (int(n) for n in np.frombuffer(head, f"{order}i4", count=3, offset=4))
    if rows != _ROWS or depth != 1 or count < 0:
        return None
    return count, np.dtype(order + _FLOATS[head[3]])


def _recognises(head: Head) -> bool:
    return _shape(head.data[:_HEADER_BYTES]) is not None


EM_MOTL = Format(
    name="em_motl",
    title="EM motive list",
    suffix=".em",
    reader=read_em_motl,
    writer=write_em_motl,
    recognises=_recognises,
    holds=frozenset({"id", "class", "score", "orientation", "tomogram"}),
    notes=(
        "For TOM, AV3, novaSTA and Artiatomi. Voxels of the tomogram, counted from 1, as 32-bit "
        "floats: up to 8192 they are good to 0.001 voxel. Classes and tomograms are numbers."
    ),
)
