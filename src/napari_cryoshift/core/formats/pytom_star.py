"""Candidates of pytom-match-pick, as its ``pytom_extract_candidates.py`` writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext, same_voxel_size
from .columns import positive
from .relion import checked_names, describe
from .relion_reading import CENTRED, CORNER, NO_SCORE, particles_in
from .star import labels, read_star, star_text

_SCORE = "rlnLCCmax"
_VOXEL_SIZE = "rlnDetectorPixelSize"


def read_pytom_star(path: Path, context: ListContext) -> Particles:
    """Read candidates in voxels of the tomogram, or of ``--relion5-compat`` in Å from its centre.

    That centre is half the size of the tomogram that was searched; with ``context.centre`` "picker"
    it is half the unbinned size less one pixel, as later versions have it. Names lose the ``rec_``
    that RELION 5 puts before those of its tomograms.

    Raises
    ------
    ValueError
        If columns are missing, a number is not one, or the context lacks what is needed.
    """
    blocks = read_star(path)
    if any(set(CENTRED) <= set(table) for table in blocks.values()):
        if context.centre == "relion":
            context = replace(context, binning=1.0, unbinned_shape=None, tomograms_star=None)
        particles = particles_in(blocks, path, context, frame="centred")
    else:
        context = replace(context, list_voxel_size=_voxel_size(blocks, path, context))
        particles = particles_in(blocks, path, context, frame="voxels")
    names = pd.Series(particles.tomogram).str.removeprefix("rec_").to_numpy(dtype=object)
    return particles.replace(tomogram=names)


def write_pytom_star(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write positions in voxels of the tomogram, with the score as ``rlnLCCmax``."""
    names = checked_names(particles)
    xyz = particles.positions[:, ::-1] / context.list_scale(path)
    table = pd.DataFrame(xyz, columns=CORNER).assign(**{_SCORE: NO_SCORE})
    classes, said = describe(table, particles, score=_SCORE)
    if (voxel_size := context.list_voxel_size or context.voxel_size) is not None:
        table[_VOXEL_SIZE] = voxel_size
    table["rlnMicrographName"] = names
    write_text(path, star_text({"particles": table}, classes))
    return said


def _voxel_size(blocks: dict[str, pd.DataFrame], path: Path, context: ListContext) -> float | None:
    """Return Å a voxel that the list counts in; None if that is the tomogram's."""
    if context.list_voxel_size is not None or context.voxel_size is None:
        return context.list_voxel_size
    for table in blocks.values():
        if _VOXEL_SIZE in table:
            sizes = positive(table, [_VOXEL_SIZE], path)[:, 0]
            if np.ptp(sizes):
                raise ValueError(
                    f"{path.name} counts in voxels of {sizes.min():g} to {sizes.max():g} Å; split "
                    "it into lists of one voxel size each"
                )
            if not same_voxel_size(sizes[0], context.voxel_size):
                return float(sizes[0])
    return None


def _recognises(head: Head) -> bool:
    found = labels(head.text)
    return _SCORE in found and bool({CORNER[2], CENTRED[2]} & found)


PYTOM_STAR = Format(
    name="pytom_star",
    title="pytom-match-pick",
    suffix=".star",
    reader=read_pytom_star,
    writer=write_pytom_star,
    recognises=_recognises,
    holds=frozenset({"class", "score", "orientation", "tomogram"}),
    notes="Voxels of the tomogram, 0-based; the score is rlnLCCmax.",
)
