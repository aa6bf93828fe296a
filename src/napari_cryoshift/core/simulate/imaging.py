"""What a cryo-electron microscope does to a volume, as filters in 3-D Fourier space.

All filters are real arrays over the half spectrum of `torch.fft.rfftn`, (z, y, x // 2 + 1), or a
batch of them. The beam runs along z and the specimen is tilted about y.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def frequencies(
    shape: Sequence[int], voxel_size: float, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """Spatial frequencies kz (z, 1, 1), ky (1, y, 1), kx (1, 1, x // 2 + 1) in 1/Å."""
    z, y, x = shape
    kz = torch.fft.fftfreq(z, voxel_size, device=device).reshape(-1, 1, 1)
    ky = torch.fft.fftfreq(y, voxel_size, device=device).reshape(1, -1, 1)
    kx = torch.fft.rfftfreq(x, voxel_size, device=device).reshape(1, 1, -1)
    return kz, ky, kx


def radius(shape: Sequence[int], voxel_size: float, device: torch.device | str = "cpu") -> Tensor:
    """Length of the spatial frequency, (z, y, x // 2 + 1) in 1/Å."""
    kz, ky, kx = frequencies(shape, voxel_size, device)
    return torch.sqrt(kz**2 + ky**2 + kx**2)


def electron_wavelength(voltage: float) -> float:
    """Relativistic wavelength in Å at a voltage in kV."""
    volts = voltage * 1e3
    return 12.2639 / math.sqrt(volts * (1 + 0.97845e-6 * volts))


def ctf(
    k: Tensor,
    defocus: float | Tensor,
    *,
    cs: float | Tensor = 2.7,
    voltage: float = 300.0,
    amplitude_contrast: float = 0.07,
) -> Tensor:
    """Contrast transfer function of a protein-positive volume.

    ``sin(π λ |Δf| k² − π/2 Cs λ³ k⁴ + asin A)`` for underfocus Δf < 0.

    Parameters
    ----------
    k
        Spatial frequency, 1/Å, any shape.
    defocus
        µm, negative = underfocus (the convention of the papers); broadcasts against ``k``.
    cs
        Spherical aberration, mm.
    voltage
        kV.
    amplitude_contrast
        Fraction.

    Returns
    -------
    Tensor
        Of the shape of ``k`` broadcast with ``defocus``; positive near k = 0.
    """
    wavelength = electron_wavelength(voltage)
    underfocus = -1e4 * torch.as_tensor(defocus, dtype=k.dtype, device=k.device)
    aberration = 1e7 * torch.as_tensor(cs, dtype=k.dtype, device=k.device)
    phase = math.pi * wavelength * underfocus * k**2 - math.pi / 2 * aberration * wavelength**3 * (
        k**4
    )
    return torch.sin(phase + math.asin(amplitude_contrast))


def missing_wedge(
    shape: Sequence[int],
    half_angle: float | Tensor,
    *,
    tilt_centre: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Mask that keeps what a tilt series has seen.

    A tilt of θ sees the frequencies along (kx, kz) = k (cos θ, sin θ).

    Parameters
    ----------
    shape
        Of the volume, zyx; a cube or not, voxels are taken as cubic.
    half_angle
        Degrees from the kz axis that no tilt has seen: 30 for a tilt range of 120°. A tensor of
        shape (b, 1, 1, 1) gives a batch of masks.
    tilt_centre
        Middle of the tilt range, degrees: 10 and a half angle of 30 for −50° to +70°.
    device
        Where the mask is made.

    Returns
    -------
    Tensor
        1 where tan(lowest tilt) ≤ kz / kx ≤ tan(highest tilt), else 0; the origin is kept.
    """
    kz, _, kx = frequencies(shape, 1.0, device)
    half = torch.as_tensor(half_angle, dtype=kz.dtype, device=kz.device)
    lowest, highest = (torch.deg2rad(tilt_centre + side * (90 - half)) for side in (-1, 1))
    # Cosines instead of slopes, which have no number at 90°; the slack keeps the frequencies that
    # lie exactly on the rim whatever the rounding.
    below = kz * torch.cos(highest) <= kx * torch.sin(highest) + 1e-6
    above = kz * torch.cos(lowest) >= kx * torch.sin(lowest) - 1e-6
    kept = below & above
    if shape[-1] % 2 == 0:
        # The last column stands for both signs of its frequency.
        kept[..., -1:] |= kept[..., -1:].flip(-3).roll(1, -3)
    size = (*kept.shape[:-3], kz.shape[0], shape[1], kx.shape[2])
    return kept.to(kz.dtype).expand(size)


def envelope(k: Tensor, resolution: float | Tensor) -> Tensor:
    """Fall-off of the contrast, ``exp(−(k · resolution)²)``: 1/e at the resolution in Å."""
    return torch.exp(-((k * torch.as_tensor(resolution, dtype=k.dtype, device=k.device)) ** 2))


def low_pass(k: Tensor, resolution: float | Tensor, edge: float | Tensor) -> Tensor:
    """Pass up to 1/resolution, then fall off as a Gaussian of width ``edge``.

    Parameters
    ----------
    k
        Spatial frequency, 1/Å.
    resolution
        Å.
    edge
        Standard deviation of the fall-off, 1/Å.
    """
    beyond = (k - 1.0 / torch.as_tensor(resolution, dtype=k.dtype, device=k.device)).clamp(min=0)
    return torch.exp(-0.5 * (beyond / edge) ** 2)


def variance(spectrum: Tensor, x: int) -> Tensor:
    """Variance over the voxels of volumes given by their half spectra.

    Parameters
    ----------
    spectrum
        (..., z, y, x // 2 + 1) of `torch.fft.rfftn`.
    x
        Length of the last axis in real space.

    Returns
    -------
    Tensor
        (...), by Parseval's theorem, without the mean.
    """
    # Every inner column stands for two frequencies; the mean is no variance.
    total = 2 * _power(spectrum, 3) - _power(spectrum[..., 0], 2)
    if x % 2 == 0:
        total -= _power(spectrum[..., -1], 2)
    total -= spectrum[..., 0, 0, 0].abs() ** 2
    return total / (spectrum.shape[-3] * spectrum.shape[-2] * x) ** 2


def _power(spectrum: Tensor, dims: int) -> Tensor:
    """Sum of squared amplitudes over the last dims; a dot product is far quicker than a norm."""
    parts = torch.view_as_real(spectrum).flatten(-dims - 1)
    power: Tensor = torch.linalg.vecdot(parts, parts)
    return power


def spectrum_mean(filter_squared: Tensor, x: int) -> Tensor:
    """Mean over the full spectrum of a power given on the half spectrum.

    Parameters
    ----------
    filter_squared
        (..., z, y, x // 2 + 1).
    x
        Length of the last axis in real space: its inner columns count twice.

    Returns
    -------
    Tensor
        (...): what white noise of variance 1 has left after the filter.
    """
    weight = torch.full((x // 2 + 1,), 2.0, device=filter_squared.device)
    weight[0] = 1.0
    if x % 2 == 0:
        weight[-1] = 1.0
    full = filter_squared.shape[-3] * filter_squared.shape[-2] * x
    return (filter_squared * weight).sum(dim=(-3, -2, -1)) / full
