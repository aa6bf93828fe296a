"""A crowded tomogram with its ground truth: packed, tilted, imaged, reconstructed, noisy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Particles, Tomogram

from .acquisition import TiltSeriesParams, acquire
from .specimen import SpecimenParams, build_specimen


class CrowdedParams(SpecimenParams):
    """What is in a simulated tomogram and how it is imaged."""

    snr: float = Field(
        1.0,
        gt=0,
        title="Signal-to-noise ratio",
        description="Variance of the signal where particles are over variance of the noise.",
    )
    defocus: float = Field(
        -5.0, ge=-20, le=0, title="Defocus", description="µm, negative is underfocus."
    )
    resolution: float = Field(
        32.0, ge=8, le=200, title="Low-pass", description="Å, of signal and noise."
    )
    tilt_series: TiltSeriesParams = Field(
        TiltSeriesParams(), title="Tilt series", description="How it is taken."
    )


@dataclass(frozen=True, eq=False)
class CrowdedTomogram:
    """A simulated tomogram and all that is known of it.

    Attributes
    ----------
    tomogram
        (z, y, x) float32 in memory, ``dark``.
    particles
        Every particle: centre of mass, name of the structure as label, orientation.
    names
        Of the classes, one a structure.
    occupancy
        (z, y, x) int32: 1 + the row of the particle that a voxel belongs to; 0 where none is, as
        in membranes, gold beads and small proteins.
    packing
        Share of the ice that the particles fill.
    """

    tomogram: Tomogram
    particles: Particles
    names: tuple[str, ...]
    occupancy: npt.NDArray[np.int32]
    packing: float

    @cached_property
    def classes(self) -> npt.NDArray[np.int16]:
        """(z, y, x) int16: 1 + the index in ``names`` of what a voxel belongs to; 0 for nothing."""
        index = [1 + self.names.index(label) for label in self.particles.label]
        return np.array([0, *index], dtype=np.int16)[self.occupancy]


def simulate_tomogram(
    params: CrowdedParams, device: torch.device | str = "cpu"
) -> Job[CrowdedTomogram]:
    """Simulate a crowded tomogram.

    Structures of the library are packed by their true shapes, without overlap, among membranes and
    gold beads in a layer of ice, each in a random orientation (uniform over all rotations) and on
    one scale, so that a large complex gives more signal than a small one; small proteins fill part
    of the space between. The specimen is projected at every tilt, imaged and reconstructed; half
    of the noise is made before and half after the CTF. Particles are dark, as usual.

    Parameters
    ----------
    params
        What and how; the same parameters give the same volume on one kind of device.
    device
        Where its tilt series is worked out.

    Raises
    ------
    ValueError
        If a class is not in the library or larger than the tomogram, or not everything fits.
    """
    structures = [library().need(key) for key in params.classes]
    generator = np.random.default_rng(params.seed)
    specimen = yield from build_specimen(structures, params, generator)
    signal, noise = yield from acquire(
        specimen.density,
        specimen.ice.upper - specimen.ice.lower,
        params.tilt_series,
        voxel_size=params.voxel_size,
        defocus=params.defocus,
        resolution=params.resolution,
        generator=torch.Generator(device).manual_seed(int(generator.integers(2**63))),
        device=device,
    )
    placed = specimen.placed
    occupied = torch.from_numpy(placed.occupancy > 0).to(device)
    scale = torch.sqrt(signal[occupied].var() / (params.snr * noise.var()))
    image = noise.mul_(-scale).sub_(signal).cpu().numpy()
    tomogram = Tomogram(image, params.voxel_size, name="simulated", dark=True)
    names = tuple(structure.name for structure in structures)
    particles = Particles.at(
        placed.centres,
        label=np.repeat(np.array(names, dtype=object), specimen.counts),
        orientations=placed.rotations,
        tomogram=tomogram.name,
        source="simulated",
    )
    return CrowdedTomogram(tomogram, particles, names, placed.occupancy, specimen.packing)
