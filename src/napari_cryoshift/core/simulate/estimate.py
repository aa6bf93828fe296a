"""How an open tomogram was taken, estimated from its grey values and its picks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.tomograms import guess_dark
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram
from napari_cryoshift.core.volumes import crop

from . import imaging
from .fourier import LOW_PASS_EDGE
from .settings import ImagingParams
from .spectrum import TiltRange, estimate_defocus, estimate_tilts, mean_spectrum

_PARTICLES = 500
"""Picks, the best ones, that are taken for particles."""

_BOXES = 1000
"""Boxes of the background."""

_FEWEST = 20
"""Boxes of the background without which nothing can be said."""

_CLEAR = 0.75
"""Diameters from any particle at which the background begins."""

_NEAR = 2.5
"""Diameters from a particle up to which it is looked for, so that it is that of the specimen."""

_SPREAD = 4.0
"""Factor to either side of the mean signal-to-noise ratio that particles are taken to have."""

_LIMITS = (0.01, 4.0)
"""Signal-to-noise ratios that are believed."""

_LEARNABLE = 0.5
"""Signal-to-noise ratio that the range reaches at least: in a crowd the background has as much
power as the particles, and of nothing but the hardest volumes nothing is learnt."""

_BATCH = 64

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a tomogram says of how it was taken.

    Attributes
    ----------
    tilts
        Its tilt axis and range.
    defocus
        µm, negative is underfocus; None where no Thon rings are seen.
    snr
        Power of the particles over that of the background, in boxes of the model; within a factor
        of two, as the background has parts of particles in it.
    resolution
        Å, beyond which there is nothing.
    noise_slope
        Exponent of the frequency in the amplitude of the background, on top of the microscope's
        filters.
    doubts
        What a person should look at, one sentence each.
    background
        (n, d, d, d) boxes of the model beside the particles, protein positive.
    """

    tilts: TiltRange
    defocus: float | None
    snr: float
    resolution: float
    noise_slope: float
    doubts: tuple[str, ...]
    background: Tensor

    def imaging(self, general: ImagingParams, defocus: float | None = None) -> ImagingParams:
        """Return settings that image particles as in this tomogram.

        Parameters
        ----------
        general
            Settings for any tomogram, of which the rest is taken: what the tomogram does not say.
        defocus
            µm, where a person knows it better.

        Returns
        -------
        ImagingParams
            Narrow ranges about what was estimated.
        """
        known = self.defocus if defocus is None else defocus
        wedge = self.tilts.missing_wedge
        low, high = _LIMITS
        return general.model_copy(
            update={
                "missing_wedge": (max(wedge - 2, abs(self.tilts.centre)), wedge + 2),
                "tilt_centre": self.tilts.centre,
                "defocus": general.defocus if known is None else (known - 0.5, known + 0.5),
                "snr": (
                    max(self.snr / _SPREAD, low),
                    float(np.clip(self.snr * _SPREAD, _LEARNABLE, high)),
                ),
                "snr_convention": "power",
                "resolution": (0.9 * self.resolution, 1.1 * self.resolution),
                "noise_slope": (self.noise_slope - 0.2, self.noise_slope + 0.2),
            }
        )

    def table(self) -> list[tuple[str, str]]:
        """Return what was estimated as rows of words: what, and how much."""
        low, high = self.tilts.lowest, self.tilts.highest
        wedge = self.tilts.missing_wedge
        return [
            ("tilt axis", self.tilts.axis),
            ("tilt range", f"{low:.0f}° to {high:.0f}°, missing wedge of ±{wedge:.0f}°"),
            (
                "defocus",
                "not to be seen" if self.defocus is None else f"{self.defocus:.1f} µm",
            ),
            ("resolution", f"{self.resolution:.0f} Å"),
            ("noise colour", f"{self.noise_slope:+.1f}"),
            ("signal-to-noise ratio", f"{self.snr:.2g}"),
            ("boxes of background", f"{len(self.background)}"),
        ]


def estimate(
    tomogram: Tomogram,
    picks: Particles,
    general: ImagingParams,
    *,
    diameter: float,
    seed: int = 0,
) -> Job[Estimate]:
    """Estimate how a tomogram was taken.

    Parameters
    ----------
    tomogram
        The tomogram.
    picks
        Candidate particles; the 500 of the highest score are taken for particles.
    general
        Settings for any tomogram; box and voxel size are those of the model.
    diameter
        Of a particle, Å.
    seed
        Of where it is looked at.

    Returns
    -------
    Estimate
        Of it.

    Raises
    ------
    ValueError
        If the tomogram is too small, or there are too few picks or no room beside them.
    """
    box, voxel_size = general.box, general.voxel_size
    generator = np.random.default_rng(seed)
    order = np.argsort(-np.nan_to_num(picks.score, nan=-np.inf), kind="stable")
    best = picks.take(order[:_PARTICLES])
    yield Progress("looking at the tomogram", 0, 0)
    spectrum = mean_spectrum(tomogram, seed)
    tilts = estimate_tilts(spectrum)
    beside = places_beside(
        tomogram, best, diameter=diameter, width=box * voxel_size, generator=generator
    )

    def cut(positions: FloatArray) -> Subtomograms:
        particles = Particles.at(positions)
        return crop(tomogram, particles, box=box, voxel_size=voxel_size, scaled=False)

    background = yield from _read(cut(beside), "cutting out background")
    particles = yield from _read(cut(best.positions), "cutting out particles")
    noise, power = (float(boxes.var(dim=(1, 2, 3)).mean()) for boxes in (background, particles))
    resolution, slope = fit_noise(radial_power(background), general)
    return Estimate(
        tilts=tilts,
        defocus=estimate_defocus(spectrum, tomogram.voxel_size, voltage=general.voltage),
        snr=float(np.clip(power / noise - 1, *_LIMITS)),
        resolution=resolution,
        noise_slope=slope,
        doubts=tuple(_doubts(tomogram, tilts, background, particles)),
        background=tilts.about_y(background),
    )


def places_beside(
    tomogram: Tomogram,
    particles: Particles,
    *,
    diameter: float,
    width: float,
    generator: np.random.Generator,
) -> FloatArray:
    """Draw places between particles: near some, but clear of all.

    Parameters
    ----------
    tomogram
        Where they are.
    particles
        Positions in its voxels.
    diameter
        Of a particle, Å.
    width
        Of a box about a place, Å; it lies within the tomogram unless it is wider than that.
    generator
        Of the places.

    Returns
    -------
    ndarray
        (n, 3) zyx voxels, at most 1000.

    Raises
    ------
    ValueError
        If there are no particles, or fewer than 20 places.
    """
    if len(particles) == 0:
        raise ValueError("0 particles to look beside; pick some first")
    size = diameter / tomogram.voxel_size
    shape = np.array(tomogram.shape)
    margin = np.minimum(width / tomogram.voxel_size, shape - 1) / 2
    around = particles.positions[generator.integers(len(particles), size=30 * _BOXES)]
    way = generator.normal(size=around.shape)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    # Whole voxels away, so that boxes of both are interpolated alike: it takes power from noise.
    places = around + np.rint(way * generator.uniform(_CLEAR, _NEAR, (len(way), 1)) * size)
    places = places[((places >= margin) & (places <= shape - 1 - margin)).all(1)]
    away, _ = cKDTree(particles.positions).query(places)
    clear: FloatArray = places[np.asarray(away) >= _CLEAR * size]
    if len(clear) < _FEWEST:
        raise ValueError(
            f"only {len(clear)} of {len(places)} places beside {len(particles)} picks of "
            f"{diameter:g} Å are clear of all of them; give fewer picks or a smaller diameter"
        )
    return clear[:_BOXES]


def radial_power(volumes: Tensor) -> FloatArray:
    """Mean power spectrum of volumes in shells of one Fourier pixel, without the zeroth.

    Parameters
    ----------
    volumes
        (n, d, d, d).

    Returns
    -------
    ndarray
        (d // 2,).
    """
    side = volumes.shape[-1]
    shell = (imaging.radius((side,) * 3, 1.0) * side).round().long()
    total = torch.zeros(shell.shape)
    for first in range(0, len(volumes), _BATCH):
        part = volumes[first : first + _BATCH]
        total += torch.fft.rfftn(part, dim=(-3, -2, -1)).abs().square().sum(0)
    weight = torch.full((side // 2 + 1,), 2.0)
    weight[0] = weight[-1] = 1.0
    count = torch.bincount(shell.ravel(), weight.expand_as(shell).ravel()).double()
    power = torch.bincount(shell.ravel(), (total * weight).ravel().double()) / count / len(volumes)
    return power[1 : side // 2 + 1].numpy()


def fit_noise(power: FloatArray, general: ImagingParams) -> tuple[float, float]:
    """Find the low-pass and the colour with which simulated noise has a power spectrum.

    Parameters
    ----------
    power
        (d // 2,) of `radial_power`, of noise.
    general
        Settings for any tomogram, which say how the microscope filters the noise.

    Returns
    -------
    resolution, slope : float
        Å, and exponent of the frequency: `ImagingParams.resolution` and ``noise_slope``.
    """
    pixel = 1 / (general.box * general.voxel_size)
    k = torch.arange(1, len(power) + 1) * pixel
    defocus = torch.linspace(*general.defocus, 20)[:, None]
    ctf = imaging.ctf(k, defocus, voltage=general.voltage)
    filtered = (ctf * imaging.envelope(k, float(np.mean(general.envelope)))) ** 2
    seen = filtered.mean(0) + imaging.envelope(k - pixel, general.detector) ** 2
    shown = power > 1e-4 * power.max()
    best, found = np.inf, (0.0, 0.0)
    for resolution in np.geomspace(2 * general.voxel_size, 12 * general.voxel_size, 60):
        passed = seen * imaging.low_pass(k, float(resolution), LOW_PASS_EDGE * pixel) ** 2
        left = np.log(power[shown] / passed.numpy()[shown].clip(min=1e-12))
        x = np.log(k.numpy()[shown])
        slope, offset = np.polyfit(x, left, 1)
        error = float(((left - slope * x - offset) ** 2).sum())
        if error < best:
            best, found = error, (float(resolution), float(slope) / 2)
    return found


def _read(volumes: Subtomograms, phase: str) -> Job[Tensor]:
    parts = []
    for first in range(0, len(volumes), _BATCH):
        parts.append(volumes[first : first + _BATCH])
        yield Progress(phase, min(first + _BATCH, len(volumes)), len(volumes))
    return torch.cat(parts)


def _doubts(
    tomogram: Tomogram, tilts: TiltRange, background: Tensor, particles: Tensor
) -> list[str]:
    doubts = []
    said = "dark" if tomogram.dark else "light"
    other = "light" if tomogram.dark else "dark"
    middle = slice(particles.shape[-1] // 2 - 2, particles.shape[-1] // 2 + 3)
    contrast = particles[:, middle, middle, middle].mean() - background.mean()
    if contrast < 0 or guess_dark(tomogram) != tomogram.dark:
        doubts.append(f"Particles are taken to be {said}, but look {other}.")
    if tilts.missing_wedge == 0:
        doubts.append("No missing wedge is to be seen; particles are simulated without one.")
    return doubts
