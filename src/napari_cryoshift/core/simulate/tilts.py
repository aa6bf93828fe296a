"""The full way to image a particle: every tilt is projected, filtered and back-projected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from . import fourier, imaging, microscope
from .microscope import Mtf, Optics, read_mtf
from .settings import Drawn, ImagingParams
from .tilt_series import back_project, project, tilt_angles


def expose(
    clean: Tensor, seeds: Sequence[int], drawn: Drawn, params: ImagingParams
) -> tuple[Tensor, Tensor]:
    """Image clean volumes.

    Parameters
    ----------
    clean
        (b, d, d, d) protein positive.
    seeds
        Of the noise, one a volume.
    drawn, params
        How it is imaged.

    Returns
    -------
    signal, noise : Tensor
        Half spectra (b, d, d, d // 2 + 1), the noise at no particular scale.
    """
    box = params.box
    images = torch.empty(2, *clean.shape, device=clean.device)
    wedges = drawn.missing_wedge.reshape(-1)
    detector = _detector(params)
    for wedge in sorted(set(wedges.tolist())):
        rows = torch.nonzero(wedges == wedge)[:, 0]
        reach = 90 - wedge
        angles = tilt_angles(
            params.tilt_centre - reach, params.tilt_centre + reach, params.tilt_step
        )
        optics = Optics(
            pixel_size=params.voxel_size,
            defocus=drawn.defocus[rows].reshape(-1),
            cs=drawn.cs[rows].reshape(-1),
            voltage=params.voltage,
            amplitude_contrast=params.amplitude_contrast,
            envelope=drawn.envelope[rows].reshape(-1),
            mtf=detector,
            dose=params.dose,
            dose_weighting=params.dose_weighting,
        )
        generators = [torch.Generator(clean.device).manual_seed(seeds[row]) for row in rows]
        taken = microscope.expose(project(clean[rows], angles), angles, optics, generators)
        both = back_project(torch.cat(taken), angles, box)
        images[:, rows] = both.reshape(2, len(rows), box, box, box)
    k = imaging.radius((box,) * 3, params.voxel_size, clean.device)
    pixel = 1 / (box * params.voxel_size)
    passed = imaging.low_pass(k, drawn.resolution, fourier.LOW_PASS_EDGE * pixel)
    signal, noise = torch.fft.rfftn(images, dim=(-3, -2, -1)) * passed
    return signal, noise * k.clamp(min=pixel) ** drawn.noise_slope


def _detector(params: ImagingParams) -> Mtf:
    """The detector's curve from its file, or one that falls to 1/e at the stated resolution."""
    if params.mtf is not None:
        return read_mtf(params.mtf, params.mtf_pixel_size)
    frequency = np.linspace(0, 1 / params.voxel_size, 200)
    return Mtf(frequency, np.exp(-((frequency * params.detector) ** 2)))
