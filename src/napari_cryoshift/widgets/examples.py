"""Examples of what a simulation would give: one subtomogram, or a part of a tomogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.source import SourceParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms, subtomogram_truth
from napari_cryoshift.core.simulate.tomogram import CrowdedParams, simulate_tomogram
from napari_cryoshift.core.structures import Structure, library
from napari_cryoshift.core.volumes import sample_rotated

from .pictures import box_at

_PART = 1200.0
"""Å along y and x of the part of a tomogram: made in about a second, with room for a membrane."""

_FEWEST = 96
"""Voxels that it has at least."""


@dataclass(frozen=True, eq=False)
class Example:
    """What a person looks at.

    Attributes
    ----------
    volume
        (d, d, d) as it would be imaged.
    clean
        (d, d, d) the particle alone; None where there are many.
    words
        What was drawn for it.
    """

    volume: npt.NDArray[np.float32]
    clean: npt.NDArray[np.float32] | None
    words: str


def subtomogram_example(params: SourceParams, which: int, number: int) -> Job[Example]:
    """Make one subtomogram like those of a set.

    Parameters
    ----------
    params
        Of the set; only the structures that it names are in the example.
    which
        Index of the structure to look at.
    number
        From 0; each number is another example.

    Raises
    ------
    ValueError
        If a structure is not in the library or wider than the box.
    """
    structures = [library().need(key) for key in params.structures]
    imaging, seed = params.imaging, params.seed + number
    yield Progress("making an example", 0, 2)
    volumes = simulate_subtomograms(structures, imaging, per_class=1, seed=seed)
    volume = volumes[[which]][0].numpy()
    yield Progress("making an example", 1, 2)
    truth = subtomogram_truth(structures, imaging, per_class=1, seed=seed).iloc[which]
    return Example(volume, _clean(structures[which], imaging, truth), _drawn(imaging, truth))


def _clean(
    structure: Structure, imaging: ImagingParams, truth: pd.Series
) -> npt.NDArray[np.float32]:
    """Return the particle as it lies in the volume, (d, d, d)."""
    rotation = np.array([truth[f"r{i}{j}"] for i in range(3) for j in range(3)], np.float32)
    shift = np.array([truth[f"shift_{axis}"] for axis in "zyx"], np.float32) / imaging.voxel_size
    placed = sample_rotated(
        torch.from_numpy(structure.density),
        torch.from_numpy(rotation).reshape(1, 3, 3),
        box=imaging.box,
        step=imaging.voxel_size / structure.voxel_size,
        shifts=torch.from_numpy(shift)[None],
    )
    clean: npt.NDArray[np.float32] = placed[0].numpy()
    return clean


def _drawn(imaging: ImagingParams, truth: pd.Series) -> str:
    of = " of the mean class" if imaging.noise_level == "dose" else ""
    lines = [
        f"SNR {truth['snr_power']:.2g} (power){of}",
        f"SNR {truth['snr_nominal']:.2g} (nominal){of}",
        f"defocus {truth['defocus']:.2f} µm".replace("-", "−"),
        f"missing wedge {truth['missing_wedge']:.0f}°",
    ]
    return "\n".join(lines)


def tomogram_example(params: CrowdedParams, number: int) -> Job[Example]:
    """Make a part of a tomogram, as crowded as the whole; each number from 0 is another part.

    Raises
    ------
    ValueError
        As `simulate_tomogram` does.
    """
    part = part_of(params, number)
    made = yield from simulate_tomogram(part)
    box = box_at(made.tomogram, np.array(part.shape) // 2, min(part.shape))
    nm = " × ".join(f"{n * part.voxel_size / 10:.0f}" for n in reversed(part.shape))
    return Example(
        volume=box,
        clean=None,
        words=(
            f"The middle of {nm} nm with {len(made.particles)} particles, which fill "
            f"{made.packing:.1%} of the ice. They are dark, as in real tomograms."
        ),
    )


def part_of(params: CrowdedParams, number: int = 0) -> CrowdedParams:
    """Cut a tomogram down along y and x; all that was in it has its share in what is left."""
    z, y, x = params.shape
    side = max(_FEWEST, round(_PART / params.voxel_size))
    shape = (z, min(y, side), min(x, side))
    share = shape[1] * shape[2] / (y * x)
    update = {
        "shape": shape,
        "seed": params.seed + number,
        # At least one where there are any, for what one looks at is what they look like.
        "membranes": math.ceil(share * params.membranes),
        "beads": math.ceil(share * params.beads),
        "particles_per_class": _shares(_copies(params), share),
    }
    return params.model_copy(update=update)


def _copies(params: CrowdedParams) -> Sequence[int]:
    copies = params.particles_per_class
    return copies if isinstance(copies, tuple) else (copies,) * len(params.classes)


def _shares(copies: Sequence[int], share: float) -> tuple[int, ...]:
    """Round the share of each so that their sum is right, and not 0 where there are any."""
    ends = np.rint(np.cumsum((0, *copies)) * share).astype(int)
    if sum(copies):
        ends[-1] = max(ends[-1], 1)
    return tuple(map(int, np.diff(ends)))
