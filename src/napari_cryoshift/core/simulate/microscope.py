"""What happens to each projection of a tilt series: lens, detector, radiation damage, ice, noise.

Signal and noise stay apart: both are linear, so that a caller reconstructs each and then adds them
at the ratio that he wants in the finished volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import AfterValidator
from torch import Tensor

from napari_cryoshift.core.formats.star import read_star

from . import imaging
from .dose import accumulated_dose, damage

MEAN_FREE_PATH = 3950.0
"""Å between inelastic events in vitreous ice at 300 kV (Rice et al. 2018, J Struct Biol 204:38)."""

_PHASE_BETWEEN_STRIPS = 0.5
"""Radians at Nyquist: linear blending is then within 3 % of the true transfer there."""

_FREQUENCY, _TRANSFER = "rlnResolutionInversePixel", "rlnMtfValue"


MtfFile = Annotated[Path | None, AfterValidator(lambda path: path and path.absolute())]
"""A field of Params, which is found again whatever folder they are read in."""


@dataclass(frozen=True, eq=False)
class Mtf:
    """Modulation transfer of a detector: a curve that is linear between its nodes.

    Attributes
    ----------
    frequency
        (n,) rising, 1/Å.
    value
        (n,) what the detector passes of the amplitude; its last value holds beyond the last node.
    """

    frequency: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]

    def __call__(self, k: Tensor) -> Tensor:
        """Transfer at spatial frequencies in 1/Å, of the shape of ``k``."""
        value = np.interp(k.cpu().numpy(), self.frequency, self.value)
        return torch.as_tensor(value, dtype=k.dtype, device=k.device)


def read_mtf(path: Path, pixel_size: float) -> Mtf:
    """Read a detector's curve from a STAR file of RELION's.

    Parameters
    ----------
    path
        With the columns ``rlnResolutionInversePixel`` (0 to 0.5) and ``rlnMtfValue``.
    pixel_size
        Å of the pixel that the file counts in: the detector's own, before any binning.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file has no such columns, or its frequencies do not rise.
    """
    for table in read_star(path).values():
        if {_FREQUENCY, _TRANSFER} <= set(table.columns):
            frequency = table[_FREQUENCY].to_numpy(np.float64) / pixel_size
            if not (np.diff(frequency) > 0).all():
                raise ValueError(f"the frequencies in {path.name} do not rise; sort its rows")
            return Mtf(frequency, table[_TRANSFER].to_numpy(np.float64))
    raise ValueError(
        f"{path.name} has no columns {_FREQUENCY} and {_TRANSFER}; give a detector's MTF of RELION"
    )


@dataclass(frozen=True, eq=False)
class Optics:
    """How the images of a tilt series are taken; a tensor (b,) gives each volume its own value.

    Attributes
    ----------
    pixel_size
        Å.
    defocus
        µm at the tilt axis, negative is underfocus; float or (b,).
    cs
        Spherical aberration, mm; float or (b,).
    voltage
        kV.
    amplitude_contrast
        Fraction.
    envelope
        Å at which the contrast transfer has fallen to 1/e, 0 for none; float or (b,).
    mtf
        Of the detector, which filters all that arrives there; None for a perfect one.
    gradient
        Whether the defocus changes across a tilted specimen.
    dose
        e/Å² over all tilts, taken from 0° outwards; it damages the specimen at 300 kV. 0 for none.
    dose_weighting
        Whether each image is weighted by what the damage has left of its signal.
    ice
        Thickness, Å: a float or a map (b, x) of its profile across the tilt axis.
    noise_before
        Share of the white noise that comes before the CTF, 0 to 1.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    pixel_size: float
    defocus: float | Tensor
    cs: float | Tensor = 2.7
    voltage: float = 300.0
    amplitude_contrast: float = 0.07
    envelope: float | Tensor = 0.0
    mtf: Mtf | None = None
    gradient: bool = False
    dose: float = 0.0
    dose_weighting: bool = False
    ice: float | Tensor = 0.0
    noise_before: float = 0.5

    def __post_init__(self) -> None:
        if not self.pixel_size > 0:
            raise ValueError(f"the pixel size is {self.pixel_size:g} Å; give one above 0")
        if not 0 <= self.noise_before <= 1:
            raise ValueError(
                f"the share of noise before the CTF is {self.noise_before:g}; give 0 to 1"
            )
        if not self.dose >= 0:
            raise ValueError(f"the dose is {self.dose:g} e/Å²; give 0 or more")
        if not bool((torch.as_tensor(self.ice) >= 0).all()):
            raise ValueError("the ice is thinner than 0 Å somewhere; give 0 or more")


def expose(
    projections: Tensor,
    angles: Tensor,
    optics: Optics,
    generator: torch.Generator | Sequence[torch.Generator],
) -> tuple[Tensor, Tensor]:
    """Take images of projections.

    Every tilt on its own: damage by the dose up to its middle; the part of the noise that the
    specimen makes, drawn anew each time; CTF with its envelope; absorption by the ice; shot noise;
    the detector. Images are scaled to unit shot noise, as tomography programs do, so that
    absorption shows as a weaker signal.

    Parameters
    ----------
    projections
        (b, t, y, x) protein positive.
    angles
        (t,) degrees.
    optics
        Of all.
    generator
        Of the noise: one for the batch, or one a volume, whose noise then depends on it alone.

    Returns
    -------
    signal, noise : Tensor
        (b, t, y, x). The noise is that of unit variance before CTF and detector took their part.

    Raises
    ------
    ValueError
        If there is not one image a tilt, or the ice has a profile of another width.
    """
    b, t, y, x = projections.shape
    if t != len(angles):
        raise ValueError(f"{t} images but {len(angles)} tilt angles; give one a tilt")
    device = projections.device
    k = imaging.radius((1, y, x), optics.pixel_size, device)[0]
    detector = optics.mtf(k) if optics.mtf else torch.ones_like(k)
    lens = detector * imaging.envelope(k, _each(optics.envelope, device))
    undamaged = damage(k, accumulated_dose(angles, optics.dose).to(device))
    weight = torch.ones_like(undamaged)
    if optics.dose_weighting:
        weight = undamaged / undamaged.square().mean(0).sqrt()
    arrived = transmission(angles.to(device), optics.ice)  # (b or 1, t, x or 1)
    if arrived.shape[-1] not in (1, x):
        raise ValueError(
            f"ice over {arrived.shape[-1]} columns but images of {x}; give a thickness a column"
        )
    arrived = arrived / arrived.mean(-1, keepdim=True).sqrt()
    specimen_noise, shot_noise = _white((b, 2, t, y, x), generator).to(projections).unbind(1)
    specimen_noise *= math.sqrt(optics.noise_before)
    shot_noise *= math.sqrt(1 - optics.noise_before)

    signal, noise = torch.empty_like(projections), torch.empty_like(projections)
    for i, angle in enumerate(angles.tolist()):
        light = arrived[:, i, None]
        seen = _through_ctf(projections[:, i] * light, k, angle, optics) * lens
        grain = _through_ctf(specimen_noise[:, i] * light, k, angle, optics) * lens
        local = light / light.mean(-1, keepdim=True)
        grain += torch.fft.rfft2(shot_noise[:, i] * local.sqrt()) * detector
        signal[:, i] = torch.fft.irfft2(seen * undamaged[i] * weight[i], s=(y, x))
        noise[:, i] = torch.fft.irfft2(grain * weight[i], s=(y, x))
    return signal, noise


def transmission(angles: Tensor, thickness: float | Tensor) -> Tensor:
    """Share of the electrons that the ice does not scatter inelastically.

    Parameters
    ----------
    angles
        (t,) degrees.
    thickness
        Å of the untilted layer: a float or a profile (b, x) across the tilt axis, which goes on
        beyond its ends as at them.

    Returns
    -------
    Tensor
        (1, t, 1) or (b, t, x): exp(−thickness / (Λ cos θ)), Λ the mean free path at 300 kV.
    """
    layer = torch.as_tensor(thickness, dtype=angles.dtype, device=angles.device)
    layer = layer.expand(1, 1) if layer.ndim == 0 else layer
    x = layer.shape[-1]
    # No layer is endless: seen from its edge it is taken as ten times as long as thick.
    shortening = torch.deg2rad(angles).cos().clamp(min=0.1)[:, None]
    seen = (torch.arange(x, device=angles.device) - x // 2) / shortening + x // 2
    path = layer[:, seen.round().long().clamp(0, x - 1)] / shortening
    return torch.exp(-path / MEAN_FREE_PATH)


def _through_ctf(images: Tensor, k: Tensor, angle: float, optics: Optics) -> Tensor:
    """Half spectra (b, y, x // 2 + 1) of images (b, y, x) seen through the CTF at one tilt.

    The specimen is taken as flat, whatever its depth: what is imaged at x' lies at z' = −x' tan θ.
    Electrons travel along +z, so that it is underfocused by as much more. Every point is spread by
    a blend of the CTFs of the two nearest strips, which are so narrow that the blend is as good as
    its own CTF.
    """
    x = images.shape[-1]
    device = images.device
    defocus, cs = (_each(value, device) for value in (optics.defocus, optics.cs))
    position = (torch.arange(x, device=device) - x // 2) * optics.pixel_size
    slope = math.tan(math.radians(angle)) if optics.gradient else 0.0
    heights = -slope * position
    spread = float(heights.max() - heights.min())
    phase = math.pi * imaging.electron_wavelength(optics.voltage) * float(k.max()) ** 2 * spread
    strips = 1 + math.ceil(phase / _PHASE_BETWEEN_STRIPS)
    centres = torch.linspace(float(heights.min()), float(heights.max()), strips, device=device)
    apart = spread / max(1, strips - 1)
    seen = torch.zeros((*images.shape[:-1], x // 2 + 1), dtype=torch.complex64, device=device)
    for centre in centres:
        share = (1 - (heights - centre).abs() / apart).clamp(min=0) if apart else 1.0
        transfer = imaging.ctf(
            k,
            defocus - 1e-4 * centre,
            cs=cs,
            voltage=optics.voltage,
            amplitude_contrast=optics.amplitude_contrast,
        )
        seen += torch.fft.rfft2(images * share) * transfer
    return seen


def _each(value: float | Tensor, device: torch.device) -> Tensor:
    """A value a volume as (b, 1, 1), or one of all as (1, 1, 1)."""
    return torch.as_tensor(value, dtype=torch.float32, device=device).reshape(-1, 1, 1)


def _white(
    shape: tuple[int, ...], generator: torch.Generator | Sequence[torch.Generator]
) -> Tensor:
    if isinstance(generator, torch.Generator):
        return torch.randn(shape, generator=generator, device=generator.device)
    return torch.stack([_white(shape[1:], g) for g in generator])
