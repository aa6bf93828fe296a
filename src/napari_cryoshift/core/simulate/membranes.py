"""Membranes: analytic lipid bilayers in the form of vesicles, tubes and curved sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from napari_cryoshift.core.progress import Job, Progress

from .packing import BoolArray
from .scattering import LIPID_HEADS, LIPID_TAILS, PROTEIN

Form: TypeAlias = Literal["vesicle", "tube", "sheet"]
FORMS: tuple[Form, ...] = ("vesicle", "tube", "sheet")

HALF_THICKNESS = 30.0
"""Å, from the middle of a bilayer to the surface of its head groups."""

_HEADS_AT = 20.0
_HEADS_SIGMA = 6.0
_TAILS_TO = 18.0
_PROTEINS_TO = 25.0
_PROTEIN_SHARE = 0.3
"""Of the area, on average: cells' membranes are full of proteins."""

_WAVES = 6
_RIPPLE = 20.0
"""Å, standard deviation of how far a membrane strays from its ideal form."""

_DRAWS = 100
_SLAB = 2**19
"""Voxels that are computed at once."""

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Membrane:
    """A bilayer at a constant distance from a point or an axis, but for its ripples.

    Attributes
    ----------
    centre
        (3,) zyx, Å.
    axis
        (3,) zyx unit vector of a cylinder; zeros make a sphere.
    radius
        Å, of the middle of the bilayer.
    waves, phases
        (w, 3) zyx wave vectors in 1/Å, and (w,) phases of the ripples.
    """

    centre: FloatArray
    axis: FloatArray
    radius: float
    waves: FloatArray
    phases: FloatArray

    def depth(self, points: FloatArray) -> FloatArray:
        """(n,) Å from the middle of the bilayer, positive outside, of (n, 3) zyx points in Å."""
        offset = points - self.centre.astype(np.float32)
        axis = self.axis.astype(np.float32)
        offset -= (offset @ axis)[:, None] * axis
        depth: FloatArray = np.linalg.norm(offset, axis=1) - np.float32(self.radius)
        # Ripples matter near the membrane only, and cost more than all the rest.
        near = np.flatnonzero(np.abs(depth) < HALF_THICKNESS + 5 * _RIPPLE)
        angles = points[near] @ self.waves.T.astype(np.float32) + self.phases.astype(np.float32)
        depth[near] += _RIPPLE * np.sqrt(2 / _WAVES) * np.sin(angles).sum(axis=1)
        return depth


def draw_membranes(
    count: int,
    forms: Sequence[Form],
    lowest: FloatArray,
    highest: FloatArray,
    *,
    gap: float,
    generator: np.random.Generator,
) -> Job[list[Membrane]]:
    """Draw membranes within a cuboid that do not touch each other.

    Parameters
    ----------
    count
        How many.
    forms
        Taken in turn. A vesicle is 30 to 85 % as wide as the least extent of the cuboid; a tube is
        20 to 40 % as wide and runs through, nearly in the plane of the specimen; a sheet is part
        of a cylinder wider than the cuboid and stands up in it, for what lies flat is hidden by
        the missing wedge.
    lowest, highest
        (3,) zyx corners of the cuboid, Å; x and y may cut a membrane, and z a tube or a sheet.
    gap
        Å between two of them at least.
    generator
        Of everything.

    Raises
    ------
    ValueError
        If one finds no place in 100 draws.
    """
    coarse = [int(np.ceil(extent / HALF_THICKNESS)) + 1 for extent in highest - lowest]
    points = (np.indices(coarse).reshape(3, -1).T * HALF_THICKNESS + lowest).astype(np.float32)
    walls = np.zeros(len(points), dtype=bool)
    drawn: list[Membrane] = []
    for form in islice(cycle(forms), count):
        for _ in range(_DRAWS):
            membrane = _draw(form, lowest, highest, generator)
            wall = np.abs(membrane.depth(points)) < HALF_THICKNESS + gap / 2
            yield Progress("drawing membranes", len(drawn), count)
            if wall.any() and not (wall & walls).any():
                break
        else:
            raise ValueError(
                f"only {len(drawn)} of {count} membranes fit; ask for fewer or a larger tomogram"
            )
        walls |= wall
        drawn.append(membrane)
    return drawn


def _draw(
    form: Form, lowest: FloatArray, highest: FloatArray, generator: np.random.Generator
) -> Membrane:
    extent = highest - lowest
    least = float(extent.min())
    centre = generator.uniform(lowest, highest)
    turn = generator.uniform(0, 2 * np.pi)
    in_plane = np.array([0.0, np.sin(turn), np.cos(turn)])
    axis: FloatArray = np.zeros(3)
    if form == "vesicle":
        radius = least * generator.uniform(0.15, 0.425)
        inset = min(radius + HALF_THICKNESS + _RIPPLE, extent[0] / 2)
        centre[0] = generator.uniform(lowest[0] + inset, highest[0] - inset)
    elif form == "tube":
        radius = least * generator.uniform(0.1, 0.2)
        axis = _unit(in_plane + np.array([generator.normal(0, 0.1), 0, 0]))
    else:
        radius = float(extent.max()) * generator.uniform(0.6, 1.5)
        axis = _unit(np.array([1.0, *generator.normal(0, 0.25, 2)]))
        # The bilayer, not the axis, passes through the point that was drawn.
        centre -= radius * _unit(in_plane - (in_plane @ axis) * axis)
    directions = generator.normal(size=(_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = generator.uniform(500, 1500, (_WAVES, 1))
    return Membrane(
        centre=centre,
        axis=axis,
        radius=float(radius),
        waves=2 * np.pi * directions / lengths,
        phases=generator.uniform(0, 2 * np.pi, _WAVES),
    )


def bilayer(depth: FloatArray, blur: float) -> FloatArray:
    """Scattering of a bilayer beyond ice, Å/Å³: two layers of head groups, and tails between.

    The proteins in it are spread evenly.

    Parameters
    ----------
    depth
        Å from its middle, any shape.
    blur
        Standard deviation of the Gaussian of the resolution, Å.
    """
    sigma = np.hypot(_HEADS_SIGMA, blur)
    heads = np.exp(-0.5 * ((np.abs(depth) - _HEADS_AT) / sigma) ** 2) * (_HEADS_SIGMA / sigma)
    tails = ndtr((_TAILS_TO - np.abs(depth)) / blur)
    proteins = ndtr((_PROTEINS_TO - np.abs(depth)) / blur)
    lipids = LIPID_HEADS * heads + LIPID_TAILS * tails
    density: FloatArray = (1 - _PROTEIN_SHARE) * lipids + _PROTEIN_SHARE * PROTEIN * proteins
    return density.astype(np.float32)


def add_membranes(
    density: npt.NDArray[np.float32],
    taken: BoolArray,
    membranes: Sequence[Membrane],
    *,
    voxel_size: float,
    blur: float,
    gap: float,
) -> Job[None]:
    """Add bilayers where space is free, and take theirs, in place.

    Parameters
    ----------
    density
        (z, y, x) Å/Å³ beyond ice.
    taken
        (z, y, x): the voxels that are not free.
    membranes
        What to add.
    voxel_size
        Å.
    blur
        Standard deviation of the Gaussian of the resolution, Å.
    gap
        Å that stay free on both sides.
    """
    depth, *plane = density.shape
    rows = max(_SLAB // (plane[0] * plane[1]), 1)
    for index, membrane in enumerate(membranes):
        for start in range(0, depth, rows):
            slab = slice(start, min(start + rows, depth))
            points = _points(slab, plane, voxel_size)
            from_middle = membrane.depth(points).reshape(-1, *plane)
            density[slab] += bilayer(from_middle, blur) * ~taken[slab]
            taken[slab] |= np.abs(from_middle) < HALF_THICKNESS + gap
            yield Progress("adding membranes", index * depth + slab.stop, len(membranes) * depth)


def _points(slab: slice, plane: Sequence[int], voxel_size: float) -> npt.NDArray[np.float32]:
    """(n, 3) zyx of the voxels of some planes, Å."""
    index = np.indices((slab.stop - slab.start, *plane), dtype=np.float32).reshape(3, -1).T
    index[:, 0] += slab.start
    points: npt.NDArray[np.float32] = index * np.float32(voxel_size)
    return points


def _unit(vector: FloatArray) -> FloatArray:
    unit: FloatArray = vector / np.linalg.norm(vector)
    return unit
