"""Tomograms on disk: opened without being read, checked, and written back whole."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from .files import replacing
from .headers import Header, check_length, read_header
from .types import Tomogram

__all__ = [
    "SUFFIXES",
    "Header",
    "check_values",
    "guess_dark",
    "open_tomogram",
    "read_header",
    "save_volume",
    "tomogram_name",
]

SUFFIXES = (".mrc", ".rec", ".map", ".ccp4", ".st", ".em")
"""Of the volumes that can be opened; each also with .gz behind it."""

_PARTICLE_SIGMA = 60.0
"""Å. Of the Gaussian that brings out particles of 150 to 400 Å in `guess_dark`."""


def open_tomogram(
    path: Path | str,
    *,
    voxel_size: float | None = None,
    dark: bool = True,
    name: str | None = None,
) -> Tomogram:
    """Open an MRC or EM file, memory-mapped; a gzipped one is unpacked into memory.

    No values are read, so that a file of any size opens at once. They keep the type and the byte
    order of the file; convert what you slice.

    Parameters
    ----------
    path
        .mrc .rec .map .ccp4 .st (modes 0, 1, 2, 6, 12) or .em, each also with .gz.
    voxel_size
        Å; None to believe the header.
    dark
        True if particles are darker than their surroundings.
    name
        As in particle lists; None for the file's name without its suffix.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As `read_header` does, or if neither the header nor ``voxel_size`` gives a voxel size.
    """
    path = Path(path)
    header = read_header(path)
    size = header.voxel_size if voxel_size is None else voxel_size
    if voxel_size is None and size == 0:
        raise ValueError(
            f"{path.name}: its header says voxel size 0; give the voxel size in Å (--voxel-size)"
        )
    if not (math.isfinite(size) and size > 0):
        raise ValueError(f"the voxel size of {path.name} is {size:g} Å; give a positive one")
    caveats = header.caveats
    if header.voxel_size and not math.isclose(size, header.voxel_size, rel_tol=1e-3):
        caveats += (f"The header says {header.voxel_size:.4g} Å, but {size:.4g} Å was given.",)
    return Tomogram(
        data=_values(header).transpose(header.order),
        voxel_size=float(size),
        name=tomogram_name(path) if name is None else name,
        dark=dark,
        path=path,
        caveats=caveats,
    )


def tomogram_name(path: Path | str) -> str:
    """Return the name of a file without the suffix of a volume, for particle lists."""
    name = Path(path).name
    plain = name[:-3] if name.lower().endswith(".gz") else name
    return plain[: -len(Path(plain).suffix)] if plain.lower().endswith(SUFFIXES) else plain


def check_values(tomogram: Tomogram) -> None:
    """Check that there is something to see; sections are read until one of them varies.

    Raises
    ------
    ValueError
        If all values are equal, or none is a number.
    """
    middle = tomogram.shape[0] // 2
    seen = np.empty(0)
    for z in sorted(range(tomogram.shape[0]), key=lambda z: abs(z - middle)):
        section = np.asarray(tomogram.data[z], dtype=np.float32)
        values = section[np.isfinite(section)]
        if values.size:
            seen = np.array([*seen, values.min(), values.max()])
            if seen.max() > seen.min():
                return
    what = f"every voxel is {seen[0]:g}" if seen.size else "no voxel holds a number (all NaN)"
    raise ValueError(f"{tomogram.name} is blank: {what}; check how it was reconstructed or copied")


def guess_dark(tomogram: Tomogram) -> bool:
    """Guess from a few slabs whether particles are darker than their surroundings.

    Particles are sparse, so that they stretch one tail of the band-passed values: their 2nd or
    their 98th percentile lies further from the median. Gold beads fill fewer voxels than that. A
    guess only: ask the person.
    """
    sigma = float(np.clip(_PARTICLE_SIGMA / tomogram.voxel_size, 1, 6))
    reach = math.ceil(5 * sigma)
    depth, height, width = tomogram.shape
    rows, columns = (slice(max(0, n // 2 - 256), n // 2 + 256) for n in (height, width))
    skewness = []
    for z in (int(depth * fraction) for fraction in (0.3, 0.4, 0.5, 0.6, 0.7)):
        first = max(0, z - reach)
        slab = np.asarray(tomogram.data[first : z + reach + 1, rows, columns], dtype=np.float32)
        numbers = np.isfinite(slab)
        slab = np.where(numbers, slab, slab[numbers].mean() if numbers.any() else 0)
        fine, coarse = (_smooth_section(slab, z - first, s) for s in (sigma, 1.6 * sigma))
        low, middle, high = np.percentile(fine - coarse, (2, 50, 98))
        skewness.append((low + high - 2 * middle) / max(high - low, 1e-12))
    return float(np.median(skewness)) <= 0


def save_volume(path: Path | str, data: npt.ArrayLike, voxel_size: float) -> None:
    """Write a volume as an MRC file, whole or not at all.

    Parameters
    ----------
    path
        Ends in .mrc, or in .mrc.gz to pack it.
    data
        (z, y, x); int8, int16, uint16, float16 and float32 are kept, all else becomes float32.
    voxel_size
        Å.

    Raises
    ------
    OSError
        If it cannot be written; a file that was there before is unchanged.
    """
    volume = np.asarray(data)
    if volume.dtype.newbyteorder("=").name not in ("int8", "int16", "uint16", "float16"):
        volume = volume.astype(np.float32, copy=False)
    with replacing(path) as scratch:
        mrcfile.write(scratch, volume, voxel_size=voxel_size)


def _smooth_section(slab: npt.NDArray[np.float32], z: int, sigma: float) -> npt.NDArray[np.float32]:
    """Return one section of a slab after a Gaussian in three dimensions, sigma in voxels."""
    weights = np.exp(-0.5 * ((np.arange(len(slab)) - z) / sigma) ** 2).astype(np.float32)
    section = np.tensordot(weights / weights.sum(), slab, 1)
    return np.asarray(gaussian_filter(section, sigma), dtype=np.float32)


def _values(header: Header) -> npt.NDArray[np.generic]:
    """Return the values in the order of the file."""
    if header.path.suffix.lower() != ".gz":
        return np.memmap(
            header.path, header.dtype, mode="r", offset=header.offset, shape=header.stored
        )
    try:
        with gzip.open(header.path) as file:
            unpacked = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{header.path.name} is no whole gzip file ({error}); copy it again"
        ) from error
    check_length(header, len(unpacked))
    count = math.prod(header.stored)
    flat = np.frombuffer(unpacked, header.dtype, count=count, offset=header.offset)
    return flat.reshape(header.stored)
