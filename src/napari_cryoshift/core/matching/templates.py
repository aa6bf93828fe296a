"""Rotated structures as a tomogram shows them, at the frequencies where it shows anything.

A rotated density has the rotated Fourier transform, so that templates are read at the wanted
frequencies from one transform of the structure, and none is ever made in real space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.structures import Structure

from .optics import BandParams

_OVERSAMPLING = 3
"""Of a transform before it is interpolated linearly."""


def computing_device(wanted: torch.device | str | None) -> torch.device:
    """Return the device that is wanted, by default the best that was found.

    Only CUDA and the CPU interpolate volumes in every supported torch.
    """
    if wanted is not None:
        return torch.device(wanted)
    found = best_device()
    return found if found.type == "cuda" else torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Band:
    """The frequencies of a box that are compared: within the resolution, outside the wedge.

    Of each pair k, −k it holds one, as a real volume has the same in both, and not the mean.

    Attributes
    ----------
    box
        Side of the box, voxels.
    flat
        (f,) int64, where the frequencies are in the flattened half spectrum of `torch.fft.rfftn`.
    cycles
        (f, 3) zyx, whole cycles a box.
    radii
        (u,) distinct lengths of the frequencies, rising, 1/Å.
    radius
        (f,) int64 index into ``radii``: a radial filter has u values, and ``[..., radius]`` of it
        f.
    voxel_size
        Å.
    """

    box: int
    flat: Tensor
    cycles: Tensor
    radii: Tensor
    radius: Tensor
    voxel_size: float

    @classmethod
    def of(
        cls, box: int, voxel_size: float, params: BandParams, device: torch.device | str = "cpu"
    ) -> Band:
        """Return the band of a box.

        Raises
        ------
        ValueError
            If nothing is left of it.
        """
        shape = (box,) * 3
        wedge = imaging.missing_wedge(shape, params.missing_wedge, tilt_centre=params.tilt_centre)
        z, y, x = torch.meshgrid(
            *(torch.fft.fftfreq(box, 1 / box),) * 2, torch.fft.rfftfreq(box, 1 / box), indexing="ij"
        )
        squared = z**2 + y**2 + x**2
        one_of_two = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
        # The Nyquist frequency has no sign, so that it cannot be shifted.
        inside = torch.stack([z, y, x]).abs().amax(0) < box / 2
        inside &= squared <= (box * voxel_size / params.resolution) ** 2
        kept = (wedge > 0) & one_of_two & inside
        if not kept.any():
            raise ValueError(
                f"a box of {box} voxels of {voxel_size:g} Å shows nothing at a resolution of "
                f"{params.resolution:g} Å; give a finer resolution or a larger box"
            )
        lengths, radius = torch.unique(squared[kept], return_inverse=True)
        return cls(
            box=box,
            flat=torch.nonzero(kept.flatten())[:, 0].to(device),
            cycles=torch.stack([z, y, x], -1)[kept].to(device),
            radii=lengths.sqrt().to(device) / (box * voxel_size),
            radius=radius.to(device),
            voxel_size=voxel_size,
        )

    def spectra(self, volumes: Tensor) -> Tensor:
        """Complex values (b, f) of volumes (b, box, box, box), their origin at box // 2."""
        values = torch.fft.rfftn(volumes, dim=(1, 2, 3)).flatten(1)[:, self.flat]
        middle = torch.full((1, 3), float(self.box // 2), device=values.device)
        spectra: Tensor = values * self.shifted(-middle)
        return spectra

    def volumes(self, spectra: Tensor) -> Tensor:
        """Volumes (b, box, box, box) of complex values (b, f): what `spectra` gives, undone.

        All frequencies outside the band are 0 in them.
        """
        middle = torch.full((1, 3), float(self.box // 2), device=spectra.device)
        # The transform takes the real part of the plane x = 0, which holds both of each pair.
        twice = torch.where(self.cycles[:, 2] == 0, 2.0, 1.0)
        half = torch.zeros(
            len(spectra),
            self.box**2 * (self.box // 2 + 1),
            dtype=spectra.dtype,
            device=spectra.device,
        )
        half[:, self.flat] = spectra * self.shifted(middle) * twice
        shape = (-1, self.box, self.box, self.box // 2 + 1)
        volumes: Tensor = torch.fft.irfftn(half.reshape(shape), s=(self.box,) * 3, dim=(1, 2, 3))
        return volumes

    def shifted(self, shifts: Tensor) -> Tensor:
        """Factors (s, f) that move a volume by shifts (s, 3), zyx voxels."""
        phase = (-2 * torch.pi / self.box) * (shifts.to(self.cycles) @ self.cycles.T)
        return torch.polar(torch.ones_like(phase), phase)

    def radial_sum(self, values: Tensor) -> Tensor:
        """Sums (b, u) of values (b, f) over the frequencies of each radius."""
        sums = torch.zeros(len(values), len(self.radii), device=values.device)
        return sums.index_add_(1, self.radius, values)

    def radial_mean(self, values: Tensor) -> Tensor:
        """Means (b, m) of values (b, f) over shells about 0, 1, 2 … cycles a box."""
        shell = (self.radii * (self.box * self.voxel_size)).round().long()
        sums = torch.zeros(len(values), int(shell[-1]) + 1, device=values.device)
        sums.index_add_(1, shell, self.radial_sum(values))
        return sums / torch.bincount(shell[self.radius]).clamp(min=1)

    def at_radii(self, shells: Tensor) -> Tensor:
        """Values (u,) at the radii, between those (m,) at 0, 1, 2 … cycles a box."""
        return interpolate(shells, self.radii * (self.box * self.voxel_size))


def interpolate(values: Tensor, places: Tensor) -> Tensor:
    """Read values (m,) at 0, 1, 2 … at places between them, of any shape, linearly."""
    below = places.long().clamp(max=len(values) - 2)
    return torch.lerp(values[below], values[below + 1], (places - below).clamp(max=1))


@dataclass(frozen=True, eq=False)
class Template:
    """The Fourier transform of a structure, to be read at any frequency up to a limit.

    Attributes
    ----------
    values
        (1, 2, m, m, m) real and imaginary part, the frequency 0 in the middle.
    step
        Distance of the values, 1/Å.
    """

    values: Tensor
    step: float

    @classmethod
    def of(
        cls, structure: Structure, resolution: float, device: torch.device | str = "cpu"
    ) -> Template:
        """Transform a structure up to a resolution in Å."""
        density = torch.from_numpy(structure.density).to(device)
        return cls.of_density(density, structure.voxel_size, resolution)

    @classmethod
    def of_density(cls, density: Tensor, voxel_size: float, resolution: float) -> Template:
        """Transform a density (n, n, n) with its centre at n // 2 up to a resolution in Å."""
        n = len(density)
        step = 1 / (_OVERSAMPLING * n * voxel_size)
        reach = int(np.ceil(1 / (resolution * step))) + 1
        waves = torch.from_numpy(_waves(n, reach, step * voxel_size)).to(density.device)
        values = density.to(torch.complex64)
        for _ in range(3):
            # Three turns bring z, y, x back into their order, each transformed once.
            values = torch.tensordot(values, waves, ([0], [1]))
        return cls(values=torch.stack([values.real, values.imag])[None], step=step)

    def rotated(self, rotations: Tensor, band: Band) -> Tensor:
        """Complex values (r, f) of the rotated structure; rotations (r, 3, 3) act on xyz."""
        k = band.cycles.flip(-1) / (band.box * band.voxel_size)
        # The transform is read where the inverse rotation takes each frequency: k Rᵀᵀ = k R.
        unit = (k @ rotations) / (self.step * (self.values.shape[-1] // 2))
        read = torch.nn.functional.grid_sample(
            self.values, unit[None, :, :, None], mode="bilinear", align_corners=True
        )
        return torch.complex(read[0, 0, ..., 0], read[0, 1, ..., 0])


def _waves(n: int, reach: int, step: float) -> npt.NDArray[np.complex64]:
    """Matrix (2 reach + 1, n) of the Fourier transform about index n // 2, step in cycles a voxel.

    It divides by what linear interpolation between the values will multiply by.
    """
    x = np.arange(n) - n // 2
    k = np.arange(-reach, reach + 1) * step
    waves: npt.NDArray[np.complex64] = (
        np.exp(-2j * np.pi * k[:, None] * x) / np.sinc(x * step) ** 2
    ).astype(np.complex64)
    return waves
