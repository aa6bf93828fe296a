"""Invented structures: they teach an embedding what the library alone cannot.

Chimeras and random assemblies widen the range of shapes; membranes and beads are what a picker
finds besides particles.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.volumes import random_rotations, sample_rotated

from .scattering import GOLD_IN_VACUUM, PROTEIN_IN_LIBRARY

Vector: TypeAlias = npt.NDArray[np.floating[Any]]

_BOX = 48
_VOXEL = 8.0
_WIDE_BOX = 84  # holds a sheet that spans a box of 384 Å at any rotation
_HEIGHT = round(PROTEIN_IN_LIBRARY, 3)
"""Å/Å³, of what is invented: that of a protein in the library, as the embedding that comes with the
package has seen it."""


def chimeras(structures: Sequence[Structure], count: int, seed: int) -> list[Structure]:
    """Merge one to three rotated, rescaled structures into each new one.

    Parameters
    ----------
    structures
        Parents.
    count
        How many to make.
    seed
        Same seed, same chimeras.

    Returns
    -------
    list of Structure
        Densities of 48³ voxels of 8 Å about their centres of mass.
    """
    generator = np.random.default_rng((seed, 1))
    parents = [torch.from_numpy(s.density).float() / float(s.density.max()) for s in structures]
    made = []
    for index in range(count):
        parts = generator.integers(1, 4)
        total = np.zeros((_BOX,) * 3, dtype=np.float32)
        for _ in range(parts):
            which = int(generator.integers(len(parents)))
            scale = generator.uniform(0.7, 1.3) * (0.75 if parts > 1 else 1.0)
            offset = generator.normal(0, 5.0 if parts > 1 else 0.0, 3)
            placed = sample_rotated(
                parents[which],
                random_rotations(1, generator),
                box=_BOX,
                step=_VOXEL / (structures[which].voxel_size * scale),
                shifts=torch.from_numpy(offset[None].astype(np.float32)),
            )
            total = np.maximum(total, placed[0].numpy())
        made.append(_invented(f"chimera {index}", total))
    return made


def assemblies(count: int, seed: int) -> list[Structure]:
    """Random clusters of globular domains, some with rotational symmetry.

    Parameters
    ----------
    count
        How many to make.
    seed
        Same seed, same assemblies.

    Returns
    -------
    list of Structure
        Densities of 48³ voxels of 8 Å about their centres of mass.
    """
    generator = np.random.default_rng((seed, 2))
    axis = _axis(_BOX)
    made = []
    for index in range(count):
        domains = generator.integers(2, 12)
        extent = generator.uniform(20, 75)
        centres = generator.normal(0, 1, (domains, 3)) * extent * generator.uniform(0.5, 1.2, 3)
        sizes = generator.uniform(11, 28, domains)
        fold = int(generator.choice([1, 1, 2, 3, 4, 6, 7]))
        centres[:, 2] += extent if fold > 1 else 0
        total = np.zeros((_BOX,) * 3, dtype=np.float32)
        for turn in range(fold):
            angle = 2 * np.pi * turn / fold
            c, s = np.cos(angle), np.sin(angle)
            about_z = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
            for at, size in zip(centres @ about_z.T, sizes, strict=True):
                total += _blob(axis, at, size)
        made.append(_invented(f"assembly {index}", np.minimum(total, 1.0)))
    return made


def distractors(count: int, seed: int) -> list[Structure]:
    """Membranes of any curvature, and beads: what is no particle.

    Parameters
    ----------
    count
        How many to make; one in five is a bead.
    seed
        Same seed, same distractors.

    Returns
    -------
    list of Structure
        Named "membrane …" and "bead …".
    """
    generator = np.random.default_rng((seed, 3))
    made = []
    for index in range(count):
        if index % 5 == 4:
            axis = _axis(_BOX)
            bead = _blob(axis, np.zeros(3), generator.uniform(20, 45))
            made.append(_invented(f"bead {index}", bead * (GOLD_IN_VACUUM / _HEIGHT)))
            continue
        curvature = generator.uniform(0, 1 / 250)
        thickness = generator.uniform(16, 24)
        axis = _axis(_WIDE_BOX)
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        depth = z + curvature / 2 * (y**2 + x**2)
        sheet = np.exp(-0.5 * ((np.abs(depth) - thickness) / 8) ** 2).astype(np.float32)
        made.append(_invented(f"membrane {index}", sheet, centre=False))
    return made


def _axis(box: int) -> Vector:
    """Coordinates along a side of the box, Å about its centre."""
    return (np.arange(box) - box // 2) * _VOXEL


def _blob(axis: Vector, at: Vector, size: float) -> npt.NDArray[np.float32]:
    """Gaussian of standard deviation ``size`` at ``at`` (zyx), both Å; height 1."""
    z, y, x = (np.exp(-0.5 * ((axis - centre) / size) ** 2) for centre in at)
    blob: npt.NDArray[np.float32] = np.einsum("i,j,k->ijk", z, y, x).astype(np.float32)
    return blob


def _invented(name: str, density: npt.NDArray[np.float32], *, centre: bool = True) -> Structure:
    n = density.shape[0]
    axis = np.arange(n) - n // 2
    mass = density.sum()
    if centre:
        profiles = density.sum((1, 2)), density.sum((0, 2)), density.sum((0, 1))
        offset = [-round(float(profile @ axis / mass)) for profile in profiles]
        density = np.roll(density, offset, (0, 1, 2))
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    distance = np.round(np.sqrt(z**2 + y**2 + x**2)).astype(int).ravel()
    within = np.cumsum(np.bincount(distance, density.ravel())) / mass
    return Structure(
        id=name,
        name=name,
        family=name,
        mass_kda=float("nan"),
        diameter=2 * _VOXEL * float(np.searchsorted(within, 0.95)),
        source="procedural",
        density=density * np.float32(_HEIGHT),
        voxel_size=_VOXEL,
    )
