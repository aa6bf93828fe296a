"""Where things lie in a crowded specimen: random sequential packing of true shapes on a grid.

A shape is what it is, not a sphere around it: a long complex slips between two round ones, so that
a specimen gets far denser than bounding spheres allow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_ROUNDS = 20
_TRIALS = 500
_PROBES = 64

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def find_place(
    taken: BoolArray, body: BoolArray, generator: np.random.Generator
) -> IntArray | None:
    """Find a random place where a body touches nothing that is there.

    Parameters
    ----------
    taken
        (z, y, x) C-contiguous: the voxels that are not free.
    body
        (a, b, c), at least one voxel of it true.
    generator
        Of the trial places.

    Returns
    -------
    numpy.ndarray or None
        (3,) zyx: where the first voxel of ``body`` comes to, so that all true voxels lie in the
        volume (the first voxel itself need not); None if 10,000 trials found no place.
    """
    voxels = np.argwhere(body)
    first = -voxels.min(axis=0)
    last = np.array(taken.shape) - 1 - voxels.max(axis=0)
    if (last < first).any():
        return None
    strides = np.array(taken.strides)
    flat = taken.reshape(-1)
    # In random order, so that the first few already tell most collisions.
    offsets = generator.permutation(voxels @ strides)
    for _ in range(_ROUNDS):
        corners = generator.integers(first, last, (_TRIALS, 3), endpoint=True)
        starts = corners @ strides
        free = ~flat[starts[:, None] + offsets[:_PROBES]].any(axis=1)
        for trial in np.flatnonzero(free):
            if not flat[starts[trial] + offsets].any():
                place: IntArray = corners[trial]
                return place
    return None


def occupy(taken: BoolArray, body: BoolArray, place: IntArray, gap: float) -> None:
    """Take the voxels of a body, and all within a gap of it, in place.

    Parameters
    ----------
    taken
        (z, y, x).
    body
        (a, b, c).
    place
        (3,) zyx: where the first voxel of the body is.
    gap
        Voxels.
    """
    reach = int(gap)
    near = np.pad(body, reach)
    if reach:
        near = ndimage.distance_transform_edt(~near) <= gap
    inside, held = overlap(place - reach, near.shape, taken.shape)
    taken[inside] |= near[held]


def overlap(
    corner: IntArray, box: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of a volume, and of a box with its first voxel at ``corner``, that are the same."""
    start = np.maximum(corner, 0)
    stop = np.minimum(corner + box, shape)
    inside = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    held = tuple(slice(int(a), int(b)) for a, b in zip(start - corner, stop - corner, strict=True))
    return inside, held
