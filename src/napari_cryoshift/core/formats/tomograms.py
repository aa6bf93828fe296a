"""Which tomogram the particles of a list are in, and whether they are inside of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.types import Particles

from .base import ListContext

_DECORATION = re.compile(
    r"^rec_|_\d+(\.\d+)?Apx$|\.(tomostar|mrc|rec|map|ccp4|st|em|gz)$", re.IGNORECASE
)


def in_tomogram(particles: Particles, context: ListContext) -> Particles:
    """Put the particles that are in no tomogram into that of the context."""
    names = np.where(particles.tomogram == "", context.tomogram, particles.tomogram)
    return particles.replace(tomogram=names.astype(object))


def rows_of(name: str, particles: Particles, path: Path) -> npt.NDArray[np.bool_]:
    """Tell which particles of a list are in the tomogram of this name.

    Raises
    ------
    ValueError
        If none is.
    """
    rows = particles.tomogram == name
    if not rows.any():
        same = [other for other in set(particles.tomogram) if same_tomogram(name, other)]
        rows = np.isin(particles.tomogram.astype(str), same)
    if not rows.any():
        found = ", ".join(sorted(set(particles.tomogram))[:5])
        raise ValueError(
            f"{path.name} has no particle in {name!r}, its tomograms are {found}; choose one of "
            "these, or rename the tomogram"
        )
    return np.asarray(rows, dtype=bool)


def check_inside(particles: Particles, context: ListContext, path: Path) -> None:
    """Raise ValueError if most particles of a list lie outside the one tomogram that it covers."""
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
