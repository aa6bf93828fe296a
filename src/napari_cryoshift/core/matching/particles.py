"""A structure fitted into particles of which the place is known, about."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.volumes import crop

from .correlate import MatchParams, align

PER_DETAIL = 2.5
"""Voxels along the finest detail that is compared."""


def match_particles(
    tomogram: Tomogram,
    particles: Particles,
    structure: Structure,
    params: MatchParams = MatchParams(shift=60.0),  # noqa: B008 (frozen)
) -> Job[Particles]:
    """Fit a structure into particles: how well it fits, where, and in which orientation.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        Positions in its voxels.
    structure
        What may be there.
    params
        How it is compared.

    Returns
    -------
    Particles
        The same rows, moved to the best place, with orientation, and the correlation as score. One
        that would leave the tomogram stays where it is.

    Raises
    ------
    ValueError
        If a position lies outside the tomogram.
    """
    voxel_size = params.resolution / PER_DETAIL
    box = box_for(structure.diameter + 2 * params.shift, voxel_size)
    fit = yield from align(
        crop(tomogram, particles, box=box, voxel_size=voxel_size), structure, params
    )
    return moved(tomogram, particles, fit.shifts.astype(np.float64)).replace(
        score=fit.score.astype(np.float64), orientations=fit.rotations.astype(np.float64)
    )


def box_for(width: float, voxel_size: float) -> int:
    """Return the even number of voxels that holds a width, both Å."""
    return 2 * math.ceil(width / voxel_size / 2)


def moved(tomogram: Tomogram, particles: Particles, shifts: npt.NDArray[np.float64]) -> Particles:
    """Particles moved by shifts (n, 3) zyx in Å, but for those that would leave the tomogram."""
    positions = particles.positions + shifts / tomogram.voxel_size
    beyond = np.any((positions < -0.5) | (positions > np.array(tomogram.shape) - 0.5), axis=1)
    positions[beyond] = particles.positions[beyond]
    return particles.replace(positions=positions)
