"""Particles of a specimen: each a rotated density, its place found by its true shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.structures.density import SIGMA_PER_RESOLUTION
from napari_cryoshift.core.volumes import random_rotations, sample_rotated

from .packing import BoolArray, find_place, occupy, overlap
from .scattering import PROTEIN, PROTEIN_IN_LIBRARY

_ORIENTATIONS = 3
"""In which a particle is tried before there is no place for it."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Placed:
    """Where particles came to lie.

    Attributes
    ----------
    centres
        (n, 3) zyx voxels, of the centres of mass.
    rotations
        (n, 3, 3) active, acting on xyz.
    occupancy
        (z, y, x) int32: 1 + the row of the particle that a voxel belongs to, 0 where none is.
    """

    centres: FloatArray
    rotations: FloatArray
    occupancy: npt.NDArray[np.int32]


class Template:
    """A structure at the voxel size of a tomogram, ready to be rotated.

    Parameters
    ----------
    structure
        What.
    voxel_size
        Å, of the tomogram.

    Attributes
    ----------
    body_size
        Å³, of the volume that the particle occupies: that of its mass of protein.
    """

    def __init__(self, structure: Structure, voxel_size: float) -> None:
        step = voxel_size / structure.voxel_size
        # Sampling at a coarser step needs the blur of that step first.
        sigma = 2 * SIGMA_PER_RESOLUTION * np.sqrt(max(step**2 - 1, 0))
        blurred = ndimage.gaussian_filter(structure.density, sigma, mode="constant")
        self._density = torch.from_numpy(blurred * np.float32(PROTEIN / PROTEIN_IN_LIBRARY))
        self._step = step
        self._box = 2 * (int(np.ceil(structure.diameter / 2 / voxel_size)) + 2)
        scattering = float(structure.density.sum()) * structure.voxel_size**3
        self.body_size = scattering / PROTEIN_IN_LIBRARY
        upright = self.turned(torch.eye(3), np.zeros(3))
        voxels = max(round(self.body_size / voxel_size**3), 1)
        self._threshold = float(np.sort(upright, axis=None)[-voxels])

    def turned(self, rotation: torch.Tensor, shift: FloatArray) -> npt.NDArray[np.float32]:
        """(d, d, d) density beyond ice, Å/Å³, its centre at d // 2 plus a shift (zyx, voxels)."""
        density: npt.NDArray[np.float32] = sample_rotated(
            self._density,
            rotation[None],
            box=self._box,
            step=self._step,
            shifts=torch.from_numpy(shift[None]).float(),
        )[0].numpy()
        return density

    def body(self, density: npt.NDArray[np.float32]) -> BoolArray:
        """(d, d, d): where the turned particle is; what it encloses, as a capsid does, included.

        The isosurface holds the volume of protein of the particle's mass.
        """
        solid: BoolArray = ndimage.binary_fill_holes(density >= self._threshold)
        return solid


def place_particles(
    density: npt.NDArray[np.float32],
    taken: BoolArray,
    templates: list[Template],
    counts: list[int],
    *,
    gap: float,
    generator: np.random.Generator,
) -> Job[Placed]:
    """Add particles to a specimen, the largest first, each where nothing is yet.

    Parameters
    ----------
    density
        (z, y, x) Å/Å³ beyond ice; the particles are added in place.
    taken
        (z, y, x) C-contiguous: the voxels that are not free; the particles and the gaps around
        them take theirs, in place.
    templates, counts
        One a class.
    gap
        Voxels between any two bodies at least.
    generator
        Of places and rotations, which are uniform over all rotations.

    Returns
    -------
    Placed
        Sorted by class.

    Raises
    ------
    ValueError
        If a particle finds no place, with how many did.
    """
    total = sum(counts)
    centres, rotations = np.empty((total, 3)), np.empty((total, 3, 3))
    occupancy = np.zeros(taken.shape, dtype=np.int32)
    free, held = int((~taken).sum()), 0
    order = np.argsort([-template.body_size for template in templates], kind="stable")
    rows = np.split(np.arange(total), np.cumsum(counts)[:-1])
    queue = [(int(row), templates[label]) for label in order for row in rows[label]]
    for placed, (row, template) in enumerate(queue):
        for _ in range(_ORIENTATIONS):
            rotation = random_rotations(1, generator)[0]
            shift = generator.uniform(-0.5, 0.5, 3)
            particle = template.turned(rotation, shift)
            body = template.body(particle)
            place = find_place(taken, body, generator)
            if place is not None:
                break
        else:
            raise ValueError(
                f"only {placed} of {total} particles fit, which fill {held / free:.1%} of the "
                "space; ask for fewer particles, a smaller gap or a larger tomogram"
            )
        occupy(taken, body, place, gap)
        inside, part = overlap(place, particle.shape, density.shape)
        density[inside] += particle[part]
        occupancy[inside][body[part]] = row + 1
        centres[row] = place + len(particle) // 2 + shift
        rotations[row] = rotation.numpy()
        held += int(body.sum())
        yield Progress("packing particles", placed + 1, total, {"packing": held / free})
    return Placed(centres, rotations, occupancy)
