"""What is tried: orientations spread evenly over all rotations, and places around the centre."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from napari_cryoshift.core.volumes import rotation_matrices

_PHI = math.sqrt(2)
_PSI = 1.533751168755204288118041
"""The positive root of ψ⁴ = ψ + 4, which gives the lowest discrepancy."""


def rotation_grid(step: float) -> Tensor:
    """Rotations at about a given angle from each other, the same at every call.

    Super-Fibonacci spirals: Alexa, "Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of
    SO(3)", CVPR 2022, algorithm 1. There are as many as cubes of side ``step`` fill the 8π² of all
    rotations: 550 at 30°, 4400 at 15°. No rotation is farther from the nearest one than about
    0.9 steps; the typical one is half a step away.

    Parameters
    ----------
    step
        Degrees.

    Returns
    -------
    Tensor
        (n, 3, 3) float32 active rotations.

    Raises
    ------
    ValueError
        If the step is not above 0.
    """
    if not step > 0:
        raise ValueError(f"the angular step is {step:g}°; give one above 0°")
    n = max(1, round(8 * math.pi**2 / math.radians(step) ** 3))
    s = np.arange(n) + 0.5
    inner, outer = np.sqrt(s / n), np.sqrt(1 - s / n)
    alpha, beta = 2 * np.pi * s / _PHI, 2 * np.pi * s / _PSI
    quaternions = np.stack(
        [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)],
        axis=1,
    )
    return torch.from_numpy(rotation_matrices(quaternions)).float()


def shift_grid(largest: float, step: float) -> Tensor:
    """Shifts on a cubic grid, 0 among them, none longer than the largest.

    Returns
    -------
    Tensor
        (s, 3) float32 zyx, in the unit of the arguments.
    """
    reach = math.floor(largest / step)
    axis = torch.arange(-reach, reach + 1) * float(step)
    grid = torch.cartesian_prod(axis, axis, axis)
    return grid[grid.norm(dim=1) <= largest]
