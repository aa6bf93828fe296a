"""Headers of MRC and EM volumes: what they say, and what a person should know about it.

The MRC header is that of Cheng et al., J. Struct. Biol. 192 (2015), 146, with IMOD's additions;
the EM header is that of the TOM toolbox, Nickell et al., J. Struct. Biol. 149 (2005), 227.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp

_MRC_BYTES = 1024
_EM_BYTES = 512
_MRC_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_MRC_REFUSED = {3: "complex integers", 4: "complex numbers", 101: "4-bit integers"}
_EM_TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}
_IMOD_STAMP = 1146047817
_FIRST_STACK_GROUP = 401
"""Space groups from here on mean a stack of volumes (MRC2014)."""
_LARGEST_SIDE = 2**20
"""Voxels; a header that promises more was read in the wrong byte order, or is none."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Header:
    """What the header of a volume says.

    Attributes
    ----------
    path
        The file.
    kind
        "MRC" or "EM".
    shape
        Voxels along z, y, x, as the volume is opened.
    dtype
        Of the values in the file, byte order included.
    mode
        Number of the data type in the file's own terms.
    voxel_sizes
        Å along z, y, x; 0 where the header does not say.
    origin
        Å along z, y, x. Particle coordinates never include it.
    start
        Voxels along z, y, x: where the volume was cut from a larger one.
    stored
        Shape in the order of the file, slowest axis first.
    order
        Which axes of the stored array are z, y and x.
    offset
        Bytes before the first voxel.
    caveats
        What a person should know, one sentence each.
    """

    path: Path
    kind: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    mode: int
    voxel_sizes: Triple
    origin: Triple
    start: tuple[int, int, int]
    stored: tuple[int, int, int]
    order: tuple[int, int, int]
    offset: int
    caveats: tuple[str, ...]

    @property
    def voxel_size(self) -> float:
        """Å, along x where the axes differ; 0 if the header does not say."""
        return self.voxel_sizes[2] if min(self.voxel_sizes) > 0 else 0.0

    @property
    def bytes_promised(self) -> int:
        """Size of a whole file with this header."""
        return self.offset + math.prod(self.stored) * self.dtype.itemsize

    def report(self) -> str:
        """Return the header as lines of text, caveats last."""
        z, y, x = self.shape
        voxel = f"{self.voxel_size:.4g} Å" if self.voxel_size else "not given"
        lines = [
            f"{self.path.name}",
            f"  format      {self.kind}, mode {self.mode} ({self.dtype.name})",
            f"  size        {x} × {y} × {z} voxels (x, y, z)",
            f"  voxel size  {voxel}",
            f"  origin      {_xyz(self.origin)} Å (x, y, z)",
        ]
        return "\n".join(lines + [f"  caveat      {caveat}" for caveat in self.caveats])


def read_header(path: Path | str) -> Header:
    """Read the header of an MRC file (.mrc .rec .map .ccp4 .st) or an EM file (.em), also gzipped.

    A voxel size of 0 is no error here: it becomes a caveat.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty, cut short, neither MRC nor EM, of a data type that no tomogram has, or a
        single image.
    """
    path = Path(path)
    head, size = _start_of_file(path)
    header = _em_header(path, head) if _is_em(path) else _mrc_header(path, head)
    if min(header.shape) < 2:
        z, y, x = header.shape
        raise ValueError(
            f"{path.name} is a 2-D image ({x} × {y} × {z} voxels); open a reconstructed volume"
        )
    if size is not None:
        check_length(header, size)
    return header


def check_length(header: Header, size: int) -> None:
    """Raise ValueError if ``size`` bytes are fewer than the header promises."""
    if size < header.bytes_promised:
        raise ValueError(
            f"{header.path.name} is cut short: the file has {size} bytes, its header promises "
            f"{header.bytes_promised}; copy or reconstruct it again"
        )


def _is_em(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".em")


def _start_of_file(path: Path) -> tuple[bytes, int | None]:
    """Return the first bytes and the size, which is None where only unpacking would tell."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name and the folder")
    packed = path.suffix.lower() == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(_MRC_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is no whole gzip file ({error}); copy it again") from error
    needed = _EM_BYTES if _is_em(path) else _MRC_BYTES
    if len(head) < needed:
        raise ValueError(
            f"{path.name} is no tomogram: it has {len(head)} bytes, a header alone has {needed}; "
            "copy it again or choose another file"
        )
    return head, None if packed else path.stat().st_size


def _mrc_header(path: Path, head: bytes) -> Header:
    fields, caveats = _mrc_fields(path, head)
    mode = int(fields["mode"])
    if mode in _MRC_REFUSED:
        raise ValueError(
            f"{path.name} holds {_MRC_REFUSED[mode]} (MRC mode {mode}), which are no grey values; "
            "convert it to mode 2 first"
        )
    stored = int(fields["nz"]), int(fields["ny"]), int(fields["nx"])
    if fields["ispg"] >= _FIRST_STACK_GROUP and 0 < fields["mz"] < stored[0]:
        raise ValueError(
            f"{path.name} is a stack of {stored[0] // int(fields['mz'])} volumes; "
            "save the one to open as a file of its own"
        )
    dtype = np.dtype(_MRC_TYPES[mode]).newbyteorder(fields.dtype["nx"].byteorder)
    if mode == 0:
        signed, why = _signed_bytes(fields)
        dtype = np.dtype("i1" if signed else "u1")
        caveats.append(f"Bytes (mode 0) are taken as {'' if signed else 'un'}signed: {why}.")

    axes = [int(fields[name]) for name in ("maps", "mapr", "mapc")]
    if sorted(axes) != [1, 2, 3]:
        caveats.append(f"The axis order {axes[::-1]} makes no sense: columns are taken as x.")
        axes = [3, 2, 1]
    z, y, x = (axes.index(axis) for axis in (3, 2, 1))
    if axes != [3, 2, 1]:
        caveats.append("The axes are stored in another order than x, y, z: transposed on opening.")
    start = tuple(int(fields[name]) for name in ("nzstart", "nystart", "nxstart"))
    shape = stored[z], stored[y], stored[x]
    voxel_sizes = _voxel_sizes(fields)
    origin = _zyx(fields["origin"])

    if any(start):
        caveats.append(
            f"The header counts voxels from {_xyz(start)} (x, y, z; nstart): ignored, coordinates "
            "count from the first voxel."
        )
    if any(origin):
        caveats.append(
            f"The origin is {_xyz(origin)} Å (x, y, z): ignored, coordinates count from the "
            "first voxel."
        )
    return Header(
        path=path,
        kind="MRC",
        shape=shape,
        dtype=dtype,
        mode=mode,
        voxel_sizes=voxel_sizes,
        origin=origin,
        start=(start[z], start[y], start[x]),
        stored=stored,
        order=(z, y, x),
        offset=_MRC_BYTES + int(fields["nsymbt"]),
        caveats=(*caveats, *_size_caveats(shape, voxel_sizes)),
    )


def _mrc_fields(path: Path, head: bytes) -> tuple[Any, list[str]]:
    """Return the header as a record in the byte order that makes sense of it, and caveats."""
    raw = np.frombuffer(head, HEADER_DTYPE, count=1)[0]
    caveats = []
    try:
        stamped = byte_order_from_machine_stamp(raw["machst"])
    except ValueError:
        caveats.append("The machine stamp is invalid: the byte order is a guess.")
        stamped = "<"
    if not raw["map"].startswith(b"MAP"):
        caveats.append("The MAP stamp is missing (an old file): check size and voxel size.")
    for order in (stamped, "<" if stamped == ">" else ">"):
        fields = np.frombuffer(head, HEADER_DTYPE.newbyteorder(order), count=1)[0]
        sides = [int(fields[name]) for name in ("nx", "ny", "nz")]
        known = int(fields["mode"]) in _MRC_TYPES | _MRC_REFUSED
        if known and min(sides) > 0 and max(sides) < _LARGEST_SIDE and fields["nsymbt"] >= 0:
            if order != stamped:
                caveats.append("The machine stamp names the wrong byte order: read the other way.")
            return fields, caveats
    raise ValueError(
        f"{path.name} is no MRC file: its first {_MRC_BYTES} bytes hold no sensible size and "
        "mode; choose a .mrc, .rec, .map, .ccp4, .st or .em file"
    )


def _signed_bytes(fields: Any) -> tuple[bool, str]:
    """Tell whether bytes are signed, and why: writers before MRC2014 did not agree."""
    words = fields["extra2"].tobytes()[40:48]
    stamp, flags = np.frombuffer(words, np.dtype("i4").newbyteorder(fields.dtype["nx"].byteorder))
    if stamp == _IMOD_STAMP:
        return bool(flags & 1), "IMOD's flag in the header says so"
    if fields["dmax"] > 127:
        return False, f"the header says that values reach {fields['dmax']:.4g}"
    return True, "the MRC2014 standard says so; if it looks torn, convert it to mode 2"


def _voxel_sizes(fields: Any) -> Triple:
    """Return cell length over grid size along z, y, x, Å; 0 where that is no length."""
    with np.errstate(divide="ignore", invalid="ignore"):
        grid = np.array([fields[name] for name in ("mz", "my", "mx")], dtype=np.float64)
        sizes = np.array(_zyx(fields["cella"])) / grid
    z, y, x = np.where(np.isfinite(sizes) & (sizes > 0), sizes, 0.0)
    return float(z), float(y), float(x)


def _em_header(path: Path, head: bytes) -> Header:
    machine, code = head[0], head[3]
    # TOM writes 6 for PCs and 1 for VAX; all its other machines are big-endian.
    order = "<" if machine in (1, 6) else ">"
    x, y, z = (int(n) for n in np.frombuffer(head, f"{order}i4", count=3, offset=4))
    if code not in _EM_TYPES or not all(0 < n < _LARGEST_SIDE for n in (x, y, z)):
        raise ValueError(
            f"{path.name} is no EM volume: its header says data type {code} and {x} × {y} × {z} "
            "voxels; choose another file or convert it to MRC"
        )
    sizes = (0.0, 0.0, 0.0)
    return Header(
        path=path,
        kind="EM",
        shape=(z, y, x),
        dtype=np.dtype(f"{order}{_EM_TYPES[code]}"),
        mode=code,
        voxel_sizes=sizes,
        origin=(0.0, 0.0, 0.0),
        start=(0, 0, 0),
        stored=(z, y, x),
        order=(0, 1, 2),
        offset=_EM_BYTES,
        caveats=_size_caveats((z, y, x), sizes),
    )


def _size_caveats(shape: tuple[int, int, int], voxel_sizes: Triple) -> tuple[str, ...]:
    caveats = []
    if min(voxel_sizes) == 0:
        caveats.append("The header says voxel size 0: give it in Å.")
    elif max(voxel_sizes) > 1.001 * min(voxel_sizes):
        caveats.append(
            f"The voxel size differs between the axes, {_xyz(voxel_sizes)} Å (x, y, z): "
            "that of x is used for all; the volume may have been trimmed."
        )
    elif voxel_sizes == (1.0, 1.0, 1.0):
        caveats.append("The header says voxel size 1 Å, which is often a place-holder: check it.")
    if shape[0] > shape[1]:
        caveats.append(
            f"There are more voxels along z ({shape[0]}) than along y ({shape[1]}): the specimen "
            "may stand upright (IMOD's trimvol -rx lays it flat)."
        )
    return tuple(caveats)


def _zyx(vector: Any) -> Triple:
    return float(vector["z"]), float(vector["y"]), float(vector["x"])


def _xyz(zyx: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in zyx[::-1])
