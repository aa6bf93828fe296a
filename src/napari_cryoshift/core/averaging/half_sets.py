"""The mean of particles as that of two half sets, which are aligned apart from each other."""

from __future__ import annotations

import numpy as np
import torch

from napari_cryoshift.core.matching import PER_DETAIL, Fit, box_for, computing_device
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram
from napari_cryoshift.core.volumes import crop

from .alignment import Alignment
from .params import AveragingParams
from .result import Average

_VOXELS_PER_DETAIL = 3.0
"""Along the finest detail of the mean: enough to look at it."""

_READ = 64


def average_particles(
    tomogram: Tomogram,
    particles: Particles,
    params: AveragingParams = AveragingParams(),  # noqa: B008 (frozen)
    *,
    start: Structure | Fit | None = None,
    device: torch.device | str | None = None,
) -> Job[Average]:
    """Align particles of a tomogram to their mean.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        Of one kind. Their orientations, if they have any, are the start where no other is given.
    params
        A resolution finer than 2.5 voxels of the tomogram becomes that.
    start, device
        As in `average`.

    Raises
    ------
    ValueError
        If a position lies outside the tomogram, or as `average` does.
    """
    resolution = max(params.resolution, PER_DETAIL * tomogram.voxel_size)
    voxel_size = resolution / _VOXELS_PER_DETAIL
    box = box_for(params.diameter + 2 * params.shift, voxel_size) + 2
    volumes = crop(tomogram, particles, box=box, voxel_size=voxel_size)
    if start is None and particles.orientations is not None:
        start = Fit.of_rotations(particles.orientations)
    params = params.model_copy(update={"resolution": resolution})
    return (yield from average(volumes, params, start=start, device=device))


def average(
    volumes: Subtomograms,
    params: AveragingParams = AveragingParams(),  # noqa: B008 (frozen)
    *,
    start: Structure | Fit | None = None,
    device: torch.device | str | None = None,
) -> Job[Average]:
    """Align volumes of one kind of particle to their mean.

    The first reference is the structure given, low-passed; or, for each half set by itself, its
    mean in the orientations and places given; or, from nothing, that one of a few of its particles
    onto which the others fit best. In the last case the halves come to lie differently, and are
    turned onto each other in the end.

    Parameters
    ----------
    volumes
        n of them, which are held in memory.
    params
        How.
    start
        A structure to begin with, or how each volume lies.
    device
        Where it is computed; by default the accelerator that was found.

    Raises
    ------
    ValueError
        If there are fewer than 4 volumes, they are smaller than the diameter, or not as many as
        the orientations, or there are none of these and no rounds.
    """
    n, width = len(volumes), volumes.box * volumes.voxel_size
    if n < 4:
        raise ValueError(f"{n} particles cannot be split into half sets; give at least 4")
    if params.diameter > width:
        raise ValueError(
            f"the particles are {params.diameter:.0f} Å wide but the boxes only {width:.0f} Å; "
            "give larger boxes or a smaller diameter"
        )
    if isinstance(start, Fit) and len(start.rotations) != n:
        raise ValueError(
            f"{n} particles but {len(start.rotations)} orientations; give one a particle"
        )
    if params.rounds == 0 and not isinstance(start, Fit):
        raise ValueError("0 rounds and no orientations; give orientations or at least 1 round")
    held = []
    for first in range(0, n, _READ):
        held.append(volumes[first : min(first + _READ, n)])
        yield Progress("reading the particles", first + len(held[-1]), n)
    work = Alignment.of(torch.cat(held), volumes.voxel_size, params, computing_device(device))

    halves = [np.arange(0, n, 2), np.arange(1, n, 2)]
    fits = []
    for rows in halves:
        own = start.take(rows) if isinstance(start, Fit) else start
        fits.append((yield from work.refine(rows, own)))
    sums = []
    for rows, fit in zip(halves, fits, strict=True):
        sums.append((yield from work.sums(rows, fit)))
    if start is None:
        fits[1] = yield from work.turn_onto(sums, fits[1])
        sums[1] = yield from work.sums(halves[1], fits[1])
    return work.result(halves, fits, sums)
