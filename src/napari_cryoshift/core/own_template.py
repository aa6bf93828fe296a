"""A template of one's own: clicked particles show what to look for, in the tomogram's own optics.

It begins with the known structure that fits them best and goes on with the mean of what fits that,
which needs no knowledge of the microscope, as it has been through it. Whatever is strong fits any
template somewhat, so that it can be led astray where more than particles are strong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from .averaging import Average, AveragingParams, average
from .matching import (
    PER_DETAIL,
    AngularStep,
    Diameter,
    Envelope,
    Fit,
    LargestShift,
    MatchParams,
    OpticsParams,
    Resolution,
    align,
    box_for,
    matched_filter,
)
from .progress import Job
from .structures import Structure
from .types import Particles, Tomogram
from .volumes import crop

_FEWEST = 8
"""Particles that a template is made of, however good the examples are."""


class OwnTemplateParams(OpticsParams):
    """How a template is made of particles, and compared with all.

    The optics are those that the structure is seen through with which it begins.
    """

    resolution: Resolution = 60.0
    envelope: Envelope = 80.0
    diameter: Diameter = 250.0
    rotation_step: AngularStep = 20.0
    shift: LargestShift = 60.0
    rounds: int = Field(
        2,
        ge=1,
        le=20,
        title="Rounds",
        description="How often a template is made and all are compared with it.",
    )
    most: int = Field(
        400, ge=4, title="Most members", description="Particles that the template is made of."
    )


@dataclass(frozen=True, eq=False)
class OwnTemplate:
    """A template and how well each of n particles fits it.

    Attributes
    ----------
    average
        Of the members; its half sets were aligned to the same reference, so that its FSC is too
        high.
    members
        (m,) rows that it is made of.
    fit
        (n) of all. Its ``strength`` ranks them.
    start
        Id of the structure that it began with.
    """

    average: Average
    members: npt.NDArray[np.int64]
    fit: Fit
    start: str


def own_template(
    tomogram: Tomogram,
    particles: Particles,
    examples: npt.ArrayLike,
    structures: Sequence[Structure],
    params: OwnTemplateParams = OwnTemplateParams(),  # noqa: B008 (frozen)
    *,
    device: torch.device | str | None = None,
) -> Job[OwnTemplate]:
    """Make a template of examples and of what is like them, and compare all particles with it.

    Whatever fits at least as well as half of the examples do is taken to be of their kind.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        n of them, in its voxels; few of them of this kind, for the noise is measured on them.
    examples
        (m,) rows of these, of one kind.
    structures
        What to begin with: the one that fits the examples best.
    params
        How. A resolution finer than 2.5 voxels of the tomogram becomes that.
    device
        Where it is computed; by default the accelerator that was found.

    Raises
    ------
    ValueError
        If a position lies outside the tomogram, there is no example, there are fewer than 4
        particles or no structure is small enough for the boxes.
    """
    clicked = np.asarray(examples, dtype=np.int64)
    if len(clicked) == 0:
        raise ValueError("0 examples to make a template of; label one")
    resolution = max(params.resolution, PER_DETAIL * tomogram.voxel_size)
    voxel_size = resolution / PER_DETAIL
    box = box_for(params.diameter + 2 * params.shift, voxel_size)
    volumes = crop(tomogram, particles, box=box, voxel_size=voxel_size, scaled=False)
    optics = {
        **params.model_dump(include=set(OpticsParams.model_fields)),
        "resolution": resolution,
    }
    seen = MatchParams(
        **optics,
        rotation_step=params.rotation_step,
        shift=params.shift,
        shift_step=resolution / 4,
    )
    small = [structure for structure in structures if structure.diameter <= box * voxel_size]
    scores = yield from matched_filter(volumes.take(clicked), small, seen, device=device)
    start = small[int(scores.mean(0).argmax())]

    fit = yield from align(volumes, start, seen, device=device)
    # A mean has been through the microscope already.
    through = seen.model_copy(update={"defocus": 0.0, "envelope": 0.0})
    as_they_lie = AveragingParams(**optics, diameter=params.diameter, rounds=0)
    for _ in range(params.rounds):
        alike = int((fit.strength >= np.median(fit.strength[clicked])).sum())
        count = min(max(alike, _FEWEST), params.most)
        best = np.argsort(-fit.strength, kind="stable")[:count]
        members = np.union1d(best, clicked)
        mean = yield from average(volumes.take(members), as_they_lie, start=fit.take(members))
        fit = yield from align(volumes, mean.structure, through, device=device)
    return OwnTemplate(average=mean, members=members, fit=fit, start=start.id)


def joint_score(
    score: npt.NDArray[np.float64], strength: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Join how much mass is at a place and how well it fits a template: the mean of both.

    Parameters
    ----------
    score
        (n,) of picking; NaN where there is none.
    strength
        (n,) of `OwnTemplate.fit`.

    Returns
    -------
    ndarray
        (n,) each in robust standard deviations from its median, clipped at 3, and averaged; NaN
        where there is no score, and the strength alone where nothing has one.
    """
    fits = _standard(np.asarray(strength, dtype=np.float64))
    if not np.isfinite(score).any():
        return fits
    return (_standard(score) + fits) / 2


def _standard(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, middle, high = np.nanpercentile(values, [25, 50, 75])
    scaled: npt.NDArray[np.float64] = (values - middle) / max((high - low) / 1.349, 1e-12)
    return np.clip(scaled, -3, 3)
