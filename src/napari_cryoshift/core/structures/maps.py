"""A map, e.g. from the EMDB → a density."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
from scipy import ndimage

from .density import (
    SCATTERING_PER_DALTON,
    SIGMA_PER_RESOLUTION,
    Density,
    FloatArray,
    box_side,
    check_voxel_size,
    enclosing_radius,
)

_PROTEIN_VOLUME = 1.21
"""Å³/Da (Harpaz, Gerstein & Chothia 1994)."""


def read_map(
    path: Path | str,
    voxel_size: float,
    *,
    threshold: float | None = None,
    map_voxel_size: float | None = None,
    resolution: float | None = None,
) -> Density:
    """Compute the density, mass and diameter of a map in MRC or CCP4 format, e.g. from the EMDB.

    The median of the map, which is solvent, is subtracted, what lies below the threshold becomes
    zero, and the rest is scaled to the scattering of protein of the volume above the threshold.

    Parameters
    ----------
    path
        The file (.mrc, .map, .ccp4, gzipped or not), protein positive.
    voxel_size
        Å, of the result.
    threshold
        Contour level in grey values of the map; by default the median plus three standard
        deviations of the map.
    map_voxel_size
        Å, where the header is wrong.
    resolution
        Å, by default twice the voxel size; the map is blurred to it.

    Raises
    ------
    ValueError
        If the file is missing, is no map, has no voxel size, or nothing lies above the threshold.
    """
    check_voxel_size(voxel_size)
    grey, spacing = _read_grid(Path(path), map_voxel_size)
    background = float(np.median(grey))
    if threshold is None:
        threshold = background + 3 * float(grey.std())
    solid = np.where(grey > threshold, grey - background, 0).astype(np.float32)
    occupied = np.argwhere(solid > 0)
    if len(occupied) == 0:
        raise ValueError(
            f"no voxel of {Path(path).name} lies above {threshold:g}; "
            "give a lower threshold, or invert the map if its protein is dark"
        )
    weights = solid[tuple(occupied.T)].astype(np.float64)
    centre = np.average(occupied, axis=0, weights=weights)
    radius = enclosing_radius((occupied - centre) * spacing, weights)
    mass = len(occupied) * spacing**3 / _PROTEIN_VOLUME
    scale = mass * SCATTERING_PER_DALTON / (weights.sum() * spacing**3)
    resolution = resolution or 2 * voxel_size
    size = box_side(radius + resolution, voxel_size)
    # Blurring before the sampling, not after, keeps the fine detail of the map from aliasing.
    blurred = ndimage.gaussian_filter(
        solid, SIGMA_PER_RESOLUTION * resolution / spacing, mode="constant"
    )
    step = voxel_size / spacing
    values = ndimage.affine_transform(
        blurred, np.full(3, step), centre - step * (size // 2), (size,) * 3, order=1
    )
    return Density(
        values=(scale * values).astype(np.float32),
        voxel_size=voxel_size,
        mass_kda=mass / 1000,
        diameter=2 * radius,
    )


def _read_grid(path: Path, voxel_size: float | None) -> tuple[FloatArray, float]:
    """Read a map as a zyx array with its voxel size in Å."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; check its name")
    try:
        # Permissive, for many maps that other programs read lack the magic word of the format.
        with mrcfile.open(path, permissive=True) as mrc:
            if mrc.data is None:
                raise ValueError("its size does not fit its header")
            stored = np.array(mrc.data, dtype=np.float32)
            axes = [int(mrc.header[name]) for name in ("maps", "mapr", "mapc")]
            header = [float(mrc.voxel_size[axis]) for axis in "zyx"]
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path.name} could not be read as a map ({error}); give a file in MRC or CCP4 format"
        ) from error
    if stored.ndim != 3 or not np.isfinite(stored).all():
        raise ValueError(
            f"{path.name} has {stored.ndim} dimensions or values that are not finite; "
            "give a map of three dimensions with finite values"
        )
    if sorted(axes) == [1, 2, 3]:
        # Array axes hold the crystal axes in the order the header says; 1 is x.
        stored = np.transpose(stored, [axes.index(wanted) for wanted in (3, 2, 1)])
    spacing = voxel_size or header[0]
    if not spacing > 0:
        raise ValueError(f"the header of {path.name} says voxel size {spacing:g} Å; give the size")
    if voxel_size is None and not np.allclose(header, spacing, rtol=1e-2):
        raise ValueError(
            f"the voxels of {path.name} are {header[0]:g} × {header[1]:g} × {header[2]:g} Å; "
            "resample the map to cubic voxels"
        )
    return stored, spacing
