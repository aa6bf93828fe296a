"""The matched filter: how well each volume fits each structure, whatever its orientation.

The largest normalised correlation over rotations and small shifts, with the template seen through
the same microscope as the volume, and both whitened by the spectrum of the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.devices import half_precision
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.types import Subtomograms

from .bank import Bank, make_bank
from .fields import AngularStep, LargestShift
from .grids import rotation_grid, shift_grid
from .optics import OpticsParams
from .templates import Band, computing_device

_ROWS = 2048
"""Volumes times shifts that are compared at once."""

_NOISE_SAMPLE = 512
"""Volumes, of all, from which the spectrum of the noise is taken."""

_BATCH = 64
"""Volumes that are read at once for it."""

Floats = npt.NDArray[np.float32]


class MatchParams(OpticsParams):
    """How volumes are compared with structures."""

    rotation_step: AngularStep = Field(
        30.0,
        description="Between the orientations tried, degrees: 30 is 550 of them, 15 is 4400.",
    )
    shift: LargestShift = 18.0
    shift_step: float = Field(
        12.0, gt=0, le=100, title="Step of the shifts", description="Between those tried, Å."
    )


@dataclass(frozen=True, eq=False)
class Fit:
    """The best fit of a structure to each of n volumes.

    Attributes
    ----------
    score
        (n,) float32 normalised correlation, −1 to 1.
    strength
        (n,) float32 how much of the structure there is, in standard deviations of the noise: the
        output of the matched filter, which no bright neighbour lowers. It compares volumes that
        have kept their grey values (`crop` with ``scaled=False``).
    rotations
        (n, 3, 3) float32 active rotations, structure to volume, acting on xyz.
    shifts
        (n, 3) float32 zyx, Å: where the structure lies, seen from the centre of the volume.
    """

    score: Floats
    strength: Floats
    rotations: Floats
    shifts: Floats

    @classmethod
    def of_rotations(cls, rotations: npt.ArrayLike) -> Fit:
        """Orientations (n, 3, 3) that are known, of centred volumes; the rest is NaN."""
        known = np.asarray(rotations, np.float32)
        unknown = np.full(len(known), np.nan, np.float32)
        return cls(unknown, unknown, known, np.zeros((len(known), 3), np.float32))

    @classmethod
    def joined(cls, fits: Sequence[Fit]) -> Fit:
        """Rows of several, one after the other."""
        return cls(
            *(np.concatenate([getattr(fit, field.name) for fit in fits]) for field in fields(cls))
        )

    def take(self, rows: npt.NDArray[np.int64]) -> Fit:
        """Return some rows."""
        return Fit(*(getattr(self, field.name)[rows] for field in fields(self)))


def matched_filter(
    volumes: Subtomograms,
    structures: Sequence[Structure],
    params: MatchParams = MatchParams(),  # noqa: B008 (frozen)
    *,
    measure: Literal["score", "strength"] = "score",
    defocus: npt.ArrayLike | None = None,
    noise: npt.ArrayLike | None = None,
    device: torch.device | str | None = None,
) -> Job[Floats]:
    """Compare every volume with every structure.

    With V the spectrum of a volume, T that of a structure in one of its orientations and places,
    H what the microscope let through and N² the power of the noise, the score is the largest
    ``⟨V/N, HT/N⟩ / (‖V/N‖ ‖HT/N‖)`` (matched filter: e.g. Turin, IRE Trans. Inf. Theory 6, 311
    (1960)), over the frequencies within the resolution and outside the missing wedge.

    Parameters
    ----------
    volumes
        n of them, protein positive.
    structures
        k of them.
    params
        How they are compared.
    measure
        Of a fit, as in `Fit`.
    defocus
        (n,) µm, where it differs between the volumes; by default that of the parameters.
    noise
        Power of the noise at 0, 1, 2 … cycles a box; by default the mean power of the volumes,
        most of which is noise.
    device
        Where it is computed; by default the accelerator that was found.

    Returns
    -------
    ndarray
        (n, k) float32.

    Raises
    ------
    ValueError
        If there is no volume or no structure, one is wider than the box, or the defoci are not n.
    """
    comparison = yield from _prepare(
        volumes, structures, params, defocus=defocus, noise=noise, device=device
    )
    scores = np.empty((len(volumes), len(structures)), np.float32)
    for rows in comparison.batches(len(volumes)):
        # For the largest value, half precision is exact enough; for its place it is not.
        score, strength, _ = comparison.run(volumes, rows, half=True)
        scores[rows] = (score if measure == "score" else strength).cpu().numpy()
        yield Progress("comparing with the structures", int(rows[-1]) + 1, len(volumes))
    return scores


def align(
    volumes: Subtomograms,
    structure: Structure,
    params: MatchParams = MatchParams(),  # noqa: B008 (frozen)
    *,
    defocus: npt.ArrayLike | None = None,
    noise: npt.ArrayLike | None = None,
    device: torch.device | str | None = None,
) -> Job[Fit]:
    """Find where a structure lies in each volume, and in which orientation.

    Parameters and errors are those of `matched_filter`, for one structure.
    """
    comparison = yield from _prepare(
        volumes, [structure], params, defocus=defocus, noise=noise, device=device
    )
    n = len(volumes)
    found = Fit(
        score=np.empty(n, np.float32),
        strength=np.empty(n, np.float32),
        rotations=np.empty((n, 3, 3), np.float32),
        shifts=np.empty((n, 3), np.float32),
    )
    rotations = comparison.bank.rotations
    for rows in comparison.batches(n):
        score, strength, best = comparison.run(volumes, rows, half=False)
        shift, rotation = best[:, 0] // len(rotations), best[:, 0] % len(rotations)
        found.score[rows] = score[:, 0].cpu().numpy()
        found.strength[rows] = strength[:, 0].cpu().numpy()
        found.rotations[rows] = rotations[rotation].cpu().numpy()
        found.shifts[rows] = comparison.shifts[shift].cpu().numpy() * volumes.voxel_size
        yield Progress("aligning", int(rows[-1]) + 1, n)
    return found


def standard_scores(scores: Floats) -> Floats:
    """Scores (n, k) with mean 0 and standard deviation 1 over the volumes: an embedding.

    Large structures fit anything better than small ones do; this takes it away.
    """
    spread = scores.std(0)
    standard: Floats = (scores - scores.mean(0)) / np.where(spread > 0, spread, 1)
    return standard


@dataclass(frozen=True, eq=False)
class _Comparison:
    """What all volumes are compared with.

    Attributes
    ----------
    bank
        The templates.
    shifts
        (s, 3) zyx voxels, that are tried.
    transfer
        (1 or n, u) what the microscope let through, for all volumes or for each.
    noise
        (u,) power.
    """

    bank: Bank
    shifts: Tensor
    transfer: Tensor
    noise: Tensor

    def batches(self, n: int) -> list[npt.NDArray[np.int64]]:
        """Rows that are compared at once."""
        size = max(1, _ROWS // len(self.shifts))
        return [np.arange(first, min(first + size, n)) for first in range(0, n, size)]

    def run(
        self, volumes: Subtomograms, rows: npt.NDArray[np.int64], *, half: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compare some volumes, in half precision where the hardware has it, or not.

        Returns
        -------
        scores, strengths, places : Tensor
            (b, k) the largest scores and strengths, and where they are: shift · r + rotation.
        """
        bank, band = self.bank, self.bank.band
        transfer = self.transfer if len(self.transfer) == 1 else self.transfer[rows]
        spectra = band.spectra(volumes[rows].to(self.noise.device))
        norm = (spectra.abs() ** 2 / self.noise[band.radius]).sum(1, keepdim=True).sqrt()
        filtered = spectra / norm.clamp(min=1e-12) * (transfer / self.noise)[:, band.radius]
        moved = filtered[:, None] * band.shifted(-self.shifts)
        reduced = torch.view_as_real(moved).flatten(2) @ bank.components
        weight = (transfer**2 / self.noise).expand(len(rows), -1)
        scores, places = [], []
        for k, coefficients in enumerate(bank.coefficients):
            with half_precision(reduced.device) if half else nullcontext():
                products = reduced @ coefficients.T
            best, shift = products.max(1)
            score, rotation = (best.float() / bank.norms(weight, k)).max(1)
            scores.append(score)
            places.append(shift.gather(1, rotation[:, None])[:, 0] * len(bank.rotations) + rotation)
        score = torch.stack(scores, 1)
        # The noise has half its power in the phase of the template.
        return score, score * norm * 2**0.5, torch.stack(places, 1)


def _prepare(
    volumes: Subtomograms,
    structures: Sequence[Structure],
    params: MatchParams,
    *,
    defocus: npt.ArrayLike | None,
    noise: npt.ArrayLike | None,
    device: torch.device | str | None,
) -> Job[_Comparison]:
    if len(volumes) == 0:
        raise ValueError("0 volumes to compare; pick particles first")
    place = computing_device(device)
    band = Band.of(volumes.box, volumes.voxel_size, params, place)
    given = np.atleast_1d(np.asarray(params.defocus if defocus is None else defocus, np.float32))
    if defocus is not None and len(given) != len(volumes):
        raise ValueError(
            f"{len(volumes)} volumes but {len(given)} defoci; give one defocus a volume"
        )
    transfer = params.transfer(band.radii, torch.tensor(given, device=place)[:, None])
    if noise is None:
        some = np.unique(np.linspace(0, len(volumes) - 1, _NOISE_SAMPLE).astype(np.int64))
        powers = []
        for first in range(0, len(some), _BATCH):
            spectra = band.spectra(volumes[some[first : first + _BATCH]].to(place))
            powers.append(band.radial_mean(spectra.abs() ** 2))
            yield Progress("measuring the noise", first + len(spectra), len(some))
        power = torch.cat(powers).mean(0)
    else:
        power = torch.as_tensor(np.asarray(noise, np.float32), device=place)
    power = band.at_radii(power).clamp(min=1e-6 * float(power.max()))
    bank = yield from make_bank(
        structures,
        rotation_grid(params.rotation_step).to(place),
        band,
        weight=(transfer**2).mean(0).div(power).sqrt(),
    )
    shifts = shift_grid(params.shift, params.shift_step).to(place) / volumes.voxel_size
    return _Comparison(bank=bank, shifts=shifts, transfer=transfer, noise=power)
