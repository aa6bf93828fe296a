"""All rotations of all structures, in the few numbers by which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.structures import Structure

from .templates import Band, Template

_ENERGY = 0.97
"""Share of the templates' power that is kept; their correlations change by about 1 %."""

_SAMPLE = 2048
"""Templates, of all, from which the principal components are found."""

_ROTATIONS = 1024
"""Templates that are made at once."""

_FLOOR = 0.05
"""Least weight of a frequency, of the greatest, lest a zero of the CTF be divided by."""


@dataclass(frozen=True, eq=False)
class Bank:
    """Templates of k structures in r rotations, as q principal components of their spectra.

    Low-pass filtered structures are alike, so that a few hundred components hold thousands of
    templates; a product of a volume with all of them costs that much less.

    Attributes
    ----------
    band
        The f frequencies that are compared.
    rotations
        (r, 3, 3).
    components
        (2 f, q), to be multiplied from the left by the real and imaginary parts of a spectrum.
    coefficients
        (k, r, q): ``(spectrum @ components) @ coefficients`` is the product of a spectrum with
        every template.
    power
        (k, r, u) sum of the squared template over the frequencies of each radius of the band.
    """

    band: Band
    rotations: Tensor
    components: Tensor
    coefficients: Tensor
    power: Tensor

    def norms(self, weight: Tensor, structure: int) -> Tensor:
        """Norms (b, r) of a structure's templates under radial filters, (b, u) squared."""
        return (weight @ self.power[structure].T).sqrt()


def make_bank(
    structures: Sequence[Structure],
    rotations: Tensor,
    band: Band,
    weight: Tensor,
) -> Job[Bank]:
    """Make the templates of some structures.

    Parameters
    ----------
    structures
        k of them.
    rotations
        (r, 3, 3) active rotations.
    band
        The frequencies.
    weight
        (u,) how much a frequency of each radius matters, as amplitude.

    Raises
    ------
    ValueError
        If there is no structure, or one is wider than the box.
    """
    if not structures:
        raise ValueError("0 structures to compare with; give at least one")
    width = band.box * band.voxel_size
    for structure in structures:
        if structure.diameter > width:
            raise ValueError(
                f"{structure.name} is {structure.diameter:.0f} Å wide but the box only "
                f"{width:.0f} Å; give larger volumes or leave it out"
            )
    device = rotations.device
    templates = [
        Template.of(structure, float(1 / band.radii[-1]), device) for structure in structures
    ]
    scale = weight.clamp(min=_FLOOR * float(weight.max()))[band.radius].repeat_interleave(2)

    every = -(-len(structures) * len(rotations) // _SAMPLE)
    samples = []
    for step, template in enumerate(templates):
        # Each structure from another rotation on, so that together they cover all.
        rows = torch.view_as_real(template.rotated(rotations[step % every :: every], band))
        rows = rows.flatten(1) * scale
        samples.append(rows / rows.norm(dim=1, keepdim=True))
        yield Progress("comparing the structures", step + 1, len(templates))
    principal = _principal(torch.cat(samples))

    coefficients, power = [], []
    for step, template in enumerate(templates):
        for first in range(0, len(rotations), _ROTATIONS):
            spectra = template.rotated(rotations[first : first + _ROTATIONS], band)
            coefficients.append((torch.view_as_real(spectra).flatten(1) * scale) @ principal)
            power.append(band.radial_sum(spectra.abs() ** 2))
        yield Progress("turning the structures", step + 1, len(templates))
    size = len(structures), len(rotations)
    return Bank(
        band=band,
        rotations=rotations,
        components=principal / scale[:, None],
        coefficients=torch.cat(coefficients).reshape(*size, -1),
        power=torch.cat(power).reshape(*size, -1),
    )


def _principal(rows: Tensor) -> Tensor:
    """Orthonormal columns (d, q) that hold most of the power of rows (m, d)."""
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    kept = values.cumsum(0) > (1 - _ENERGY) * values.sum()
    columns: Tensor = rows.T @ (vectors[:, kept] / values[kept].sqrt())
    return columns
