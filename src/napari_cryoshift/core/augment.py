"""Volumes turned without making another missing wedge of theirs."""

import numpy as np
import torch
from torch import Tensor

_REVERSED = ((), (-2, -1), (-3, -1), (-3, -2))
"""Axes that are reversed by no turn, and by a half turn about z, y and x."""


def half_turns(volumes: Tensor, generator: np.random.Generator) -> Tensor:
    """Turn each volume by 180° about z, y or x, or not at all.

    These turns map the missing wedge on itself, whatever its width, if the tilt axis is y and the
    tilt range symmetric. The voxel in the centre, d // 2, stays where it is; of an even side, the
    outermost plane comes back on its own side.

    Parameters
    ----------
    volumes
        (n, d, d, d).
    generator
        Draws one of the four for each.
    """
    which = generator.integers(len(_REVERSED), size=len(volumes))
    turned = [_turned(v, _REVERSED[turn]) for v, turn in zip(volumes, which, strict=True)]
    return torch.stack(turned)


def every_half_turn(volumes: Tensor) -> Tensor:
    """(n, d, d, d) → (4, n, d, d, d): as they are, and turned by 180° about z, y and x."""
    return torch.stack([_turned(volumes, axes) for axes in _REVERSED])


def _turned(volumes: Tensor, axes: tuple[int, ...]) -> Tensor:
    turned = volumes.flip(axes)
    # Reversing an axis of even length moves its central voxel by one.
    back = (1 - volumes.shape[-1] % 2,) * len(axes)
    return turned.roll(back, axes) if axes else turned
