"""Volumes turned without making another missing wedge of theirs."""

import numpy as np
import torch
from torch import Tensor

_FLIPPED = ((), (-2, -1), (-3, -1), (-3, -2))
"""Axes that are reversed by no turn, and by a half turn about z, y and x."""


def half_turns(volumes: Tensor, generator: np.random.Generator) -> Tensor:
    """Turn each volume by 180° about z, y or x, or not at all.

    These turns map the missing wedge on itself, whatever its width, if the tilt axis is y and the
    tilt range symmetric.

    Parameters
    ----------
    volumes
        (n, d, d, d).
    generator
        Draws one of the four for each.
    """
    which = generator.integers(len(_FLIPPED), size=len(volumes))
    turned = [v.flip(_FLIPPED[turn]) for v, turn in zip(volumes, which, strict=True)]
    return torch.stack(turned)
