"""The geometry of a tilt series: from a volume to its projections, and back by the ramp filter.

The beam runs along z and the specimen is tilted about y; centres are at index n // 2. A tilt of θ
degrees turns the specimen right-handedly about +y, so that the point (x, z) is seen at

    x' = x cos θ + z sin θ.

Its image therefore holds the frequencies (kx, kz) = k (cos θ, sin θ): a series from −50° to +70°
has seen tan(−50°) ≤ kz / kx ≤ tan(70°).

A tilt about y leaves every xz-plane to itself, so planes are all that is worked on. Both ways end
in one deterministic gather: a value on a line is a weighted sum of values in a table, which is
what `torch.nn.functional.embedding_bag` is quick at, for all planes at once.
"""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

_PADDING = 2
"""Side of a padded plane over that of the plane: what interpolation in Fourier space needs."""

_OVERSAMPLING = 2
"""Samples a pixel of the filtered lines: linear phases up to Nyquist survive interpolation."""

_CHUNK = 2**21
"""Values that are worked on at a time, which bounds the memory whatever the size of the volume."""


def tilt_angles(lowest: float, highest: float, step: float) -> Tensor:
    """Angles of a tilt series.

    Parameters
    ----------
    lowest, highest
        Ends of the range, degrees.
    step
        Degrees. A rest of the range that makes no whole step is left out at both ends alike.

    Returns
    -------
    Tensor
        (t,) rising, degrees.

    Raises
    ------
    ValueError
        If the step is not above 0, or the range is empty or reaches beyond ±90°.
    """
    if not step > 0:
        raise ValueError(f"the tilt step is {step:g}°; give one above 0")
    if not lowest < highest:
        raise ValueError(f"the tilt range is {lowest:g}° to {highest:g}°; give the lower end first")
    if lowest < -90 or highest > 90:
        raise ValueError(f"the tilt range is {lowest:g}° to {highest:g}°; stay within ±90°")
    steps = math.floor((highest - lowest) / step + 1e-6)
    middle = (lowest + highest) / 2
    angles = middle + (torch.arange(steps + 1, dtype=torch.float64) - steps / 2) * step
    return angles.float()


def project(volumes: Tensor, angles: Tensor) -> Tensor:
    """Project volumes along the beam at every tilt.

    By the Fourier slice theorem, plane by plane: the line at θ through the plane's transform is the
    transform of its projection. The line is interpolated by cubic convolution (Keys 1981) in the
    transform of the plane padded to twice its side. Linear interpolation with the usual sinc²
    correction would be wrong here: tilts near 0° fall on the grid, where there is none to correct.

    Parameters
    ----------
    volumes
        (b, z, y, x), cubes or slabs; 0 is what lies around them.
    angles
        (t,) degrees.

    Returns
    -------
    Tensor
        (b, t, y, x): sums along the beam, in voxels.

    Raises
    ------
    ValueError
        If the arrays have other axes.
    """
    _check(volumes, angles, "volumes")
    b, z, y, x = volumes.shape
    side = _PADDING * next_fast_len(max(z, x))
    index, weight = _central_lines(angles.to(volumes.device), side)
    planes = volumes.transpose(1, 2).reshape(b * y, z, x)
    lines = volumes.new_empty(b * y, len(angles), x)
    at_once = _at_once(side**2)
    for start in range(0, b * y, at_once):
        chunk = slice(start, start + at_once)
        lines[chunk] = _lines(planes[chunk], index, weight, side)
    return lines.reshape(b, y, len(angles), x).transpose(1, 2).contiguous()


def back_project(images: Tensor, angles: Tensor, depth: int) -> Tensor:
    """Reconstruct volumes by weighted back-projection.

    Every image is ramp-filtered along x (the band-limited ramp of Kak & Slaney 1988, eq. 3.61) and
    weighted by the angle that it stands for, so that projections over 180° give the grey values of
    the volume back, however uneven the steps.

    Parameters
    ----------
    images
        (b, t, y, x); 0 is what lies around them.
    angles
        (t,) degrees, in any order.
    depth
        Voxels along z of the result.

    Returns
    -------
    Tensor
        (b, depth, y, x).

    Raises
    ------
    ValueError
        If the arrays have other axes, or there are fewer than two tilts.
    """
    _check(images, angles, "images")
    b, t, y, x = images.shape
    if t != len(angles) or t < 2:
        raise ValueError(f"{t} images and {len(angles)} tilt angles; give one a tilt, two at least")
    # Long enough that a line has a value wherever a voxel falls, which may be beside the image.
    length = 2 * next_fast_len(math.ceil((x + math.hypot(x, depth)) / 2))
    fine = _OVERSAMPLING * length
    angles = angles.to(images.device)
    ramp = _angular_steps(angles)[:, None, None] * _ramp(length, images.device)
    lines = torch.fft.irfft(torch.fft.rfft(images, n=length) * ramp, n=fine)
    table = lines.permute(1, 3, 0, 2).reshape(t * fine, b * y)

    radians = torch.deg2rad(angles)
    across = torch.arange(x, device=images.device) - x // 2
    start = torch.arange(t, device=images.device)[:, None] * fine
    volumes = images.new_empty(b, depth, y, x)
    for z in torch.split(torch.arange(depth, device=images.device), _at_once(8 * t * x)):
        along = (z - depth // 2)[:, None, None] * radians.sin()
        position = across[:, None] * radians.cos() + along + x // 2  # (z, x, t)
        index, weight = _cubic(position * _OVERSAMPLING)
        index = index % fine + start
        values = _gather(table, index.flatten(0, 1).flatten(1), weight.flatten(0, 1).flatten(1))
        volumes[:, z] = values.reshape(len(z), x, b, y).permute(2, 0, 3, 1)
    return volumes


def _check(arrays: Tensor, angles: Tensor, name: str) -> None:
    if arrays.ndim != 4 or angles.ndim != 1:
        raise ValueError(
            f"{name} of {arrays.ndim} axes and tilt angles of {angles.ndim}; give 4 axes and 1"
        )


def _at_once(values: int) -> int:
    return max(1, _CHUNK // values)


def _lines(planes: Tensor, index: Tensor, weight: Tensor, side: int) -> Tensor:
    """Project planes (c, z, x) to lines (c, t, x) by what `_central_lines` gave."""
    c, z, x = planes.shape
    above, left = side // 2 - z // 2, side // 2 - x // 2
    padding = (left, side - x - left, above, side - z - above)
    padded = torch.nn.functional.pad(planes, padding)
    spectrum = torch.fft.fft2(torch.fft.ifftshift(padded, dim=(-2, -1)))
    table = torch.view_as_real(spectrum).permute(1, 2, 0, 3).reshape(side**2, 2 * c)
    half = side // 2 + 1
    values = torch.view_as_complex(_gather(table, index, weight).reshape(-1, half, c, 2))
    lines: Tensor = torch.fft.fftshift(torch.fft.irfft(values, n=side, dim=1), dim=1)
    return lines[:, left : left + x].permute(2, 0, 1)


def _central_lines(angles: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """What to gather from the flat transform of a plane for its lines, (t · half, 16) each."""
    k = torch.arange(side // 2 + 1, device=angles.device)
    radians = torch.deg2rad(angles)[:, None]
    rows, row_weight = _cubic(k * radians.sin())
    columns, column_weight = _cubic(k * radians.cos())
    # Negative frequencies stand at the end, so that the index wraps around.
    index = (rows % side)[..., :, None] * side + (columns % side)[..., None, :]
    weight = row_weight[..., :, None] * column_weight[..., None, :]
    return index.reshape(-1, 16), weight.reshape(-1, 16)


def _cubic(position: Tensor) -> tuple[Tensor, Tensor]:
    """Index and weight (..., 4) of the samples about a position: Keys 1981, eq. 15."""
    first = position.floor()
    offset = torch.arange(-1, 3, device=position.device)
    d = (offset - (position - first)[..., None]).abs()
    near = (1.5 * d - 2.5) * d**2 + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return first.long()[..., None] + offset, torch.where(d <= 1, near, far)


def _gather(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums (n, c) of the rows of a table (m, c) that index (n, taps) names."""
    return torch.nn.functional.embedding_bag(
        index, table, mode="sum", per_sample_weights=weight.to(table.dtype)
    )


def _ramp(length: int, device: torch.device) -> Tensor:
    """Ramp filter over the half spectrum of lines, which it also resamples more finely."""
    lag = torch.fft.fftfreq(length, 1 / length, device=device).round()
    kernel = torch.where(lag % 2 == 0, 0.0, -1 / (math.pi * lag) ** 2)
    kernel[0] = 0.25
    ramp: Tensor = torch.fft.rfft(kernel).real * _OVERSAMPLING
    # The Nyquist frequency stands for both of its signs, which are two on a finer line.
    ramp[-1] /= 2
    return ramp


def _angular_steps(angles: Tensor) -> Tensor:
    """Radians that each tilt stands for: half of the gaps to its neighbours, cyclic over 180°.

    The missing wedge is no gap to be filled: at the ends of a series the gap is at most that to
    the neighbour on the other side.
    """
    ordered, order = angles.sort()
    gaps = ordered.diff()
    around = ordered[:1] + 180 - ordered[-1:]
    below = torch.cat([torch.minimum(around, gaps[:1]), gaps])
    above = torch.cat([gaps, torch.minimum(around, gaps[-1:])])
    steps = torch.empty_like(angles)
    steps[order] = torch.deg2rad((below + above) / 2)
    return steps
