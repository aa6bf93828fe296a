"""Particle lists of Warp and M.

Warp counts in pixels of a size of its own, 0-based from the centre of the first; M counts in Å from
the same point; Warp's template matching from 0 to 1 along each side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.types import Particles

from .base import Format, Head, ListContext
from .columns import positive
from .relion import checked_names, describe
from .relion_reading import ANGLES, CORNER, particles_in
from .star import labels, read_star, star_text
from .tilt_series import tilt_series

_TILT_SERIES = ".tomostar"
_M_COLUMNS = {
    **dict(zip([f"wrpCoordinate{axis}1" for axis in "XYZ"], CORNER, strict=True)),
    **dict(zip([f"wrpAngle{name}1" for name in ("Rot", "Tilt", "Psi")], ANGLES, strict=True)),
    "wrpSourceName": "rlnMicrographName",
}
"""Of the first pose of each particle; M may know how it moved from there."""
_OF_SUBTOMOGRAMS = {"rlnMagnification", "rlnDetectorPixelSize", "rlnCtfImage"}
"""In lists of Warp before WarpTools, whose tomograms may be named by their .mrc."""


def read_warp(path: Path, context: ListContext) -> Particles:
    """Read a list of Warp, WarpTools or M; names of tilt series lose their ``.tomostar``.

    The size of a pixel is that of ``context.list_voxel_size``, else what the list says
    (``rlnPixelSize``, ``rlnDetectorPixelSize`` with ``rlnMagnification``, or the optics group),
    else that of the tomogram. With ``context.normalised`` it counts from 0 to 1.

    Raises
    ------
    ValueError
        If columns are missing, a number is not one, the list has pixels of two sizes, looks
        normalised without being said to be, or the context lacks what is needed.
    """
    blocks = {name: table.rename(columns=_M_COLUMNS) for name, table in read_star(path).items()}
    if context.list_voxel_size is None and not context.normalised:
        context = replace(context, list_voxel_size=_pixel_size(path, blocks))
    particles = particles_in(blocks, path, context, frame="voxels")
    names = pd.Series(particles.tomogram).str.removesuffix(_TILT_SERIES).to_numpy(dtype=object)
    particles = particles.replace(tomogram=names)
    if context.normalised:
        return particles.replace(positions=_spread(particles, context, path))
    # A list of which all is in the first voxel is none.
    within = (particles.positions >= 0) & (particles.positions <= 1)
    if context.list_voxel_size is None and len(particles) > 1 and within.all():
        raise ValueError(
            f"all {len(particles)} positions of {path.name} lie between 0 and 1, as in lists of "
            "Warp's template matching; say that it is normalised"
        )
    return particles


def write_warp(path: Path, particles: Particles, context: ListContext) -> list[str]:
    """Write what ``WarpTools ts_export_particles`` takes: one block, named by tilt series.

    Positions are in pixels of ``context.list_voxel_size``, else in voxels of the tomogram; their
    size, if known, is ``rlnPixelSize``.
    """
    scale = context.list_scale(path)
    pixel_size = context.list_voxel_size or context.voxel_size
    names = pd.Series(checked_names(particles)).str.removesuffix(_TILT_SERIES) + _TILT_SERIES
    table = pd.DataFrame(particles.positions[:, ::-1] / scale, columns=CORNER)
    table["rlnMicrographName"] = names
    if pixel_size is not None:
        table["rlnPixelSize"] = pixel_size
    classes, said = describe(table, particles)
    write_text(path, star_text({"": table}, classes))
    size = "the voxel size of the tomogram" if pixel_size is None else f"{pixel_size:.6g}"
    said.append(f"Give WarpTools ts_export_particles --coords_angpix {size} for this list.")
    if spaced := [name for name in names.unique() if " " in name]:
        said.append(f"Warp reads no further than a name with spaces, such as {spaced[0]!r}.")
    return said


def _pixel_size(path: Path, blocks: Mapping[str, pd.DataFrame]) -> float | None:
    """Return Å a pixel that the list counts in; None if it does not say."""
    for table in blocks.values():
        if "wrpSourceHash" in table:
            return 1.0
        if "rlnPixelSize" in table:
            sizes = positive(table, ["rlnPixelSize"], path)[:, 0]
        elif {"rlnDetectorPixelSize", "rlnMagnification"} <= set(table):
            # RELION 3 and before: µm of the detector, magnified.
            detector, magnification = positive(
                table, ["rlnDetectorPixelSize", "rlnMagnification"], path
            ).T
            sizes = 1e4 * detector / magnification
        elif "rlnImagePixelSize" in table:
            sizes = positive(table, ["rlnImagePixelSize"], path)[:, 0]
        else:
            continue
        if np.ptp(sizes) > 1e-6 * sizes.max():
            raise ValueError(
                f"{path.name} counts in pixels of {sizes.min():g} to {sizes.max():g} Å; split it "
                "into lists of one pixel size each"
            )
        return float(sizes[0])
    return None


def _spread(particles: Particles, context: ListContext, path: Path) -> npt.NDArray[np.float64]:
    """Return zyx voxels of positions from 0 to 1: the centres of the first and last pixel."""
    series = tilt_series(particles.tomogram, context, path)
    last = {}
    for name, one in series.items():
        if one.shape is None:
            raise ValueError(
                f"{path.name} counts from 0 to 1 in {name!r}, whose size is unknown; give the "
                "tomogram or its unbinned size"
            )
        last[name] = (np.array(one.shape) - 1) * one.pixel_size
    sides = np.array([last[name] for name in particles.tomogram])
    spread: npt.NDArray[np.float64] = particles.positions * sides
    return spread / context.need_voxel_size(path, "counts from 0 to 1")


def _recognises(head: Head) -> bool:
    found = labels(head.text)
    named = "rlnMicrographName" in found and _TILT_SERIES in head.text
    return "wrpCoordinateZ1" in found or (
        set(CORNER) <= found and (named or found >= _OF_SUBTOMOGRAMS)
    )


WARP = Format(
    name="warp",
    title="Warp, M",
    suffix=".star",
    reader=read_warp,
    writer=write_warp,
    recognises=_recognises,
    holds=frozenset({"class", "score", "orientation", "tomogram"}),
    notes=(
        "Pixels from the centre of the first. For WarpTools ts_export_particles; M takes what that "
        "exports. Tilt series must be named as in Warp."
    ),
)
