"""Signal-to-noise ratio: its one definition here, and the conversion from that of the papers.

The ratio is a **power ratio a volume**: the variance over all voxels of the signal in the finished
volume, over that of the noise in it. The papers' simulator scales white noise before the filters;
what it calls the ratio is the *nominal* one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.volumes import sample_rotated

from . import imaging
from .fourier import Filters
from .settings import Drawn, ImagingParams


def power_per_nominal(filters: Filters) -> Tensor:
    """What the papers' nominal ratio has to be multiplied by to get the power ratio.

    The papers give the white noise, before its filters, the variance var(signal) · c / ratio with
    c = 1 / (share of white noise that passes CTF and wedge). Behind the filters the noise keeps
    the mean power of its own filter.

    Parameters
    ----------
    filters
        Of a batch of b volumes of side d.

    Returns
    -------
    Tensor
        (b,); about 0.36 for 32³ voxels of 12 Å at −5 µm and ±60°.
    """
    box = filters.seen.shape[-3]
    return imaging.spectrum_mean(filters.seen**2, box) / imaging.spectrum_mean(
        filters.noise**2, box
    )


def power_ratio(params: ImagingParams, drawn: Drawn, filters: Filters) -> Tensor:
    """Return the drawn ratios of a batch, (b,), in whichever convention, as power ratios."""
    ratio = drawn.snr.reshape(-1)
    return ratio * power_per_nominal(filters) if params.snr_convention == "nominal" else ratio


def mix(signal: Tensor, noise: Tensor, ratio: Tensor, variance: Tensor | None = None) -> Tensor:
    """Add noise to a signal at a power ratio, exactly.

    Parameters
    ----------
    signal, noise
        Half spectra (b, d, d, d // 2 + 1) of finished volumes.
    ratio
        (b,) power ratio.
    variance
        (b,) of the signal that the ratio refers to; by default each volume's own.

    Returns
    -------
    Tensor
        Half spectra of the sums.
    """
    box = signal.shape[-3]
    if variance is None:
        variance = imaging.variance(signal, box)
    scale = torch.sqrt(variance / (imaging.variance(noise, box) * ratio))
    mixed: Tensor = torch.addcmul(signal, noise, scale[:, None, None, None])
    return mixed


def mean_power(structures: Sequence[Structure], *, box: int, voxel_size: float) -> Tensor:
    """Power spectrum of the mean class, averaged over rotations.

    With it one dose can be given to all classes: `mean_variance` is the signal that the noise is
    measured against, whichever particle is in the box.

    Parameters
    ----------
    structures
        One a class, on the scale of the library (Å/Å³).
    box
        Side d of the volumes, voxels.
    voxel_size
        Å.

    Returns
    -------
    Tensor
        (d, d, d // 2 + 1) half spectrum of squared amplitudes.
    """
    shells = (imaging.radius((box,) * 3, voxel_size) * box * voxel_size).round().long()
    count = torch.bincount(shells.ravel())
    total = torch.zeros(len(count))
    for structure in structures:
        centred = sample_rotated(
            torch.from_numpy(structure.density),
            torch.eye(3)[None],
            box=box,
            step=voxel_size / structure.voxel_size,
        )
        power = torch.fft.rfftn(centred[0]).abs() ** 2
        total += torch.bincount(shells.ravel(), power.ravel()) / count
    return total[shells] / len(structures)


def mean_variance(power: Tensor, filters: Filters) -> Tensor:
    """Variance (b,) that the mean class has behind the filters of each volume."""
    box = power.shape[0]
    passed = power * filters.signal**2
    passed[..., 0, 0, 0] = 0
    return imaging.spectrum_mean(passed, box) / box**3


def mean_particle(power: Tensor) -> Tensor:
    """A particle (d, d, d) with a power spectrum of `mean_power`: all phases 0 about its centre."""
    half = power.shape[0] // 2
    particle: Tensor = torch.fft.irfftn(power.sqrt(), s=(power.shape[0],) * 3)
    return particle.roll((half,) * 3, (0, 1, 2))
