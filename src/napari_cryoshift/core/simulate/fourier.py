"""The fast way to image a particle: wedge, CTF and noise as filters in 3-D Fourier space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import imaging
from .settings import Drawn, ImagingParams

LOW_PASS_EDGE = 2**0.5
"""Fourier pixels: the fall-off of the papers' simulator, exp(−(r / 2)²), as a deviation."""


@dataclass(frozen=True, eq=False)
class Filters:
    """What a microscope does to signal and noise, over half spectra (b, d, d, d // 2 + 1).

    Attributes
    ----------
    signal
        CTF with its envelope, missing wedge and low-pass.
    noise
        Amplitude of the noise: the square root of the mean power of white noise that went through
        all of it, and of white noise that only the detector, the wedge and the low-pass saw.
    seen
        CTF and missing wedge alone, which the papers' nominal ratio is measured behind.
    """

    signal: Tensor
    noise: Tensor
    seen: Tensor


def filters(params: ImagingParams, drawn: Drawn) -> Filters:
    """Build the filters of a batch, on the device of what it drew."""
    shape, device = (params.box,) * 3, drawn.defocus.device
    k = imaging.radius(shape, params.voxel_size, device)
    pixel = 1.0 / (params.box * params.voxel_size)
    ctf = imaging.ctf(
        k,
        drawn.defocus,
        cs=drawn.cs,
        voltage=params.voltage,
        amplitude_contrast=params.amplitude_contrast,
    ) * imaging.envelope(k, drawn.envelope)
    wedge = imaging.missing_wedge(
        shape, drawn.missing_wedge, tilt_centre=params.tilt_centre, device=device
    )
    passed = imaging.low_pass(k, drawn.resolution, LOW_PASS_EDGE * pixel) * wedge
    detector = imaging.envelope((k - pixel).clamp(min=0), params.detector)
    noise = torch.sqrt((ctf**2 + detector**2) / 2) * passed
    return Filters(signal=ctf * passed, noise=noise, seen=ctf * wedge)


def expose(
    clean: Tensor, white: Tensor, filters: Filters, drawn: Drawn, params: ImagingParams
) -> tuple[Tensor, Tensor]:
    """Image clean volumes.

    Parameters
    ----------
    clean
        (b, d, d, d) protein positive.
    white
        (b, d, d, d) white noise.
    filters
        Of the batch.
    drawn, params
        How it is imaged.

    Returns
    -------
    signal, noise : Tensor
        Half spectra (b, d, d, d // 2 + 1), the noise at no particular scale.
    """
    box = params.box
    colour = filters.noise
    if drawn.noise_slope.any():
        k = imaging.radius((box,) * 3, params.voxel_size, clean.device)
        colour = colour * k.clamp(min=1 / (box * params.voxel_size)) ** drawn.noise_slope
    signal = torch.fft.rfftn(clean, dim=(-3, -2, -1)).mul_(filters.signal)
    noise = torch.fft.rfftn(white, dim=(-3, -2, -1)).mul_(colour)
    return signal, noise
