"""The crowd of small proteins that fills a cell between the particles of interest."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import ndtr

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.volumes import random_rotations

from .packing import BoolArray, IntArray
from .scattering import PROTEIN, PROTEIN_VOLUME

_MASS = (30_000.0, 100_000.0)
"""Da."""
_LOOSE = 1.3
"""Volume of a protein with the water in its grooves, over that of its mass."""

_OBLONG = 0.25
"""Spread of the logarithm of the axes of a protein."""

_PATCH = 200.0
"""Å over which the cytosol is crowded alike: it is no even mixture."""

_BATCH = 1000
_MOST_TRIALS = 100
"""Trials for each protein that is wanted, after which the space counts as full."""

FloatArray = npt.NDArray[np.floating[Any]]


def crowd(
    density: npt.NDArray[np.float32],
    taken: BoolArray,
    volume: float,
    *,
    voxel_size: float,
    blur: float,
    generator: np.random.Generator,
) -> Job[None]:
    """Fill free space with proteins of 30 to 100 kDa, whose balls of equal volume do not overlap.

    They are denser in some places than in others, as in a cell.

    Parameters
    ----------
    density
        (z, y, x) Å/Å³ beyond ice; the proteins are added in place.
    taken
        (z, y, x) C-contiguous: the voxels that are not free; the proteins take theirs, in place.
    volume
        Å³ of protein wanted.
    voxel_size
        Å.
    blur
        Standard deviation of the Gaussian of the resolution, Å.
    generator
        Of places, masses and shapes.

    Raises
    ------
    ValueError
        If the space is full before.
    """
    space = float((~taken).sum()) * voxel_size**3
    mean = PROTEIN_VOLUME * float(np.mean(_MASS))
    filled, tried = 0.0, 0
    patches = _patches(taken.shape, voxel_size, generator)
    while filled < volume:
        if tried > _BATCH + _MOST_TRIALS * volume / mean:
            raise ValueError(
                f"small proteins fill {filled / space:.1%} of the space between the other objects "
                f"but {volume / space:.1%} are wanted; ask for less crowding or fewer particles"
            )
        masses = generator.uniform(*_MASS, min(_BATCH, int((volume - filled) / mean) + 1))
        stays, voxels = _settle(taken, patches, _radius(masses) / voxel_size, generator)
        _add(density, voxels, masses[stays], voxel_size, blur, generator)
        filled += PROTEIN_VOLUME * float(masses[stays].sum())
        tried += len(masses)
        yield Progress("crowding", round(100 * min(filled / volume, 1)), 100)


def _radius(masses: FloatArray) -> FloatArray:
    """Å, of balls of protein."""
    radius: FloatArray = np.cbrt(3 / (4 * np.pi) * PROTEIN_VOLUME * masses)
    return radius


def _patches(
    shape: tuple[int, ...], voxel_size: float, generator: np.random.Generator
) -> FloatArray:
    """Chance of a trial to be made, on a grid of half the size of a patch that covers a volume."""
    nodes = [int(n * voxel_size / (_PATCH / 2)) + 1 for n in shape]
    field = ndimage.gaussian_filter(generator.standard_normal(nodes), 1.0, mode="wrap")
    chance: FloatArray = ndtr(field / field.std())
    return chance


def _settle(
    taken: BoolArray, patches: FloatArray, radius: FloatArray, generator: np.random.Generator
) -> tuple[BoolArray, IntArray]:
    """Try one place for each ball (voxels): (n,) which of them stay, and (k, 3) voxels of those."""
    reach = int(np.ceil(radius.max()))
    offsets = np.indices((2 * reach + 1,) * 3).reshape(3, -1).T - reach
    distance = np.linalg.norm(offsets, axis=1)
    strides = np.array(taken.strides)
    flat = taken.reshape(-1)
    at = generator.integers(reach, np.array(taken.shape) - reach, (len(radius), 3))
    index = (at @ strides)[:, None] + offsets @ strides
    held = distance <= radius[:, None]
    node = at * patches.shape // taken.shape
    stays: BoolArray = generator.random(len(at)) < patches[tuple(node.T)]
    stays &= ~(flat[index] & held).any(axis=1)
    pairs = cKDTree(at).query_pairs(2 * radius.max(), output_type="ndarray")
    apart = np.linalg.norm(at[pairs[:, 0]] - at[pairs[:, 1]], axis=1)
    # The one that was drawn later gives way.
    stays[pairs[apart < radius[pairs].sum(axis=1)].max(axis=1)] = False
    flat[index[stays][held[stays]]] = True
    return stays, at[stays]


def _add(
    density: npt.NDArray[np.float32],
    voxels: IntArray,
    masses: FloatArray,
    voxel_size: float,
    blur: float,
    generator: np.random.Generator,
) -> None:
    """Add proteins, each an ellipsoid in a random orientation with its centre in a voxel."""
    n = len(masses)
    radius = np.cbrt(_LOOSE) * _radius(masses) / voxel_size
    axes = np.exp(generator.normal(0, _OBLONG, (n, 3)))
    axes /= np.cbrt(axes.prod(axis=1, keepdims=True))
    farthest = float((radius[:, None] * axes).max(initial=0)) + 2 * blur / voxel_size
    reach = int(np.ceil(farthest))
    steps = np.indices((2 * reach + 1,) * 3).reshape(3, -1).T - reach
    steps = steps[(steps**2).sum(axis=1) <= farthest**2]
    offsets = (steps - generator.uniform(-0.5, 0.5, (n, 1, 3))).astype(np.float32)
    # Along its axes a protein is a ball of its radius.
    along = offsets @ (random_rotations(n, generator).numpy() / axes[:, None].astype(np.float32))
    depth = (np.sqrt((along**2).sum(axis=-1)) - radius[:, None]) * voxel_size
    values = ndtr(-depth / blur)
    values *= (PROTEIN * PROTEIN_VOLUME * masses / voxel_size**3 / values.sum(axis=1))[:, None]
    index = voxels[:, None] + steps
    inside = ((index >= 0) & (index < density.shape)).all(axis=-1)
    # Neighbours overlap at their soft edges, which plain indexing would add once only.
    np.add.at(density, tuple(index[inside].T), values[inside].astype(np.float32))
