"""A tomogram as an image layer, and back: scale and unit in Å, axes z, y, x."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from napari.layers import Image

from napari_cryoshift.core.types import Tomogram

_SIGMAS = 4.5
"""Grey limits on either side, in standard deviations: noise stays in the middle greys."""

_SEEN = 192
"""Voxels either side of the middle that the grey limits are taken from."""

AXES = ("z", "y", "x")


def space(voxel_size: float) -> dict[str, Any]:
    """Return the arguments that put a layer in Å; a size that is not known counts as 1 Å."""
    return {
        "scale": (voxel_size if voxel_size > 0 else 1.0,) * 3,
        "units": ("angstrom",) * 3,
        "axis_labels": AXES,
    }


def tomogram_from(layer: Image) -> Tomogram:
    """Make a tomogram from an image layer that is open.

    Raises
    ------
    ValueError
        If it is not three-dimensional, or its voxels are not cubes.
    """
    if layer.rgb or layer.ndim != 3:
        raise ValueError(
            f"the layer {layer.name!r} has {layer.ndim} dimensions; choose a layer with z, y and x"
        )
    to_angstrom = [
        float((1 * unit).to("angstrom").magnitude) if _is_length(unit) else 1.0
        for unit in layer.units
    ]
    sizes = np.asarray(layer.scale) * to_angstrom
    if np.ptp(sizes) > 0.01 * sizes.max():
        raise ValueError(
            f"the voxels of {layer.name!r} are {sizes[0]:g} × {sizes[1]:g} × {sizes[2]:g} Å; "
            "resample them to cubes first"
        )
    read = layer.metadata.get("tomogram")
    if isinstance(read, Tomogram):  # our reader keeps what the header says
        return dataclasses.replace(read, voxel_size=float(sizes[0]))
    data = layer.data[0] if layer.multiscale else layer.data
    return Tomogram(data=data, voxel_size=float(sizes[0]), name=layer.name)


def _is_length(unit: Any) -> bool:
    return bool((1 * unit).check("[length]"))


def contrast(data: Any, slab: int = 1) -> tuple[float, float]:
    """Return grey limits for looking at slabs of so many sections, robust to bright specks."""
    depth, *wide = data.shape
    # The middle is enough, and a tomogram on the disk is read where it is looked at.
    rows, columns = (slice(max(n // 2 - _SEEN, 0), n // 2 + _SEEN) for n in wide)
    seen = []
    for middle in (depth // 3, depth // 2, 2 * depth // 3):
        first = max(middle - slab // 2, 0)
        part = np.asarray(data[first : first + max(slab, 1), rows, columns], np.float32)
        seen.append(part.mean(axis=0).ravel())
    sample = np.concatenate(seen)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, middle, high = np.percentile(sample, (16, 50, 84))
    reach = _SIGMAS * (high - low) / 2
    return (
        (float(middle - reach), float(middle + reach))
        if reach > 0
        else (float(middle), float(middle) + 1)
    )
