"""A whole specimen on the stage: its tilt series, and the tomogram that is made from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job, Progress

from . import imaging
from .microscope import MtfFile, Optics, expose, read_mtf
from .tilt_series import back_project, project, tilt_angles

_LOW_PASS_EDGE = 0.1
"""Width of the fall-off of the low-pass, as a fraction of its cut-off."""

_ROWS = 16
"""Of a volume that are projected at once; a tilt about y leaves each to itself."""


class TiltSeriesParams(Params):
    """How a tilt series is taken."""

    lowest: float = Field(
        -60.0, ge=-90, le=90, title="Lowest tilt", description="About the y axis, degrees."
    )
    highest: float = Field(
        60.0, ge=-90, le=90, title="Highest tilt", description="About the y axis, degrees."
    )
    step: float = Field(3.0, gt=0, le=30, title="Tilt step", description="Degrees.")
    dose: float = Field(
        100.0,
        ge=0,
        le=500,
        title="Dose",
        description="e/Å² over all tilts, from 0° outwards, which damages the specimen.",
    )
    dose_weighting: bool = Field(
        False,
        title="Dose weighting",
        description="Whether each image is weighted by what the damage has left of its signal.",
    )
    gradient: bool = Field(
        True,
        title="Defocus gradient",
        description="Whether the defocus changes across the tilted specimen.",
    )
    voltage: float = Field(300.0, gt=0, le=1000, title="Voltage", description="kV.")
    cs: float = Field(2.7, ge=0, le=10, title="Spherical aberration", description="mm.")
    amplitude_contrast: float = Field(
        0.07, ge=0, lt=1, title="Amplitude contrast", description="Fraction."
    )
    envelope: float = Field(
        30.0,
        ge=0,
        le=200,
        title="Envelope",
        description="Å at which the contrast transfer has fallen to 1/e, 0 for a perfect one.",
    )
    mtf: MtfFile = Field(
        None,
        title="Detector curve",
        description="STAR file with the detector's modulation transfer; none for a perfect one.",
    )
    mtf_pixel_size: float = Field(
        1.35,
        gt=0,
        title="Pixel of the detector",
        description="Å, of the unbinned images that the detector's curve counts in.",
    )

    @model_validator(mode="after")
    def _check(self) -> TiltSeriesParams:
        if len(tilt_angles(self.lowest, self.highest, self.step)) < 2:
            raise ValueError(
                f"the tilt step of {self.step:g}° is wider than the tilt range of "
                f"{self.highest - self.lowest:g}°; give a smaller step"
            )
        return self


def acquire(
    density: npt.NDArray[np.float32],
    ice: npt.NDArray[np.float32],
    params: TiltSeriesParams,
    *,
    voxel_size: float,
    defocus: float,
    resolution: float,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Job[tuple[Tensor, Tensor]]:
    """Take a tilt series of a specimen and reconstruct it, signal and noise apart.

    Parameters
    ----------
    density
        (z, y, x) scattering beyond that of its surroundings, which are taken as 0.
    ice
        (y, x) thickness of the ice, Å; what matters is its profile across the tilt axis.
    params
        How.
    voxel_size
        Å.
    defocus
        µm at the tilt axis, negative is underfocus.
    resolution
        Å of the low-pass. It filters the images, which for a radial filter is the same as to
        filter the volume.
    generator
        Of the noise.
    device
        Where it is worked out, and returned.

    Returns
    -------
    signal, noise : Tensor
        (z, y, x) protein positive; the noise on a scale of its own.

    Raises
    ------
    FileNotFoundError
        If there is no such file of the detector.
    ValueError
        If that file holds no curve.
    """
    angles = tilt_angles(params.lowest, params.highest, params.step)
    depth, rows, _ = density.shape
    specimen = torch.from_numpy(density)[None].to(device)
    optics = Optics(
        pixel_size=voxel_size,
        defocus=defocus,
        cs=params.cs,
        voltage=params.voltage,
        amplitude_contrast=params.amplitude_contrast,
        envelope=params.envelope,
        mtf=read_mtf(params.mtf, params.mtf_pixel_size) if params.mtf else None,
        gradient=params.gradient,
        dose=params.dose,
        dose_weighting=params.dose_weighting,
        ice=torch.from_numpy(ice.mean(axis=0, keepdims=True)),
    )
    blocks = [slice(start, start + _ROWS) for start in range(0, rows, _ROWS)]
    projections = []
    for block in blocks:
        projections.append(project(specimen[:, :, block], angles))
        yield Progress("projecting", min(block.stop, rows), rows)
    images = torch.cat(expose(torch.cat(projections, dim=2), angles, optics, generator))
    yield Progress("exposing", len(angles), len(angles))
    images = _low_pass(images, voxel_size, resolution)
    volumes = torch.empty(2, *density.shape, device=images.device)
    for block in blocks:
        volumes[:, :, block] = back_project(images[:, :, block], angles, depth)
        yield Progress("reconstructing", min(block.stop, rows), rows)
    return volumes[0], volumes[1]


def _low_pass(images: Tensor, pixel_size: float, resolution: float) -> Tensor:
    """Filter images (..., y, x)."""
    y, x = images.shape[-2:]
    k = imaging.radius((1, y, x), pixel_size, images.device)[0]
    passed = imaging.low_pass(k, resolution, _LOW_PASS_EDGE / resolution)
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * passed, s=(y, x))
    return filtered
