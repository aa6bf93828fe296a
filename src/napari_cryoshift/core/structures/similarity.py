"""How alike two structures are: the best correlation over rotations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.volumes import sample_rotated, standardise

from .library import Structure

_BATCH = 64


def similarity(
    a: Structure,
    b: Structure,
    *,
    rotations: int = 600,
    voxel_size: float = 12.0,
    seed: int = 0,
) -> float:
    """Return the highest correlation of two structures over rotations about their centres.

    Random rotations are tried first, then small ones about the best, twice.

    Parameters
    ----------
    a, b
        The structures.
    rotations
        How many are tried in each of the three rounds.
    voxel_size
        Å, at which they are compared.
    seed
        Of the rotations.

    Returns
    -------
    float
        Correlation coefficient, 1 for identical densities.
    """
    box = int(np.ceil(max(a.diameter, b.diameter) / voxel_size)) + 4
    fixed = torch.from_numpy(a.at(voxel_size, box))
    moving = torch.from_numpy(b.at(voxel_size, box))
    rng = np.random.default_rng(seed)
    best, best_score = Rotation.identity(), -1.0
    for spread in (None, 12.0, 4.0):
        trial = (
            Rotation.random(rotations, rng=rng)
            if spread is None
            else Rotation.from_rotvec(rng.normal(0, spread, (rotations, 3)), degrees=True) * best
        )
        scores = _correlations(fixed, moving, trial.as_matrix())
        top = int(np.argmax(scores))
        if scores[top] > best_score:
            best, best_score = trial[top], float(scores[top])
    return best_score


def most_alike(
    structure: Structure, others: Sequence[Structure], *, rotations: int = 600
) -> Job[list[tuple[float, Structure]]]:
    """Return the other structures with their `similarity`, the most similar first."""
    found: list[tuple[float, Structure]] = []
    for other in others:
        yield Progress("comparing structures", len(found), len(others))
        found.append((similarity(structure, other, rotations=rotations), other))
    return sorted(found, key=lambda pair: -pair[0])


def _correlations(
    fixed: torch.Tensor, moving: torch.Tensor, matrices: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Correlate one volume with the rotations, (n, 3, 3) acting on xyz, of another."""
    wanted = standardise(fixed).flatten()
    scores = [
        standardise(sample_rotated(moving, batch, box=len(fixed), step=1.0)).flatten(1) @ wanted
        for batch in torch.split(torch.from_numpy(matrices).float(), _BATCH)
    ]
    correlations: npt.NDArray[np.float32] = (torch.cat(scores) / wanted.numel()).numpy()
    return correlations
