"""Small volumes: cut out, resampled, standardised, rotated. Pure functions of tensors."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .types import Particles, Subtomograms, Tomogram

_LOBES = 3
"""Of the Lanczos kernel: how many zero crossings it reaches to each side."""


def standardise(volumes: Tensor) -> Tensor:
    """Shift and scale each volume (..., d, d, d) to mean 0 and standard deviation 1.

    A constant volume becomes all zeros.
    """
    voxels = volumes.flatten(-3)
    centred = voxels - voxels.mean(-1, keepdim=True)
    spread = (torch.linalg.vecdot(centred, centred) / centred.shape[-1]).sqrt()[..., None]
    scale = torch.where(spread > 1e-12, 1 / spread.clamp(min=1e-12), 0.0)
    return centred.mul_(scale).reshape(volumes.shape)


def random_rotations(n: int, generator: np.random.Generator) -> Tensor:
    """Rotations drawn uniformly (by the Haar measure) from SO(3), (n, 3, 3) float32."""
    quaternions = generator.normal(size=(n, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    return torch.from_numpy(rotation_matrices(quaternions)).float()


def rotation_matrices(quaternions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Matrices (n, 3, 3) of unit quaternions (n, 4), scalar first."""
    w, x, y, z = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def sample_rotated(
    density: Tensor,
    rotations: Tensor,
    *,
    box: int,
    step: float,
    shifts: Tensor | None = None,
) -> Tensor:
    """Sample a density on rotated, shifted grids by trilinear interpolation.

    Parameters
    ----------
    density
        (n, n, n); its centre is index n // 2, where an FFT has its origin.
    rotations
        (b, 3, 3) active rotations that act on xyz vectors.
    box
        Side of the result, voxels.
    step
        Size of an output voxel in voxels of the density.
    shifts
        (b, 3) zyx displacement of the particle in output voxels, or None.

    Returns
    -------
    Tensor
        (b, box, box, box); zero outside the density.
    """
    n = density.shape[-1]
    axis = torch.arange(box, device=density.device, dtype=torch.float32) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    grid = torch.stack([x, y, z], -1).reshape(1, -1, 3)
    # The density is read where the inverse rotation takes each output voxel, v Rᵀᵀ = v R, in units
    # of half a side: one product for all of it, as this is done for every voxel of every volume.
    half = (n - 1) / 2
    turned = rotations * (step / half)
    centre = torch.full_like(turned[:, :1], (n // 2) / half - 1)
    if shifts is not None:
        centre = torch.baddbmm(centre, shifts.flip(-1)[:, None], turned, alpha=-1)
    unit = torch.matmul(grid, turned).add_(centre)
    sampled = torch.nn.functional.grid_sample(
        density[None, None],
        unit.reshape(1, -1, box, box, 3),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    return sampled.reshape(-1, box, box, box)


def rotated_at_random(volumes: Tensor, generator: np.random.Generator) -> Tensor:
    """Turn each volume by a random rotation; where nothing is known of it there is white noise.

    The missing wedge turns with it. The axis passes through the centre of the box, index d // 2,
    and values are interpolated linearly.

    Parameters
    ----------
    volumes
        (n, d, d, d) of mean 0 and standard deviation 1, as the noise is.
    generator
        Draws the rotations and the noise.
    """
    n, d = len(volumes), volumes.shape[-1]
    rotations = random_rotations(n, generator).to(volumes.device)
    # In units of half a side, in which the centre of an even box lies a little off 0.
    centre = volumes.new_full((3, 1), (d // 2) / ((d - 1) / 2) - 1)
    with torch.autocast(volumes.device.type, enabled=False):  # half of it would miss by a voxel
        affine = torch.cat([rotations, centre - rotations @ centre], 2)
        grid = torch.nn.functional.affine_grid(affine, [n, 1, d, d, d], align_corners=True)
        sampled = torch.nn.functional.grid_sample(volumes.unsqueeze(1), grid, align_corners=True)
    seed = int(generator.integers(2**62))
    noise = torch.randn(volumes.shape, generator=torch.Generator().manual_seed(seed))
    known = (grid.abs() <= 1).all(-1)
    return torch.where(known, sampled.squeeze(1), noise.to(volumes.device))


def half_turned(volumes: Tensor) -> list[Tensor]:
    """Volumes as they are, and turned by 180° about each of the three axes: four in all.

    About the centre, index d // 2, and without interpolation; the box is taken to repeat, so that
    of an even one a face comes from the opposite side. A missing wedge about any axis of the box
    stays where it is.

    Parameters
    ----------
    volumes
        (n, d, d, d).
    """
    shift = 1 - volumes.shape[-1] % 2
    turned = [volumes]
    for axes in ((1, 2), (1, 3), (2, 3)):
        turned.append(volumes.flip(axes).roll((shift, shift), axes))
    return turned


def resampling_matrix(
    n_in: int, n_out: int, step: float, offsets: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Interpolation weights along one axis, by a Lanczos kernel that also low-passes.

    Output sample j lies at input index ``offset + (j - n_out // 2) · step``. Where the output is
    coarser than the input, the kernel widens so that nothing beyond the new Nyquist frequency
    folds back.

    Parameters
    ----------
    n_in, n_out
        Samples in and out.
    step
        Output spacing in input samples.
    offsets
        (b,) input index of the output's centre.

    Returns
    -------
    ndarray
        (b, n_out, n_in); each row sums to 1.
    """
    width = max(step, 1.0)
    at = offsets[:, None] + (np.arange(n_out) - n_out // 2)[None] * step
    distance = (np.arange(n_in)[None, None] - at[..., None]) / width
    kernel = np.sinc(distance) * np.sinc(distance / _LOBES) * (np.abs(distance) < _LOBES)
    weights: npt.NDArray[np.float32] = (kernel / kernel.sum(-1, keepdims=True)).astype(np.float32)
    return weights


def resampled(volumes: Subtomograms, *, box: int, voxel_size: float) -> Subtomograms:
    """The same volumes in another box at another voxel size, read when asked for.

    What lies beyond the old box becomes 0, its mean; each volume is standardised again.

    Parameters
    ----------
    volumes
        In boxes of one size.
    box
        New side, voxels.
    voxel_size
        New voxel size, Å.
    """
    step = voxel_size / volumes.voxel_size
    reach = math.ceil(step * box / 2 + _LOBES * max(step, 1.0)) + 1
    padding = max(0, reach - volumes.box // 2)
    side = volumes.box + 2 * padding
    centre = np.array([volumes.box // 2 + padding], dtype=np.float64)
    weights = torch.from_numpy(resampling_matrix(side, box, step, centre)[0])

    def read(rows: npt.NDArray[np.int64]) -> Tensor:
        padded = torch.nn.functional.pad(volumes[rows], (padding,) * 6)
        for _ in range(3):
            # Three turns bring z, y, x back into their order, each resampled once.
            padded = torch.einsum("bzyx,oz->byxo", padded, weights)
        return standardise(padded)

    return dataclasses.replace(volumes, read=read, box=box, voxel_size=voxel_size)


def crop(
    tomogram: Tomogram,
    particles: Particles,
    *,
    box: int,
    voxel_size: float,
    scaled: bool = True,
) -> Subtomograms:
    """Subtomograms at the particles, read from the tomogram only when asked for.

    Each is resampled to ``voxel_size`` about its exact position, made protein positive (by
    ``tomogram.dark``) and standardised. Where a box reaches beyond the tomogram, the voxels of
    its border are repeated, and ``edge`` says so.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        Positions in voxels of the tomogram.
    box
        Side of a subtomogram in its own voxels.
    voxel_size
        Of the subtomograms, Å.
    scaled
        Without it they keep their grey values, but for the sign.

    Raises
    ------
    ValueError
        If a position lies outside the tomogram; when read, if a box holds NaN or infinite values.
    """
    positions = particles.positions
    shape = np.array(tomogram.shape)
    outside = ~((positions >= -0.5) & (positions <= shape - 0.5)).all(1)  # NaN is outside
    if outside.any():
        example = tuple(positions[outside][0].round(1).tolist())
        raise ValueError(
            f"{outside.sum()} of {len(positions)} positions lie outside the tomogram of "
            f"{tomogram.shape} voxels (zyx), e.g. {example}; check the unit and the binning of "
            "the list"
        )
    step = voxel_size / tomogram.voxel_size
    reach = math.ceil(step * box / 2 + _LOBES * max(step, 1.0))
    corner = np.floor(positions).astype(np.int64) - reach
    side = 2 * reach + 2
    sign = -1.0 if tomogram.dark else 1.0
    # Only what the voxels of the box cover counts as the edge, not the reach of the kernel.
    first, last = positions - step * (box // 2), positions + step * (box - 1 - box // 2)
    half = (step - 1) / 2  # by which a voxel of the box is wider than one of the tomogram
    edge = np.any((first < half) | (last > shape - 1 - half), axis=1)

    def read(rows: npt.NDArray[np.int64]) -> Tensor:
        volumes = torch.empty(len(rows), box, box, box)
        # One by one, for what is cut from a fine tomogram may be a thousand times what is kept.
        for volume, row in zip(volumes, rows, strict=True):
            volume[:] = read_one(row)
        volumes *= sign
        return standardise(volumes) if scaled else volumes

    def read_one(row: np.int64) -> Tensor:
        cut = torch.from_numpy(_cut(tomogram, corner[row], side))
        for weights in resampling_matrix(side, box, step, positions[row] - corner[row]):
            # Three turns bring z, y, x back into their order, each resampled once.
            cut = torch.einsum("zyx,oz->yxo", cut, torch.from_numpy(weights))
        if not cut.isfinite().all():
            z, y, x = positions[row]
            raise ValueError(
                f"{tomogram.name} has NaN or infinite grey values around x = {x:.1f}, y = {y:.1f}, "
                f"z = {z:.1f}; replace them by its mean first"
            )
        return cut

    return Subtomograms(read=read, count=len(particles), box=box, voxel_size=voxel_size, edge=edge)


def _cut(tomogram: Tomogram, corner: npt.NDArray[np.int64], side: int) -> npt.NDArray[np.float32]:
    """Cut a cube, repeating the border voxels where it reaches beyond the tomogram."""
    start = np.maximum(corner, 0)
    stop = np.minimum(corner + side, tomogram.shape)
    # A copy, as torch wants what it may write to, and a file that is mapped is none.
    inner = np.array(
        tomogram.data[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]],
        dtype=np.float32,
    )
    if inner.shape == (side, side, side):
        return inner
    padding = [(int(a - c), int(c + side - b)) for a, b, c in zip(start, stop, corner, strict=True)]
    return np.pad(inner, padding, mode="edge")
