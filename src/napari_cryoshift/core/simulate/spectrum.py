"""What the power spectrum of a tomogram says of how it was taken: tilt range and defocus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_cryoshift.core.types import Tomogram

from . import imaging

_BOX = 64
"""Voxels, of the boxes that the spectrum is the mean of; the larger, the sharper it is."""

_BOXES = 64

_WEAKEST = 1e-3
"""Shells with less than this of the strongest one's power are left out: nothing is in them."""

_STEP = 10
"""Degrees over which the power falls at the edge of the wedge; it falls slower within the range."""

_EMPTY = 0.3
"""Share of the power at 0° below which what lies around the beam counts as empty."""

_RINGS = 0.35
"""Share of what a smooth curve leaves of the spectrum that Thon rings have to explain."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TiltRange:
    """Which tilts a tomogram was made of.

    Attributes
    ----------
    axis
        About which the specimen was tilted.
    lowest, highest
        Degrees, −90 and 90 where nothing is missing; about x, as they are once the quarter turn
        of `about_y` has made it y.
    """

    axis: Literal["y", "x"]
    lowest: float
    highest: float

    @property
    def missing_wedge(self) -> float:
        """Half angle, degrees."""
        return 90 - (self.highest - self.lowest) / 2

    @property
    def centre(self) -> float:
        """Middle of the range, degrees."""
        return (self.highest + self.lowest) / 2

    def about_y(self, volumes: Tensor) -> Tensor:
        """Turn volumes (..., z, y, x) about z so that the tilt axis becomes y."""
        return volumes if self.axis == "y" else torch.rot90(volumes, 1, (-2, -1))

    def from_y(self, volumes: Tensor) -> Tensor:
        """Turn volumes (..., z, y, x) whose tilt axis is y as this tomogram is."""
        return volumes if self.axis == "y" else torch.rot90(volumes, -1, (-2, -1))


def mean_spectrum(tomogram: Tomogram, seed: int = 0) -> Tensor:
    """Mean power spectrum of boxes of a tomogram.

    Parameters
    ----------
    tomogram
        Any grey values; those that are no numbers count as 0.
    seed
        Of where the boxes are.

    Returns
    -------
    Tensor
        (z, y, x) in the order of `torch.fft.fftn`; y = x, at most 64 each.

    Raises
    ------
    ValueError
        If the tomogram is less than 16 voxels wide.
    """
    depth, height, width = tomogram.shape
    side = min(_BOX, height, width)
    shape = (min(_BOX, depth), side, side)
    if min(shape) < 16:
        raise ValueError(
            f"{tomogram.name} has {' × '.join(map(str, tomogram.shape))} voxels (zyx), too few for "
            "a power spectrum; open a larger part of it"
        )
    generator = np.random.default_rng(seed)
    z, y, x = (torch.hann_window(n + 2, periodic=False)[1:-1] for n in shape)
    window = z[:, None, None] * y[:, None] * x
    total = torch.zeros(shape)
    for _ in range(_BOXES):
        first = [generator.integers(n - m + 1) for n, m in zip(tomogram.shape, shape, strict=True)]
        part = tuple(slice(a, a + m) for a, m in zip(first, shape, strict=True))
        box = torch.from_numpy(np.array(tomogram.data[part], dtype=np.float32))
        box = box.nan_to_num(0.0, 0.0, 0.0)
        total += torch.fft.fftn((box - box.mean()) * window).abs() ** 2
    return total / _BOXES


def estimate_tilts(power: Tensor) -> TiltRange:
    """Find tilt axis and tilt range in the power spectrum of a tomogram.

    A tilt series about y sees the frequencies along (kx, kz) = k (cos θ, sin θ) of its tilts θ;
    seen from 0°, the power falls at once where they end. It is compared with the mean of its shell,
    so that neither the colour of the noise nor the resolution matters.

    Parameters
    ----------
    power
        (z, y, x) of `mean_spectrum`.

    Returns
    -------
    TiltRange
        Within some 4°; about that axis whose wedge is emptier.
    """
    profiles: dict[Literal["y", "x"], FloatArray] = {
        "y": _by_angle(power),
        "x": _by_angle(power.transpose(1, 2)),
    }
    axis = min(profiles, key=lambda name: _around_beam(profiles[name]))
    profile = profiles[axis]
    if _around_beam(profile) > _EMPTY:
        return TiltRange(axis="y", lowest=-90.0, highest=90.0)
    return TiltRange(axis, lowest=-_edge(profile[::-1]), highest=_edge(profile))


def estimate_defocus(power: Tensor, voxel_size: float, **optics: float) -> float | None:
    """Find the defocus by the Thon rings of a power spectrum, if it has any.

    Most tomograms are binned so far, or corrected, that no zero of the contrast transfer is left;
    then nothing can be said.

    Parameters
    ----------
    power
        (z, y, x) of `mean_spectrum`.
    voxel_size
        Å.
    **optics
        Of `imaging.ctf`, but for the defocus.

    Returns
    -------
    float or None
        µm, negative; None where a smooth curve explains the spectrum as well.
    """
    radial = _radial_mean(power)
    k = np.arange(len(radial)) / (power.shape[-1] * voxel_size)
    shown = (np.arange(len(radial)) > 2) & (radial > _WEAKEST * radial[2:].max())
    k, values = k[shown], np.log(radial[shown])
    if len(k) < 12:
        return None
    smooth = np.vander(k / k[-1], 4)
    unexplained = _residual(smooth, values)
    tried = -np.arange(1.0, 15.0, 0.05)
    rings = [imaging.ctf(torch.from_numpy(k), defocus, **optics).numpy() ** 2 for defocus in tried]
    left = [_residual(np.column_stack([smooth, ring]), values) for ring in rings]
    best = int(np.argmin(left))
    # Without a minimum in sight, the curve of a ring is as smooth as any.
    dips = (np.diff(np.sign(np.diff(rings[best]))) > 0).sum()
    return float(tried[best]) if dips and left[best] < (1 - _RINGS) * unexplained else None


def _residual(columns: FloatArray, values: FloatArray) -> float:
    solved = np.linalg.lstsq(columns, values, rcond=None)[0]
    return float(((values - columns @ solved) ** 2).sum())


def _radial_mean(power: Tensor) -> FloatArray:
    """(x // 2,) mean of each shell."""
    side = power.shape[-1]
    shell = _radius(power).round().long()
    mean = torch.bincount(shell.ravel(), power.ravel().double()) / torch.bincount(shell.ravel())
    return mean[: side // 2].numpy()


def _radius(power: Tensor) -> Tensor:
    """Frequencies of a full spectrum (z, y, x), in those of its x axis."""
    z, y, x = (torch.fft.fftfreq(n) * power.shape[-1] for n in power.shape)
    return torch.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)


def _by_angle(power: Tensor) -> FloatArray:
    """(180,) mean power from −90° to 90° about y, a degree each, in units of the shell's mean."""
    depth, _, side = power.shape
    radius = _radius(power)
    shell = radius.round().long()
    of_shell = torch.bincount(shell.ravel(), power.ravel()) / torch.bincount(shell.ravel())
    relative = power / of_shell[shell].clamp(min=1e-30)
    kz = torch.fft.fftfreq(depth)[:, None, None] * side
    kx = torch.fft.fftfreq(side) * side
    # Near the axis a box is too small to tell angles apart; its corners hold few frequencies.
    away = torch.hypot(kz, kx.expand(depth, 1, side)) >= side / 6
    kept = away & (of_shell > _WEAKEST * of_shell[2:].max())[shell] & (radius < side / 2)
    degrees = torch.rad2deg(torch.atan2(kz, kx)).expand_as(power)
    index = (torch.floor(degrees) + 90).long().remainder(180)[kept]
    sums = torch.stack(
        [
            torch.bincount(index, relative[kept].double(), minlength=180),
            torch.bincount(index, minlength=180).double(),
        ]
    )
    # As many degrees together as the frequencies of the box are apart.
    reach = round(90 / min(depth, side))
    near = torch.nn.functional.pad(sums, (reach, reach)).unfold(1, 2 * reach + 1, 1).sum(2)
    return (near[0] / near[1].clamp(min=1)).numpy()


def _around_beam(profile: FloatArray) -> float:
    """Power within 8° of the beam over that within 45° of 0°."""
    return float(np.r_[profile[:8], profile[-8:]].mean() / np.median(profile[45:135]))


def _edge(profile: FloatArray) -> float:
    """Angle above 0° at which the power has fallen to half of what it was just before."""
    for index in range(90 + 2 * _STEP, 180):
        half = profile[index - 3 * _STEP // 2 : index - _STEP // 2].mean() / 2
        if profile[index] < half:
            over, under = profile[index - 1] - half, half - profile[index]
            return float(index - 90.5 + over / (over + under))
    return 90.0
