"""A crowded tomogram with its ground truth: packed, rotated, imaged, noisy."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.structures import Structure, library
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.volumes import random_rotations

from . import imaging
from .packing import Shell, pack
from .specimen import BEAD_RADIUS, MEMBRANE_THICKNESS, add_bead, add_particles, add_vesicle

Side = Annotated[int, Field(ge=16, le=4096)]

_LOW_PASS_EDGE = 0.1
"""Width of the fall-off of the low-pass, as a fraction of its cut-off."""

FloatArray = npt.NDArray[np.float64]


class CrowdedParams(Params):
    """What is in a simulated tomogram and how it is imaged."""

    shape: tuple[Side, Side, Side] = Field(
        (80, 320, 320), title="Shape", description="Voxels along z, y, x."
    )
    voxel_size: float = Field(12.0, ge=4, le=40, title="Voxel size", description="Å.")
    classes: tuple[str, ...] = Field(
        ("4v6x", "3jb9", "4v8r", "1mnf", "3j9i", "1qvr", "2fha", "1wcm"),
        min_length=1,
        title="Classes",
        description="Ids of structures of the library.",
    )
    particles_per_class: int = Field(
        40, ge=1, le=10_000, title="Particles per class", description="Number of copies of each."
    )
    gap: float = Field(
        10.0, ge=0, le=500, title="Gap", description="Least distance between surfaces, Å."
    )
    membranes: int = Field(
        2, ge=0, le=50, title="Vesicles", description="Lipid vesicles, which are no particles."
    )
    beads: int = Field(
        8, ge=0, le=1000, title="Gold beads", description="Beads of 10 nm, which are no particles."
    )
    snr: float = Field(
        1.0,
        gt=0,
        title="Signal-to-noise ratio",
        description="Variance of the signal where particles are over variance of the noise.",
    )
    defocus: float = Field(
        -5.0, ge=-20, le=0, title="Defocus", description="µm, negative is underfocus."
    )
    missing_wedge: float = Field(
        30.0,
        ge=0,
        lt=90,
        title="Missing wedge",
        description="Half angle in degrees; 30 is a tilt range of ±60°.",
    )
    resolution: float = Field(
        32.0, ge=8, le=200, title="Low-pass", description="Å, of signal and noise."
    )
    seed: int = Field(0, ge=0, title="Seed", description="Same seed, same tomogram.")


def simulate_tomogram(params: CrowdedParams) -> Job[tuple[Tomogram, Particles]]:
    """Simulate a crowded tomogram.

    Structures of the library are packed without overlap among vesicles and gold beads, each in a
    random orientation (uniform over all rotations) and on one scale, so that a large complex gives
    more signal than a small one. The specimen is filtered by CTF and missing wedge, and noise is
    added, half of it as if before and half after the CTF. Particles are dark, as usual.

    Parameters
    ----------
    params
        What and how; the same parameters give the same volume.

    Returns
    -------
    Tomogram
        (z, y, x) float32 in memory, ``dark``.
    Particles
        Every particle: centre of mass, name of the structure as label, orientation.

    Raises
    ------
    ValueError
        If a class is not in the library, or not everything fits.
    """
    structures = [library().need(key) for key in params.classes]
    generator = np.random.default_rng(params.seed)
    truth, shells, beads = yield from _arrange(structures, params, generator)
    volume = torch.zeros(params.shape)
    rotations = torch.from_numpy(truth.orientations).float()
    for step, structure in enumerate(structures):
        own = slice(step * params.particles_per_class, (step + 1) * params.particles_per_class)
        add_particles(
            volume,
            structure,
            truth.positions[own],
            rotations[own],
            voxel_size=params.voxel_size,
        )
        yield Progress("placing particles", step + 1, len(structures))
    occupied = volume > 0.05 * volume.max()
    for shell in shells:
        add_vesicle(volume, shell, voxel_size=params.voxel_size)
    for bead in beads:
        add_bead(volume, bead, voxel_size=params.voxel_size)
    yield Progress("imaging", 0, 1)
    image = _image(volume, occupied, params, generator)
    yield Progress("imaging", 1, 1)
    tomogram = Tomogram(-image.numpy(), params.voxel_size, name="simulated", dark=True)
    return tomogram, truth.replace(tomogram=np.full(len(truth), tomogram.name, dtype=object))


def _arrange(
    structures: list[Structure], params: CrowdedParams, generator: np.random.Generator
) -> Job[tuple[Particles, tuple[Shell, ...], FloatArray]]:
    """Draw where everything lies; bead centres are (n, 3) zyx in Å."""
    extent = (np.array(params.shape) - 1) * params.voxel_size
    shells = yield from _vesicles(extent, params, generator)
    label = np.repeat(np.arange(len(structures)), params.particles_per_class)
    radii = np.array([structure.diameter / 2 for structure in structures])[label]
    centres = yield from pack(
        np.append(radii, np.full(params.beads, BEAD_RADIUS)),
        extent,
        gap=params.gap,
        shells=shells,
        generator=generator,
    )
    # Sorted by class, which is what `simulate_tomogram` relies on.
    truth = Particles.at(
        centres[: len(label)] / params.voxel_size,
        label=np.array([structure.name for structure in structures], dtype=object)[label],
        orientations=random_rotations(len(label), generator).double().numpy(),
        source="simulated",
    )
    return truth, shells, centres[len(label) :]


def _vesicles(
    extent: FloatArray, params: CrowdedParams, generator: np.random.Generator
) -> Job[tuple[Shell, ...]]:
    """Draw vesicles that lie whole in the tomogram, each 50 to 85 % of its least extent wide."""
    radii = generator.uniform(0.25, 0.425, params.membranes) * extent.min()
    half = MEMBRANE_THICKNESS / 2
    centres = yield from pack(radii + half, extent, gap=params.gap, generator=generator)
    return tuple(
        Shell(centre, float(radius), MEMBRANE_THICKNESS)
        for centre, radius in zip(centres, radii, strict=True)
    )


def _image(
    specimen: torch.Tensor,
    occupied: torch.Tensor,
    params: CrowdedParams,
    generator: np.random.Generator,
) -> torch.Tensor:
    """Filter a protein-positive specimen by the microscope and add noise."""
    shape = params.shape
    k = imaging.radius(shape, params.voxel_size)
    ctf = imaging.ctf(k, params.defocus)
    passed = imaging.low_pass(k, params.resolution, _LOW_PASS_EDGE / params.resolution)
    passed *= imaging.missing_wedge(shape, params.missing_wedge)
    signal = torch.fft.irfftn(torch.fft.rfftn(specimen) * (ctf * passed), s=shape)
    noise_filter = torch.sqrt((ctf**2 + 1) / 2) * passed
    white = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    noise = torch.fft.irfftn(torch.fft.rfftn(white) * noise_filter, s=shape)
    power = imaging.spectrum_mean(noise_filter**2, shape[-1])
    scale = torch.sqrt(signal[occupied].var() / (params.snr * power))
    image: torch.Tensor = signal + scale * noise
    return image
