"""Atoms → a density."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gemmi
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .density import (
    SCATTERING_PER_DALTON,
    SIGMA_PER_RESOLUTION,
    Density,
    FloatArray,
    box_side,
    check_voxel_size,
    enclosing_radius,
)

Assembly = Literal["auto", "asymmetric unit"]

_COARSEST_STEP = 3.0
"""Å, of the inner grid that atoms are spread on."""

_TRACE_ATOMS = {"CA", "P"}


@dataclass(frozen=True, eq=False)
class _Points:
    """Point scatterers: (n, 3) zyx positions in Å, (n,) scattering in Å, and their mass in kDa."""

    positions: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    mass_kda: float


def read_atoms(
    path: Path | str,
    voxel_size: float,
    *,
    assembly: Assembly = "auto",
    resolution: float | None = None,
) -> Density:
    """Compute the density, mass and diameter of a PDB or mmCIF file (gzipped or not).

    Parameters
    ----------
    path
        The file; of several models the first is taken.
    voxel_size
        Å.
    assembly
        "auto" builds the first biological assembly where the file describes one; "asymmetric unit"
        takes the coordinates as they are.
    resolution
        Å, by default twice the voxel size.

    Raises
    ------
    ValueError
        If the file is missing, is no structure or holds no atoms.
    """
    check_voxel_size(voxel_size)
    points = _points(_read_model(Path(path), assembly), Path(path))
    centre = np.average(points.positions, axis=0, weights=points.weights)
    offsets = points.positions - centre
    radius = enclosing_radius(offsets, points.weights)
    resolution = resolution or 2 * voxel_size
    size = box_side(radius + resolution, voxel_size)
    return Density(
        values=_splat(
            offsets,
            points.weights,
            size=size,
            voxel_size=voxel_size,
            sigma=SIGMA_PER_RESOLUTION * resolution,
        ),
        voxel_size=voxel_size,
        mass_kda=points.mass_kda,
        diameter=2 * radius,
    )


def _read_model(path: Path, assembly: Assembly) -> gemmi.Model:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; check its name")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(
            f"{path.name} could not be read as a structure ({error}); give a PDB or mmCIF file"
        ) from error
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise ValueError(f"{path.name} holds no atoms; give a PDB or mmCIF file with coordinates")
    structure.setup_entities()
    model = structure[0]
    if assembly == "auto" and structure.assemblies:
        model = gemmi.make_assembly(structure.assemblies[0], model, gemmi.HowToNameCopiedChain.Dup)
    # Not before: an assembly may name chains that hold nothing but water.
    model.remove_waters()
    model.remove_hydrogens()
    return model


def _points(model: gemmi.Model, path: Path) -> _Points:
    """Weigh each atom by its forward electron scattering (International Tables C, 4.3.2.2).

    Hydrogens are left out of all, for most files do not have them. An atom that stands for a whole
    residue (a trace of CA or P) has the weight of the residue.
    """
    positions, weights, mass = [], [], 0.0
    forward: dict[str, float] = {}
    for chain in model:
        for residue in chain:
            whole = gemmi.find_tabulated_residue(residue.name).weight
            trace = len(residue) == 1 and residue[0].name in _TRACE_ATOMS and whole > 0
            for atom in residue:
                if trace:
                    dalton = whole
                    weight = whole * SCATTERING_PER_DALTON
                else:
                    dalton = atom.element.weight
                    if atom.element.name not in forward:
                        forward[atom.element.name] = atom.element.c4322.calculate_sf(stol2=0)
                    weight = forward[atom.element.name]
                positions.append(atom.pos.tolist())
                weights.append(weight * atom.occ)
                mass += dalton * atom.occ
    if not sum(weights) > 0:
        raise ValueError(
            f"the {len(weights)} atoms of {path.name} have occupancy or scattering zero; "
            "give a file with occupied atoms of known elements"
        )
    zyx = np.array(positions)[:, ::-1]
    return _Points(zyx, np.array(weights), mass / 1000)


def _splat(
    offsets: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    *,
    size: int,
    voxel_size: float,
    sigma: float,
) -> FloatArray:
    """Sum Gaussians of width ``sigma`` Å at offsets (Å, zyx) from the centre of a box.

    The points are spread linearly over a finer grid, which is blurred and sampled: this is a sum
    of Gaussians, hence positive, which a Fourier crop is not.
    """
    finer = int(np.ceil(voxel_size / _COARSEST_STEP))
    step = voxel_size / finer
    fine = size * finer
    place = offsets / step + (size // 2) * finer
    corner = np.floor(place).astype(np.int64)
    held = np.all((corner >= 0) & (corner < fine - 1), axis=1)
    corner, part, weights = corner[held], (place - corner)[held], weights[held]
    grid = np.zeros(fine**3)
    for shift in np.ndindex(2, 2, 2):
        share = np.prod(np.where(shift, part, 1 - part), axis=1)
        flat = np.ravel_multi_index(tuple((corner + shift).T), (fine,) * 3)
        grid += np.bincount(flat, weights * share, minlength=fine**3)
    # Linear spreading has itself a variance of step²/6 on average.
    width = np.sqrt(max(sigma**2 - step**2 / 6, 0)) / step
    blurred = ndimage.gaussian_filter(
        grid.reshape(fine, fine, fine), width, mode="constant", truncate=5
    )
    sampled = blurred[::finer, ::finer, ::finer] / step**3
    return np.ascontiguousarray(sampled, dtype=np.float32)
