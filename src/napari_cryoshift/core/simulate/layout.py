"""What is in the boxes of simulated subtomograms: a particle in the middle, others around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_cryoshift.core.volumes import random_rotations, sample_rotated

from .packing import overlap
from .settings import ImagingParams

_LARGEST_GAP = 60.0
"""Å between the surfaces of a particle and its neighbour."""

_TRIES = 4
"""Places tried for a neighbour; where all are taken, the surroundings are full."""


@dataclass(frozen=True, eq=False)
class Template:
    """A density (n, n, n) ready to be sampled, and its voxel size in Å."""

    density: Tensor
    voxel_size: float


@dataclass(frozen=True, eq=False)
class Layout:
    """What is where in a batch of boxes: one row an object, that in the middle first.

    Attributes
    ----------
    box
        (m,) which volume of the batch it is in.
    template
        (m,) which structure it is.
    rotations
        (m, 3, 3) active, on xyz.
    shifts
        (m, 3) zyx voxels from the centre of the box.
    """

    box: npt.NDArray[np.int64]
    template: npt.NDArray[np.int64]
    rotations: Tensor
    shifts: npt.NDArray[np.float32]


def lay_out(
    radii: Sequence[float],
    labels: npt.NDArray[np.int64],
    params: ImagingParams,
    generators: Sequence[np.random.Generator],
) -> Layout:
    """Draw rotated, shifted particles of these classes, among their neighbours."""
    limit = params.shift / params.voxel_size
    boxes, templates, rotations, shifts = [], [], [], []
    for row, (label, generator) in enumerate(zip(labels, generators, strict=True)):
        rotations.append(random_rotations(1, generator))
        own = generator.uniform(-limit, limit, 3)
        around = _neighbours(radii, int(label), params, generator)
        rotations.append(random_rotations(len(around), generator))
        boxes += [row] * (1 + len(around))
        templates += [int(label), *(which for which, _ in around)]
        shifts += [own, *(own + offset for _, offset in around)]
    return Layout(
        box=np.array(boxes),
        template=np.array(templates),
        rotations=torch.cat(rotations),
        shifts=np.array(shifts, dtype=np.float32),
    )


def place(templates: Sequence[Template], layout: Layout, params: ImagingParams) -> Tensor:
    """Sample what was laid out into (b, d, d, d), without noise."""
    device = templates[0].density.device
    volumes = torch.zeros(int(layout.box[-1]) + 1, *(params.box,) * 3, device=device)
    rotations = layout.rotations.to(device)
    for label in np.unique(layout.template):
        template = templates[label]
        step = params.voxel_size / template.voxel_size
        # Most particles are far smaller than their box, and are sampled in one of their own.
        side = min(2 * math.ceil(template.density.shape[-1] / 2 / step) + 2, params.box)
        rows = np.flatnonzero(layout.template == label)
        shifts = layout.shifts[rows]
        nearest = np.rint(shifts).astype(np.int64) if side < params.box else 0 * shifts.astype(int)
        corners = nearest - side // 2 + params.box // 2
        inside = ((corners < params.box) & (corners > -side)).all(1)
        if not inside.any():
            continue
        rows, corners = rows[inside], corners[inside]
        placed = sample_rotated(
            template.density,
            rotations[rows],
            box=side,
            step=step,
            shifts=torch.from_numpy((shifts - nearest)[inside].astype(np.float32)).to(device),
        )
        # One after the other, as a box may hold several of a class and a scattered sum on a
        # graphics card comes in any order.
        for row, corner, particle in zip(rows, corners, placed, strict=True):
            there, here = overlap(corner, particle.shape, volumes.shape[1:])
            volumes[layout.box[row]][there] += particle[here]
    return volumes


def _neighbours(
    radii: Sequence[float],
    label: int,
    params: ImagingParams,
    generator: np.random.Generator,
) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Draw classes and offsets (zyx, voxels) of particles around one, clear of each other."""
    placed: list[tuple[int, npt.NDArray[np.float64]]] = []
    for _ in range(generator.poisson(params.neighbours)):
        which = int(generator.integers(len(radii)))
        for _ in range(_TRIES):
            gap = generator.uniform(0, _LARGEST_GAP)
            away = _direction(generator) * (radii[label] + radii[which] + gap)
            if all(
                np.linalg.norm(away - params.voxel_size * other) >= radii[which] + radii[one]
                for one, other in placed
            ):
                placed.append((which, away / params.voxel_size))
                break
    return placed


def _direction(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw a unit vector, uniform on the sphere."""
    vector = generator.normal(size=3)
    unit: npt.NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit
