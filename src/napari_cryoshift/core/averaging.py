"""Subtomogram averaging, quick: particles of one kind are turned onto their mean.

Each particle is compared with the mean of its half set in all orientations, turned onto it, and
summed in Fourier space, where each frequency is divided by how many particles have seen it; a few
rounds with finer and finer steps. Half sets are aligned apart from the start, so that what they
have in common was not put there (Scheres & Chen, "Prevention of overfitting in cryo-EM structure
determination", Nat. Methods 9, 853 (2012)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from .files import write_text
from .matching import (
    PER_DETAIL,
    Band,
    BandParams,
    Fit,
    MatchParams,
    OpticsParams,
    Template,
    align,
    box_for,
    computing_device,
)
from .progress import Job, Progress
from .structures import Structure
from .tomograms import save_volume
from .types import Particles, Subtomograms, Tomogram
from .volumes import crop

_SEEDS = 4
"""Particles that are tried as the first reference where there is no other."""

_SEED_SAMPLE = 48
"""Particles that each of them is tried on."""

_COARSER = 1.5
"""What both half sets are shown is at least this many times coarser than the resolution."""

_COARSEST = 40.0
"""Degrees between the orientations of the first round."""

_THRESHOLD = 0.143
"""Of the FSC of half sets: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003)."""

_VOXELS_PER_DETAIL = 3.0
"""Along the finest detail of the mean: enough to look at it."""

_BATCH = 64

Floats = npt.NDArray[np.float32]


class AveragingParams(OpticsParams):
    """How particles are aligned to their mean.

    The optics are those that a structure is seen through which is given to begin with.
    """

    diameter: float = Field(250.0, gt=0, le=10_000, title="Particle diameter", description="Å.")
    rotation_step: float = Field(
        15.0,
        ge=8,
        le=90,
        title="Angular step",
        description="Between the orientations tried in the last round, degrees.",
    )
    shift: float = Field(
        30.0,
        ge=0,
        le=200,
        title="Largest shift",
        description="How far from the centre of its volume a particle may lie, Å.",
    )
    rounds: int = Field(
        3,
        ge=0,
        le=20,
        title="Rounds",
        description="How often all are aligned; 0 averages in the orientations given.",
    )
    first_resolution: float = Field(
        60.0,
        gt=0,
        le=500,
        title="First resolution",
        description="Half sets are shown a structure, or turned onto each other, at no finer "
        "detail, Å; they may agree up to there for that alone.",
    )


@dataclass(frozen=True, eq=False)
class Average:
    """The mean of n particles, of each half of them, and how each of them lies.

    Attributes
    ----------
    mean
        (d, d, d) float32 zyx, protein positive, within a ball of the diameter.
    halves
        (2, d, d, d) the means of the even and of the odd rows.
    voxel_size
        Å.
    frequency, fsc
        (m,) 1/Å, and the Fourier shell correlation of the halves there.
    fit
        Of each particle to the mean of its half; the score is NaN where nothing was aligned.
    structure
        The mean with each shell weighted by how much of it is no noise, to be compared with other
        particles of the same tomogram.
    """

    mean: Floats
    halves: Floats
    voxel_size: float
    frequency: npt.NDArray[np.float64]
    fsc: npt.NDArray[np.float64]
    fit: Fit
    structure: Structure

    @property
    def resolution(self) -> float:
        """Å at which the FSC first falls below 0.143; infinite if nothing is above it."""
        below = np.flatnonzero(self.fsc < _THRESHOLD)
        if len(below) == 0:
            return float(1 / self.frequency[-1])
        last = int(below[0])
        if last == 0:
            return float("inf")
        share = (self.fsc[last - 1] - _THRESHOLD) / (self.fsc[last - 1] - self.fsc[last])
        lower, upper = self.frequency[last - 1 : last + 1]
        return float(1 / (lower + share * (upper - lower)))


def save_average(path: Path, average: Average) -> Path:
    """Write the mean as an MRC file, and beside it NAME.fsc.csv with the correlation of halves.

    Returns
    -------
    Path
        Of the second file.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    curve = path.with_suffix(".fsc.csv")
    save_volume(path, average.mean, average.voxel_size)
    rows = zip(average.frequency, average.fsc, strict=True)
    lines = ["frequency_per_angstrom,fsc", *(f"{k:.6f},{value:.4f}" for k, value in rows)]
    write_text(curve, "\n".join(lines) + "\n")
    return curve


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
    for first in range(0, n, _BATCH):
        held.append(volumes[first : min(first + _BATCH, n)])
        yield Progress("reading the particles", first + len(held[-1]), n)
    work = _Work.of(torch.cat(held), volumes.voxel_size, params, computing_device(device))

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


@dataclass(frozen=True, eq=False)
class _Sums:
    """Spectra (f,) of aligned particles, summed, and how many of them have seen each frequency."""

    values: Tensor
    count: Tensor

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.values + other.values, self.count + other.count)

    @property
    def mean(self) -> Tensor:
        return self.values / self.count.clamp(min=1)


@dataclass(frozen=True, eq=False)
class _Work:
    """What is aligned, and how.

    Attributes
    ----------
    volumes
        (n, d, d, d).
    voxel_size
        Å.
    params
        How.
    band
        All frequencies within the resolution, those in the missing wedge too.
    noise
        (m,) power of a volume at 0, 1, 2 … cycles a box.
    mask
        (d, d, d) ball of the diameter with a soft edge.
    """

    volumes: Tensor
    voxel_size: float
    params: AveragingParams
    band: Band
    noise: Tensor
    mask: Tensor

    @classmethod
    def of(
        cls, volumes: Tensor, voxel_size: float, params: AveragingParams, device: torch.device
    ) -> _Work:
        box = volumes.shape[-1]
        measured = Band.of(box, voxel_size, params, device)
        noise = torch.cat(
            [
                measured.radial_mean(measured.spectra(some.to(device)).abs() ** 2)
                for some in torch.split(volumes, _BATCH)
            ]
        ).mean(0)
        whole = BandParams(resolution=params.resolution, missing_wedge=0.0)
        axis = torch.arange(box, device=device) - box // 2
        distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt() * voxel_size
        # As wide as the finest detail, lest the edge itself is seen in it.
        mask = ((params.diameter / 2 + params.resolution / 2 - distance) / params.resolution).clamp(
            0, 1
        )
        return cls(
            # Between the frequencies of the box, a mean would be seen at all of them.
            volumes=volumes - volumes.mean((1, 2, 3), keepdim=True),
            voxel_size=voxel_size,
            params=params,
            band=Band.of(box, voxel_size, whole, device),
            noise=noise.clamp(min=1e-6 * float(noise.max())),
            mask=(1 - torch.cos(torch.pi * mask)) / 2,
        )

    @property
    def shown(self) -> float:
        """Å, the finest detail that both half sets are shown."""
        return max(self.params.first_resolution, _COARSER * self.params.resolution)

    def refine(self, rows: npt.NDArray[np.int64], start: Structure | Fit | None) -> Job[Fit]:
        """Align some rows to their own mean, from orientations, a structure or nothing."""
        params = self.params
        coarsest = max(_COARSEST, params.rotation_step)
        steps = np.geomspace(coarsest, params.rotation_step, params.rounds + 1)[1:]
        if isinstance(start, Structure):
            fit = yield from self.align(rows, start, steps[0], self.shown)
            steps = steps[1:]
        else:
            fit = (yield from self.seed(rows)) if start is None else start
        for angle in steps:
            mean = self.reference((yield from self.sums(rows, fit)))
            fit = yield from self.align(rows, mean, angle)
        return fit

    def seed(self, rows: npt.NDArray[np.int64]) -> Job[Fit]:
        """Fit some rows, coarsely, to the mean of those that agree best with one of them."""
        sample = rows[np.unique(np.linspace(0, len(rows) - 1, _SEED_SAMPLE).astype(np.int64))]
        seeds = sample[np.unique(np.linspace(0, len(sample) - 1, _SEEDS).astype(np.int64))]
        found = []
        for seed in seeds:
            alone = self.structure(self.volumes[seed].to(self.mask.device))
            fit = yield from self.align(sample, alone, _COARSEST)
            mean = self.reference((yield from self.sums(sample, fit)))
            fit = yield from self.align(rows, mean, _COARSEST)
            found.append(fit)
        return max(found, key=lambda fit: float(fit.score.mean()))

    def align(
        self,
        rows: npt.NDArray[np.int64],
        reference: Structure,
        angle: float,
        coarsest: float | None = None,
    ) -> Job[Fit]:
        """Compare some rows with a mean or, at no finer detail than ``coarsest``, a structure."""
        params, seen = self.params, {"missing_wedge", "tilt_centre", "shift"}
        if coarsest is not None:
            seen |= {"defocus", "cs", "voltage", "amplitude_contrast", "envelope"}
        resolution = params.resolution if coarsest is None else coarsest
        some = Subtomograms.from_memory(self.volumes[rows], self.voxel_size)
        return (
            yield from align(
                some,
                reference,
                # A mean has been through the microscope already.
                MatchParams(
                    **{"envelope": 0.0, **params.model_dump(include=seen)},
                    resolution=resolution,
                    rotation_step=angle,
                    shift_step=resolution / 4,
                ),
                noise=self.noise.cpu().numpy(),
                device=self.noise.device,
            )
        )

    def sums(self, rows: npt.NDArray[np.int64], fit: Fit) -> Job[_Sums]:
        """Turn some rows back by their fit, and sum them."""
        band, device = self.band, self.band.cycles.device
        k = band.cycles.flip(-1) / (band.box * self.voxel_size)
        values = torch.zeros(len(k), dtype=torch.complex64, device=device)
        count = torch.zeros(len(k), device=device)
        rotations, shifts = (torch.from_numpy(a).to(device) for a in (fit.rotations, fit.shifts))
        for step, row in enumerate(rows):
            # A frequency of the mean is where the rotation takes it, seen in the volume.
            there = k @ rotations[step].T
            phase = 2 * torch.pi * (there.flip(-1) @ shifts[step])
            turned = Template.of_density(
                self.volumes[row].to(device), self.voxel_size, self.params.resolution
            ).rotated(rotations[step].T[None], band)[0]
            seen = self.params.seen(there).float()
            values += seen * turned * torch.polar(torch.ones_like(phase), phase)
            count += seen
            if step % _BATCH == 0 or step + 1 == len(rows):
                yield Progress("averaging", step + 1, len(rows))
        return _Sums(values, count)

    def reference(self, sums: _Sums) -> Structure:
        """Make the mean, each shell weighted by how much of it is no noise."""
        band, mean = self.band, sums.mean
        power = band.radial_mean(mean.abs()[None] ** 2)[0]
        noise = band.at_radii(self.noise)[band.radius] / sums.count.clamp(min=1)
        noise_power = band.radial_mean(noise[None])[0]
        signal = (1 - noise_power / power.clamp(min=1e-20)).clamp(0, 1)
        weighted = mean * band.at_radii(signal)[band.radius]
        return self.structure(band.volumes(weighted[None])[0])

    def structure(self, volume: Tensor) -> Structure:
        """Cut the ball of the diameter out of a volume."""
        inside = (volume * self.mask).cpu().numpy()
        return _structure(inside, self.voxel_size, self.params.diameter)

    def turn_onto(self, sums: list[_Sums], fit: Fit) -> Job[Fit]:
        """Turn the second half onto the first."""
        first, second = (self.reference(half) for half in sums)
        # In all their detail, there is an orientation in which even noise agrees.
        turned = MatchParams(
            resolution=self.shown,
            missing_wedge=0.0,
            rotation_step=self.params.rotation_step,
            shift=max(self.params.shift, self.params.resolution),
            shift_step=self.params.resolution / 4,
            envelope=0.0,
        )
        volume = Subtomograms.from_memory(torch.from_numpy(second.density)[None], self.voxel_size)
        between = yield from align(
            volume, first, turned, noise=self.noise.cpu().numpy(), device=self.noise.device
        )
        # Shifts are zyx, rotations act on xyz.
        moved = between.shifts[0, ::-1] @ fit.rotations.transpose(0, 2, 1)
        return replace(
            fit,
            rotations=fit.rotations @ between.rotations[0],
            shifts=np.ascontiguousarray(fit.shifts + moved[:, ::-1]),
        )

    def result(
        self, halves: list[npt.NDArray[np.int64]], fits: list[Fit], sums: list[_Sums]
    ) -> Average:
        """Put both halves together."""
        band = self.band
        means = [half.mean for half in (sums[0] + sums[1], *sums)]
        volumes = band.volumes(torch.stack(means)) * self.mask
        one, other = band.spectra(volumes[1:])
        both = band.radial_mean((one * other.conj()).real[None])[0]
        powers = band.radial_mean(torch.stack([one, other]).abs() ** 2)
        fsc = (both / powers.prod(0).sqrt().clamp(min=1e-20)).double().cpu().numpy()
        fit = Fit.joined(fits).take(np.argsort(np.concatenate(halves)))
        mean, *apart = volumes.cpu().numpy()
        frequency = np.arange(len(fsc)) / (band.box * self.voxel_size)
        return Average(
            mean=mean,
            halves=np.stack(apart),
            voxel_size=self.voxel_size,
            # The frequency 0 is in no band.
            frequency=frequency[1:],
            fsc=fsc[1:],
            fit=fit,
            structure=self.reference(sums[0] + sums[1]),
        )


def _structure(density: Floats, voxel_size: float, diameter: float) -> Structure:
    return Structure(
        id="average",
        name="average",
        mass_kda=float("nan"),
        source="",
        diameter=diameter,
        density=density,
        voxel_size=voxel_size,
    )
