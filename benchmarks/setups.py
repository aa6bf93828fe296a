"""The set-ups in which unseen classes are told apart, and how accuracy is counted in them.

Volumes are those of the papers' protocol: 32³ voxels of 12 Å, tilts ±60°, uniform rotations, each
standardised; SNR in the papers' nominal convention. The same seed gives the same rotations, places
(in shares of the largest shift) and noise in all set-ups.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch

from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms, subtomogram_truth
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Subtomograms

UNSEEN = ("3jb9", "1wcm", "4v6x", "3j9i", "4v8r")
SNRS = (100.0, 0.1, 0.05, 0.03, 0.01)
QUERIES = 15
"""Volumes to classify, a class and task."""

_BATCH = 64


class Setup(NamedTuple):
    """How the volumes differ from each other."""

    title: str
    defocus: tuple[float, float]
    """µm, drawn from this range."""
    shift: float
    """Largest displacement along each axis, Å."""


SETUPS = {
    "centred": Setup("defocus −5 µm, within ±0.64 nm of the centre", (-5.0, -5.0), 6.4),
    "shifted": Setup("defocus −5 µm, within ±2.4 nm of the centre", (-5.0, -5.0), 24.0),
    "hard": Setup("defocus −6 to −2 µm, within ±2.4 nm of the centre", (-6.0, -2.0), 24.0),
}


def unseen():
    """Return the structures that are told apart."""
    return [library()[key] for key in UNSEEN]


def relatives():
    """Return family → ids of its members in the library, for the families of the unseen ones."""
    families = dict.fromkeys(structure.family for structure in unseen())
    entries = library().entries.values()
    return {family: [e.id for e in entries if e.family == family] for family in families}


@dataclass(frozen=True, eq=False)
class Volumes:
    """Simulated volumes of the unseen classes, in memory, and all that is known of them.

    Attributes
    ----------
    params
        How they were imaged.
    noisy
        The volumes.
    truth
        A row a volume: what `subtomogram_truth` gives.
    power_ratio
        Median over volumes of the measured variance of the signal over that of the noise.
    """

    params: ImagingParams
    noisy: Subtomograms
    truth: object
    power_ratio: float


def simulate(setup, column, *, per_class, seed):
    """Make the volumes of a set-up at the SNR of a column of the table."""
    params = ImagingParams(
        snr=(SNRS[column],) * 2,
        defocus=SETUPS[setup].defocus,
        shift=SETUPS[setup].shift,
        amplitude_contrast=0.0,
    )
    structures, drawn = unseen(), {"per_class": per_class, "seed": seed + column}
    made = simulate_subtomograms(structures, params, **drawn)
    noisy = in_memory(made)
    quiet = simulate_subtomograms(
        structures, params.model_copy(update={"snr": (1e9, 1e9)}), **drawn
    )
    rows = np.arange(0, len(made), 10)
    explained = (quiet[rows] * noisy[rows]).mean((1, 2, 3)) ** 2
    return Volumes(
        params=params,
        noisy=noisy,
        truth=subtomogram_truth(structures, params, **drawn),
        power_ratio=float((explained / (1 - explained)).median()),
    )


def in_memory(volumes):
    """Read lazy subtomograms once."""
    read = torch.cat(list(batches(volumes)))
    return Subtomograms.from_memory(read, volumes.voxel_size, volumes.labels, volumes.classes)


def batches(volumes):
    """Read subtomograms a few at a time."""
    return (volumes[start : start + _BATCH] for start in range(0, len(volumes), _BATCH))


def draw_tasks(labels, *, ways, shots, count, seed):
    """Draw few-shot tasks, all combinations of classes equally often.

    Returns
    -------
    tasks : Tensor
        (count, ways, shots + QUERIES) rows of volumes.
    classes : list of tuple
        The ways of each task.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    every = list(combinations(range(len(members)), ways))
    classes = [every[task % len(every)] for task in range(count)]
    tasks = [
        [generator.choice(members[label], shots + QUERIES, replace=False) for label in chosen]
        for chosen in classes
    ]
    return torch.from_numpy(np.array(tasks)), classes


def accuracies(vectors, tasks, shots):
    """Accuracy (t,) of the nearest class mean in each task (t, ways, at least shots + QUERIES).

    The first volumes of a class are its shots, the last ones are classified.
    """
    means = vectors[tasks[:, :, :shots]].mean(2)
    queries = vectors[tasks[:, :, -QUERIES:]].flatten(1, 2)
    nearest = torch.cdist(queries, means).argmin(2)
    right = nearest == torch.arange(tasks.shape[1]).repeat_interleave(QUERIES)
    return right.double().mean(1).numpy()
