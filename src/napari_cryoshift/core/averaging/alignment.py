"""Particles turned onto their own mean, in rounds, and summed in Fourier space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_cryoshift.core.matching import Band, BandParams, Fit, MatchParams, Template, align
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.types import Subtomograms

from .params import AveragingParams
from .result import Average, Floats

_SEEDS = 4
"""Particles that are tried as the first reference where there is no other."""

_SEED_SAMPLE = 48
"""Particles that each of them is tried on."""

_COARSER = 1.5
"""What both half sets are shown is at least this many times coarser than the resolution."""

_COARSEST = 40.0
"""Degrees between the orientations of the first round."""

_BATCH = 64


@dataclass(frozen=True, eq=False)
class Sums:
    """Spectra (f,) of aligned particles, summed, and how many of them have seen each frequency."""

    values: Tensor
    count: Tensor

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.values + other.values, self.count + other.count)

    @property
    def mean(self) -> Tensor:
        """(f,) the sum over how many have seen it."""
        return self.values / self.count.clamp(min=1)


@dataclass(frozen=True, eq=False)
class Alignment:
    """What is aligned, how, and every step of it.

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
    ) -> Alignment:
        """Measure the noise of volumes, and centre their grey values."""
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

    def sums(self, rows: npt.NDArray[np.int64], fit: Fit) -> Job[Sums]:
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
        return Sums(values, count)

    def reference(self, sums: Sums) -> Structure:
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

    def turn_onto(self, sums: list[Sums], fit: Fit) -> Job[Fit]:
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
        self, halves: list[npt.NDArray[np.int64]], fits: list[Fit], sums: list[Sums]
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
