"""What a density is: the scattering of a particle in a box.

A density is a (n, n, n) zyx array of electron scattering per volume, Å/Å³: its sum times the
volume of a voxel is the scattering amplitude of the particle in the forward direction, so a large
complex gives more signal than a small one. Its centre of mass lies at index n // 2 of each axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SIGMA_PER_RESOLUTION = 0.225
"""Width of the Gaussian of a resolution: its transform falls to 1/e at 1/resolution."""

SCATTERING_PER_DALTON = 0.166
"""Å/Da of protein without its hydrogens (4.9 C, 1.35 N, 1.5 O in 111 Da a residue)."""

_INSIDE = 0.995

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Density:
    """A density and what is known of the particle.

    Attributes
    ----------
    values
        (n, n, n) float32 zyx, Å/Å³, n even, centre of mass at index n // 2.
    voxel_size
        Å.
    mass_kda
        kDa.
    diameter
        Å; the sphere around the centre of mass that holds 99.5 % of the scattering.
    """

    values: FloatArray
    voxel_size: float
    mass_kda: float
    diameter: float


def check_voxel_size(voxel_size: float) -> None:
    """Raise ValueError unless a voxel size in Å is positive."""
    if not voxel_size > 0:
        raise ValueError(f"the voxel size is {voxel_size:g} Å; give a positive one")


def box_side(radius: float, voxel_size: float) -> int:
    """Return the even side, in voxels, of a box that holds a radius in Å."""
    return 2 * int(np.ceil(radius / voxel_size))


def enclosing_radius(offsets: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    """Return the distance in Å from the centre that holds 99.5 % of the weight."""
    distance = np.linalg.norm(offsets, axis=1)
    order = np.argsort(distance)
    inside = np.searchsorted(np.cumsum(weights[order]), _INSIDE * weights.sum())
    return float(distance[order[min(inside, len(order) - 1)]])
