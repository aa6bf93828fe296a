"""The specimen of a crowded tomogram: particles, vesicles and gold beads in one volume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.structures.density import SIGMA_PER_RESOLUTION
from napari_cryoshift.core.volumes import sample_rotated

from .packing import Shell

BEAD_RADIUS = 50.0
"""Å, of a gold bead."""

MEMBRANE_THICKNESS = 60.0
"""Å, head groups included."""

_GOLD = 0.62
"""Å/Å³: 0.059 atoms/Å³ of forward scattering 10.6 Å."""

_HEAD_GROUPS = 0.10
"""Å/Å³, at the two peaks of a bilayer."""
_HEAD_GROUP_DEPTH = 20.0
_HEAD_GROUP_SIGMA = 6.0

FloatArray = npt.NDArray[np.float64]


def add_particles(
    volume: torch.Tensor,
    structure: Structure,
    centres: FloatArray,
    rotations: torch.Tensor,
    *,
    voxel_size: float,
) -> None:
    """Add rotated copies of one structure to a volume, in place and on its absolute scale.

    Parameters
    ----------
    volume
        (z, y, x), Å/Å³; every particle lies inside.
    structure
        What to add.
    centres
        (n, 3) zyx voxels, of the centres of mass.
    rotations
        (n, 3, 3) active, acting on xyz.
    voxel_size
        Å, of the volume.
    """
    step = voxel_size / structure.voxel_size
    # Sampling at a coarser step needs the blur of that step first.
    sigma = 2 * SIGMA_PER_RESOLUTION * np.sqrt(max(step**2 - 1, 0))
    density = torch.from_numpy(ndimage.gaussian_filter(structure.density, sigma, mode="constant"))
    box = 2 * (int(np.ceil(structure.diameter / 2 / voxel_size)) + 2)
    whole = np.rint(centres).astype(np.int64)
    for centre, base, rotation in zip(centres, whole, rotations, strict=True):
        shift = torch.from_numpy((centre - base)[None]).float()
        particle = sample_rotated(density, rotation[None], box=box, step=step, shifts=shift)[0]
        corner = base - box // 2
        start = np.maximum(corner, 0)
        stop = np.minimum(corner + box, volume.shape)
        inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        held = tuple(slice(a, b) for a, b in zip(start - corner, stop - corner, strict=True))
        volume[inside] += particle[held]


def add_vesicle(volume: torch.Tensor, shell: Shell, *, voxel_size: float) -> None:
    """Add a lipid bilayer in the form of a sphere: two Gaussian layers of head groups."""
    sigma = np.hypot(_HEAD_GROUP_SIGMA, _blur(voxel_size))
    depth = _distance(volume, shell.centre, voxel_size) - shell.radius
    layers = torch.exp(-0.5 * ((depth.abs() - _HEAD_GROUP_DEPTH) / sigma) ** 2)
    volume += float(_HEAD_GROUPS * _HEAD_GROUP_SIGMA / sigma) * layers


def add_bead(volume: torch.Tensor, centre: FloatArray, *, voxel_size: float) -> None:
    """Add a ball of gold with its centre (zyx) in Å."""
    depth = _distance(volume, centre, voxel_size) - BEAD_RADIUS
    volume += _GOLD * torch.special.ndtr(-depth / _blur(voxel_size))


def _blur(voxel_size: float) -> float:
    """Width in Å of the Gaussian of a resolution of twice the voxel size."""
    return 2 * SIGMA_PER_RESOLUTION * voxel_size


def _distance(volume: torch.Tensor, centre: FloatArray, voxel_size: float) -> torch.Tensor:
    """Distance in Å of every voxel from a point (zyx, Å)."""
    z, y, x = (
        (torch.arange(n, dtype=torch.float32) * voxel_size - float(at)) ** 2
        for n, at in zip(volume.shape, centre, strict=True)
    )
    return torch.sqrt(z[:, None, None] + y[:, None] + x)
