"""Recentring: picks are moved onto the particle that they were meant for.

Where the orientation is unknown, a particle is compared with the mean of all of them, of which only
the spherical part means anything; by the shifts found, the mean gets sharper in turn, as in
maximum-likelihood averaging (Scheres et al., "Maximum-likelihood multi-reference refinement for
electron microscopy images", J. Mol. Biol. 348, 139 (2005)). Where the structure is known,
`matching.match_particles` compares it in all orientations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from .matching import PER_DETAIL, Band, BandParams, Diameter, box_for, moved, shift_grid
from .progress import Job, Progress
from .types import Particles, Subtomograms, Tomogram
from .volumes import crop

_PEAK = 2.0
"""How high a particle's own peak is taken to stand, in standard deviations of the correlation.

A higher one would follow peaks of the noise, a lower one would leave particles where they are.
"""

_SAMPLE = 1024
"""Particles, of all, that the mean is taken over."""

_BATCH = 64


class RecentreParams(BandParams):
    """How picks are moved to the centre of their particles."""

    diameter: Diameter = 250.0
    largest: float = Field(
        60.0, gt=0, le=1000, title="Largest shift", description="No pick is moved farther, Å."
    )
    rounds: int = Field(
        4, ge=1, le=50, title="Rounds", description="How often the mean is made anew."
    )


def recentre(
    tomogram: Tomogram,
    particles: Particles,
    reference: Particles,
    params: RecentreParams = RecentreParams(),  # noqa: B008 (frozen)
) -> Job[Particles]:
    """Move picks to the centre of particles of a class of which there are examples.

    Each is moved to the mean of all places within the largest shift, weighted by how likely they
    are. So it moves little where noise leaves the place open.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        Positions in its voxels.
    reference
        Particles of one class, such as the labelled ones; or ``particles`` themselves where they
        are all of one kind. In a mean over different kinds, large ones are lost.
    params
        How they are moved.

    Returns
    -------
    Particles
        The same rows, moved; one that would leave the tomogram stays.

    Raises
    ------
    ValueError
        If a position lies outside the tomogram, or there is no particle in the reference.
    """
    voxel_size = params.resolution / PER_DETAIL
    box = box_for(params.diameter + 2 * params.largest, voxel_size)
    shifts = yield from spherical_shifts(
        crop(tomogram, particles, box=box, voxel_size=voxel_size),
        crop(tomogram, reference, box=box, voxel_size=voxel_size),
        params,
    )
    return moved(tomogram, particles, shifts)


def spherical_shifts(
    volumes: Subtomograms,
    reference: Subtomograms,
    params: RecentreParams = RecentreParams(),  # noqa: B008 (frozen)
) -> Job[npt.NDArray[np.float64]]:
    """Find how far each particle lies from the centre of its volume.

    Parameters
    ----------
    volumes
        n of them; about ``diameter + 2 · largest`` wide.
    reference
        Volumes of the same size of which the mean is made.
    params
        How.

    Returns
    -------
    ndarray
        (n, 3) zyx, Å.

    Raises
    ------
    ValueError
        If there is no volume to make a mean of.
    """
    if len(reference) == 0:
        raise ValueError("0 particles to make a mean of; pick or label some first")
    band = Band.of(volumes.box, volumes.voxel_size, params)
    rows = np.unique(np.linspace(0, len(reference) - 1, _SAMPLE).astype(np.int64))
    read = []
    for first in range(0, len(rows), _BATCH):
        read.append(band.spectra(reference[rows[first : first + _BATCH]]))
        yield Progress("reading the particles", min(first + _BATCH, len(rows)), len(rows))
    sample = torch.cat(read)
    noise = band.at_radii(band.radial_mean(sample.abs() ** 2).mean(0))
    places = shift_grid(params.largest, params.resolution / PER_DETAIL)
    back = band.shifted(-places / volumes.voxel_size)

    shifts = torch.zeros(len(sample), 3)
    for step in range(params.rounds):
        mean = (sample * band.shifted(-shifts / volumes.voxel_size)).mean(0, keepdim=True)
        profile = band.at_radii(band.radial_mean(mean.real)[0])
        filter_ = (profile / noise)[band.radius]
        shifts = _likelihood(sample * filter_, back) @ places
        yield Progress("recentring", step + 1, params.rounds)

    found = []
    for first in range(0, len(volumes), _BATCH):
        spectra = band.spectra(volumes[first : first + _BATCH])
        found.append(_likelihood(spectra * filter_, back) @ places)
        yield Progress("moving the particles", first + len(spectra), len(volumes))
    return torch.cat(found).double().numpy() if found else np.empty((0, 3))


def _likelihood(filtered: Tensor, back: Tensor) -> Tensor:
    """How likely each place is, (b, s), of filtered spectra (b, f) moved back from it, (s, f)."""
    correlation = (filtered @ back.T).real
    # Its standard deviation if the phases were random.
    deviation = (filtered.abs() ** 2).sum(1, keepdim=True).div(2).sqrt()
    return (_PEAK * correlation / deviation.clamp(min=1e-12)).softmax(1)
