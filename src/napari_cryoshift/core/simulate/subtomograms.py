"""Simulated subtomograms, made when they are read: density → rotation → CTF, wedge, noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.types import Subtomograms
from napari_cryoshift.core.volumes import random_rotations, sample_rotated, standardise

from . import imaging

Range = tuple[float, float]


class ImagingParams(Params):
    """How subtomograms are imaged; a pair is a range from which each volume draws its own value."""

    box: int = Field(32, ge=8, le=128, title="Box", description="Side of a volume, voxels.")
    voxel_size: float = Field(12.0, gt=0, title="Voxel size", description="Å.")
    snr: Range = Field(
        (0.05, 3.0),
        title="Signal-to-noise ratio",
        description="Drawn log-uniformly; in the convention below.",
    )
    snr_convention: Literal["nominal", "power"] = Field(
        "nominal",
        title="Convention of the ratio",
        description=(
            "power: variance of the signal over variance of the noise in the finished volume. "
            "nominal: that of the papers' simulator, before the filters; about 2.6 × the power "
            "ratio for 32³ voxels of 12 Å at a defocus of −5 µm."
        ),
    )
    defocus: Range = Field((-6.0, -2.0), title="Defocus", description="µm, negative is underfocus.")
    cs: float = Field(2.7, ge=0, title="Spherical aberration", description="mm.")
    voltage: float = Field(300.0, gt=0, title="Voltage", description="kV.")
    amplitude_contrast: float = Field(
        0.07, ge=0, lt=1, title="Amplitude contrast", description="Fraction."
    )
    envelope: Range = Field(
        (60.0, 60.0),
        title="Envelope",
        description="Å at which the contrast transfer has fallen to 1/e.",
    )
    detector: float = Field(
        60.0,
        ge=0,
        title="Detector",
        description="Å at which the detector's transfer of its own noise has fallen to 1/e.",
    )
    missing_wedge: Range = Field(
        (30.0, 30.0),
        title="Missing wedge",
        description="Half angle in degrees; 30 is a tilt range of ±60°.",
    )
    shift: float = Field(
        24.0, ge=0, title="De-centring", description="Largest displacement along each axis, Å."
    )
    resolution: Range = Field(
        (32.0, 32.0), title="Low-pass", description="Å; each volume draws its own cut-off."
    )
    noise_slope: Range = Field(
        (0.0, 0.0),
        title="Noise colour",
        description=(
            "Exponent of the frequency in the amplitude of the noise on top of the microscope's "
            "filters; −1 is pink, +1 a ramp."
        ),
    )
    neighbours: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Crowding",
        description="Probability that another particle of the set reaches into the box.",
    )

    @model_validator(mode="after")
    def _check(self) -> "ImagingParams":
        for name in ("snr", "defocus", "envelope", "missing_wedge", "resolution", "noise_slope"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is ({low}, {high}); give the smaller number first")
        for name in ("snr", "envelope", "resolution"):
            low, _ = getattr(self, name)
            if low <= 0:
                raise ValueError(f"the lowest {name} is {low}; give one above 0")
        low, high = self.missing_wedge
        if low < 0 or high >= 90:
            raise ValueError(
                f"missing_wedge is ({low}, {high}); give half angles of at least 0° and below 90°"
            )
        return self


@dataclass(frozen=True, eq=False)
class _Template:
    """A density (n, n, n) ready to be sampled, its voxel size and radius in Å."""

    density: Tensor
    voxel_size: float
    radius: float


def simulate_subtomograms(
    structures: Sequence[Structure],
    params: ImagingParams,
    *,
    per_class: int,
    seed: int,
) -> Subtomograms:
    """Subtomograms of known classes, each made anew whenever it is read.

    Parameters
    ----------
    structures
        One a class.
    params
        How they are imaged.
    per_class
        Volumes a class; as nothing is stored, this may be a million.
    seed
        Volume i depends on the seed and i alone.

    Returns
    -------
    Subtomograms
        Sorted by class.

    Raises
    ------
    ValueError
        If there is no structure.
    """
    if not structures:
        raise ValueError("0 structures to simulate; give at least one")
    templates = [
        # Of equal height, so that a neighbour from another source is no brighter than it should.
        _Template(torch.from_numpy(s.density / s.density.max()), s.voxel_size, s.diameter / 2)
        for s in structures
    ]

    def read(rows: npt.NDArray[np.int64]) -> Tensor:
        generators = [np.random.default_rng((seed, int(row))) for row in rows]
        clean = _arrange(templates, rows // per_class, params, generators)
        return standardise(image(clean, params, generators))

    n = len(structures)
    return Subtomograms(
        read=read,
        count=n * per_class,
        box=params.box,
        voxel_size=params.voxel_size,
        labels=np.repeat(np.arange(n), per_class),
        classes=tuple(structure.name for structure in structures),
    )


def image(
    clean: Tensor, params: ImagingParams, generators: Sequence[np.random.Generator]
) -> Tensor:
    """Image clean volumes: CTF, missing wedge, low-pass, and noise at the stated ratio.

    The noise is one draw whose spectrum is that of the two terms of the papers' simulator, half
    of it before and half after the CTF.

    Parameters
    ----------
    clean
        (b, d, d, d) protein positive.
    params
        Ranges; each volume draws its own values.
    generators
        One a volume, in a fixed order of draws.

    Returns
    -------
    Tensor
        (b, d, d, d), not standardised.
    """
    drawn = [_draw(params, g) for g in generators]
    settings = torch.tensor(drawn, dtype=torch.float32).reshape(-1, 6, 1, 1, 1)
    snr, defocus, envelope, wedge, resolution, slope = settings.unbind(1)  # (b, 1, 1, 1) each
    box = params.box
    k = imaging.radius((box, box, box), params.voxel_size)
    ctf = imaging.ctf(
        k,
        defocus,
        cs=params.cs,
        voltage=params.voltage,
        amplitude_contrast=params.amplitude_contrast,
    ) * imaging.envelope(k, envelope)
    seen = imaging.missing_wedge((box, box, box), wedge)
    pixel = 1.0 / (box * params.voxel_size)
    passed = imaging.low_pass(k, resolution, 2 * pixel) * seen
    detector = imaging.envelope((k - pixel).clamp(min=0), params.detector)
    signal_filter = ctf * passed
    noise_filter = torch.sqrt((ctf**2 + detector**2) / 2) * passed
    tilt = noise_filter * k.clamp(min=pixel) ** slope
    noise_power = imaging.spectrum_mean(noise_filter**2, box)
    noise_filter = (
        tilt * (noise_power / imaging.spectrum_mean(tilt**2, box)).sqrt()[:, None, None, None]
    )
    signal = torch.fft.irfftn(torch.fft.rfftn(clean, dim=(1, 2, 3)) * signal_filter, s=(box,) * 3)
    variance = signal.var(dim=(1, 2, 3), correction=0)
    if params.snr_convention == "nominal":
        white = variance / imaging.spectrum_mean((ctf * seen) ** 2, box)
    else:
        white = variance / noise_power
    white = white / snr.reshape(-1)
    draws = np.stack([g.standard_normal((box, box, box), dtype=np.float32) for g in generators])
    noise = torch.fft.rfftn(torch.from_numpy(draws), dim=(1, 2, 3)) * noise_filter
    scale = white.sqrt()[:, None, None, None]
    noisy: Tensor = signal + scale * torch.fft.irfftn(noise, s=(box,) * 3)
    return noisy


def _draw(params: ImagingParams, generator: np.random.Generator) -> list[float]:
    """SNR, defocus, envelope, wedge, resolution and noise slope of one volume."""
    uniform = [
        params.defocus,
        params.envelope,
        params.missing_wedge,
        params.resolution,
        params.noise_slope,
    ]
    snr = np.exp(generator.uniform(*np.log(params.snr)))
    return [float(snr), *(float(generator.uniform(low, high)) for low, high in uniform)]


def _arrange(
    templates: Sequence[_Template],
    labels: npt.NDArray[np.int64],
    params: ImagingParams,
    generators: Sequence[np.random.Generator],
) -> Tensor:
    """Rotated, shifted particles in their boxes, some with a neighbour; (b, d, d, d)."""
    limit = params.shift / params.voxel_size
    rotations = torch.cat([random_rotations(1, g) for g in generators])
    shifts = np.stack([g.uniform(-limit, limit, 3) for g in generators])
    volumes = _place(templates, labels, rotations, shifts, params)
    crowded = [i for i, g in enumerate(generators) if g.random() < params.neighbours]
    if crowded:
        own = [generators[i] for i in crowded]
        others = np.array([g.integers(len(templates)) for g in own])
        touching = np.array(
            [
                templates[mine].radius + templates[other].radius
                for mine, other in zip(labels[crowded], others, strict=True)
            ]
        )
        gaps = touching + np.array([g.uniform(0, _LARGEST_GAP) for g in own])
        away = np.stack([_direction(g) for g in own]) * gaps[:, None] / params.voxel_size
        turned = torch.cat([random_rotations(1, g) for g in own])
        volumes[crowded] += _place(templates, others, turned, shifts[crowded] + away, params)
    return volumes


_LARGEST_GAP = 60.0
"""Å between the surfaces of a particle and its neighbour."""


def _direction(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw a unit vector, uniform on the sphere."""
    vector = generator.normal(size=3)
    unit: npt.NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def _place(
    templates: Sequence[_Template],
    labels: npt.NDArray[np.int64],
    rotations: Tensor,
    shifts: npt.NDArray[np.float64],
    params: ImagingParams,
) -> Tensor:
    """One rotated particle a box at its shift (zyx, voxels); (b, d, d, d)."""
    volumes = torch.empty(len(labels), params.box, params.box, params.box)
    moves = torch.from_numpy(shifts.astype(np.float32))
    for label in np.unique(labels):
        rows = torch.from_numpy(np.flatnonzero(labels == label))
        template = templates[label]
        volumes[rows] = sample_rotated(
            template.density,
            rotations[rows],
            box=params.box,
            step=params.voxel_size / template.voxel_size,
            shifts=moves[rows],
        )
    return volumes
