"""Models of IMOD: Kremer et al., J. Struct. Biol. 116 (1996), 71.

The centre of the first voxel is (0.5, 0.5, 0.0) in x, y, z: coordinates go from 0 to nx and ny,
but from -0.5 to nz - 0.5 (https://bio3d.colorado.edu/imod/doc/binspec.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.colours import PALETTE
from napari_cryoshift.core.files import replacing
from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext, Shape, same_voxel_size, spoken_class
from .columns import doubles

if TYPE_CHECKING:
    from imodmodel.models import ImodModel

_FIRST_VOXEL = np.array([0.5, 0.5, 0.0])
_MAGIC = b"IMODV"
_HEADER_BYTES = 240
_OBJECT_BYTES = 176
_CONTOUR_BYTES = _MESH_BYTES = 16
_NAME_BYTES = 64
_SIZE_AT, _FLAGS_AT = 136, 152
_HAS_IMAGE_ORIGIN, _FLIPPED = 1 << 14, 1 << 16
_NEW_MODEL = 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13
"""z from -0.5, not yet seen by 3dmod, and two ways of storing what is not there."""
_UNKNOWN_VOXEL_SIZE = 1.0
"""Å, what the header of a volume says whose voxel size nobody gave."""
_SCATTERED = 1 << 9 | 1 << 3
"""Points that no line connects, in contours that are open."""


def read_imod(path: Path, context: ListContext) -> Particles:
    """Read the points of all contours; the class is the name of the object, if any has one.

    Without names the classes are "object 1", "object 2", … as 3dmod counts them; a single object
    has none. Points count in voxels of the whole volume, even where a part of it was loaded. If the
    model was made on a volume of another size, the voxel size that it states scales them, as in
    3dmod. Meshes hold no particles.

    Raises
    ------
    ValueError
        If it is no model, cut short, or was saved while Y and Z were flipped.
    """
    model = _Model.read(path)
    names = model.names
    if not any(names) and len(names) > 1:
        names = [f"object {number}" for number, _ in enumerate(names, 1)]
    xyz = (model.points + model.part - _FIRST_VOXEL) * model.scale(context, path)
    if not np.isfinite(xyz).all():
        raise ValueError(f"{path.name} has a point that is no number; remove it in 3dmod")
    return Particles.at(xyz[:, ::-1], predicted=np.array(names, dtype=object)[model.objects])


def write_imod(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write an object of scattered points for each class.

    The model names no image: 3dmod takes the points as voxels of the volume that it is opened on.

    Raises
    ------
    ValueError
        If a class has a name that an object cannot have.
    """
    names = sorted(set(spoken_class(particles)))
    for name in names:
        if len(name.encode()) >= _NAME_BYTES or "\0" in name:
            raise ValueError(
                f"an IMOD object cannot be called {name!r}; choose a class name of fewer than "
                f"{_NAME_BYTES} bytes"
            )
    colours = dict(zip(names, cycle(PALETTE), strict=False))
    model = _model(particles, colours, context.list_scale(path), context.shape)
    with replacing(path) as scratch:
        model.to_file(scratch)
    return []


def _model(
    particles: Particles, colours: dict[str, str], scale: float, shape: Shape | None
) -> ImodModel:
    from imodmodel.models import Contour, ImodModel, ModelHeader, Object, ObjectHeader

    classes = spoken_class(particles)
    points = particles.positions[:, ::-1] / scale + _FIRST_VOXEL
    objects = []
    for name in sorted(set(classes)):
        red, green, blue = (part / 255 for part in bytes.fromhex(colours[name][1:]))
        header = ObjectHeader(name=name, flags=_SCATTERED, red=red, green=green, blue=blue)
        objects.append(Object(header=header, contours=[Contour(points=points[classes == name])]))
    x, y, z = shape[::-1] if shape else np.ceil(points.max(axis=0, initial=0)).astype(int)
    header = ModelHeader(name="", xmax=x, ymax=y, zmax=z, flags=_NEW_MODEL)
    return ImodModel(header=header, objects=objects)


@dataclass(frozen=True)
class _Model:
    """What a model says about points.

    Read here and not by imodmodel, which reads a file that is cut short without an end, and makes
    room for whatever count of points a damaged one promises.

    Attributes
    ----------
    names
        Of the objects; "" where one has none.
    points
        (n, 3) xyz, of all contours.
    objects
        (n,) which object each is of, counted from 0.
    shape
        Voxels along z, y, x of the volume that it was made on.
    voxel_size
        Å of that volume; 0 where the model does not say.
    part
        Voxels along x, y, z from the whole volume to the part that was loaded.
    """

    names: list[str]
    points: npt.NDArray[np.float64]
    objects: npt.NDArray[np.int64]
    shape: Shape
    voxel_size: float
    part: npt.NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> _Model:
        """Read a file."""
        data = path.read_bytes()
        if not data.startswith(_MAGIC) or len(data) < _HEADER_BYTES:
            raise ValueError(f"{path.name} is no IMOD model; choose another file")
        x, y, z = struct.unpack_from(">3i", data, _SIZE_AT)
        (flags,) = struct.unpack_from(">I", data, _FLAGS_AT)
        if flags & _FLIPPED:
            raise ValueError(
                f"{path.name} was saved while the volume was flipped or rotated, so its y is z; "
                "open it in 3dmod, undo Edit > Image > Flip/Rotate and save it again"
            )
        names: list[str] = []
        contours, owners = [np.zeros((0, 3))], [np.zeros(0, dtype=np.int64)]
        voxel_size, part = 0.0, np.zeros(3)
        for kind, body in _chunks(data, path):
            if kind == b"OBJT":
                name = bytes(body[:_NAME_BYTES]).split(b"\0")[0]
                names.append(name.decode("utf-8", errors="replace"))
            elif kind == b"CONT" and names:
                points = np.frombuffer(body, ">f4", offset=_CONTOUR_BYTES).reshape(-1, 3)
                contours.append(doubles(points))
                owners.append(np.full(len(points), len(names) - 1))
            elif kind == b"MINX" and len(body) >= 72:
                image = doubles(np.frombuffer(body, ">f4", count=18))
                _, origin, _, voxel, start, _ = image.reshape(6, 3)
                if (np.isfinite(voxel) & (voxel > 0)).all():
                    voxel_size = float(voxel[0])
                    if flags & _HAS_IMAGE_ORIGIN:
                        part = (origin - start) / voxel
        return cls(
            names=names,
            points=np.concatenate(contours),
            objects=np.concatenate(owners),
            shape=(z, y, x),
            voxel_size=voxel_size,
            part=part,
        )

    def scale(self, context: ListContext, path: Path) -> float:
        """Return voxels of the tomogram in one voxel that the model counts in."""
        stated = self.voxel_size not in (0.0, _UNKNOWN_VOXEL_SIZE)
        if context.list_voxel_size or not stated or context.shape in (None, self.shape):
            return context.list_scale(path)
        voxel_size = context.need_voxel_size(path, "was made on another volume")
        same = same_voxel_size(self.voxel_size, voxel_size)
        return 1.0 if same else self.voxel_size / voxel_size


def _chunks(data: bytes, path: Path) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the name and the content of each chunk behind the header."""
    at = _HEADER_BYTES
    while (kind := data[at : at + 4]) != b"IEOF":
        body = at + 4
        first, second = (int.from_bytes(data[k : k + 4], "big") for k in (body, body + 4))
        if kind == b"OBJT":
            size = _OBJECT_BYTES
        elif kind == b"CONT":
            size = _CONTOUR_BYTES + 12 * first
        elif kind == b"MESH":
            size = _MESH_BYTES + 12 * first + 4 * second
        else:
            size, body = first, body + 4
        at = body + size
        if at > len(data):
            raise ValueError(
                f"{path.name} is cut short: the file has {len(data)} bytes and needs {at} or more; "
                "copy it again"
            )
        yield kind, memoryview(data)[body:at]


def _recognises(head: Head) -> bool:
    return head.data.startswith(_MAGIC)


IMOD = Format(
    name="imod",
    title="IMOD model",
    suffix=".mod",
    reader=read_imod,
    writer=write_imod,
    recognises=_recognises,
    holds=frozenset({"class"}),
    notes=(
        "Scattered points, an object a class, a file a tomogram; open it in 3dmod on the tomogram "
        "that was picked. Coordinates are 32-bit floats: up to 8192 they are good to 0.001 voxel."
    ),
    apart=frozenset({"tomogram"}),
)
