"""How well the classes of found particles agree with those of the true positions they match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support

from napari_cryoshift.core.types import OTHER, Particles

from .positions import match_positions, need_truth, points_of


@dataclass(frozen=True)
class ClassReport:
    """How well the classes of found particles agree with the true ones.

    Attributes
    ----------
    matched
        How many true positions have a particle.
    accuracy
        Share of the matched ones whose particle has the true class; 0 if none is matched.
    precision, recall, f1
        Class → figure. A particle where there is no true one is wrong for the class it was given;
        a true position without a particle is missed by its class.
    macro_f1
        Mean of ``f1`` over the true classes.
    """

    matched: int
    accuracy: float
    precision: Mapping[str, float]
    recall: Mapping[str, float]
    f1: Mapping[str, float]
    macro_f1: float


def evaluate_classes(
    particles: Particles,
    truth_positions: npt.ArrayLike,
    truth_classes: Sequence[str],
    radius: float,
    *,
    voxel_size: float,
) -> ClassReport:
    """Compare the predicted classes of particles with the true ones.

    Particles match true positions whatever their class, those of the best score first. Where
    nothing is, "other" is the right answer.

    Parameters
    ----------
    particles
        Their ``predicted`` class is what is judged.
    truth_positions
        (m, 3) zyx voxels.
    truth_classes
        m names.
    radius
        Å within which a particle matches a true position.
    voxel_size
        Å, of the tomogram that the positions are in.

    Raises
    ------
    ValueError
        If there is no true position, or not one class for each.
    """
    truth = points_of(truth_positions, "true")
    names = np.asarray(truth_classes, dtype=object)
    need_truth(len(truth))
    if len(names) != len(truth):
        raise ValueError(
            f"{len(truth)} true positions but {len(names)} classes; give one class a position"
        )
    best_first = particles.take(np.argsort(-particles.score, kind="stable"))
    matching = match_positions(best_first.positions * voxel_size, truth * voxel_size, radius)
    hit = matching >= 0
    missed = np.setdiff1d(np.arange(len(truth)), matching)

    nothing = np.full(len(hit), OTHER, dtype=object)
    nothing[hit] = names[matching[hit]]
    true = np.concatenate([nothing, names[missed]])
    said = np.concatenate([best_first.predicted, np.full(len(missed), OTHER, dtype=object)])
    classes = sorted(set(names))
    precision, recall, f1, _ = precision_recall_fscore_support(
        true, said, labels=classes, zero_division=0
    )
    right = best_first.predicted[hit] == names[matching[hit]]
    return ClassReport(
        matched=int(hit.sum()),
        accuracy=float(right.mean()) if hit.any() else 0.0,
        precision=dict(zip(classes, map(float, precision), strict=True)),
        recall=dict(zip(classes, map(float, recall), strict=True)),
        f1=dict(zip(classes, map(float, f1), strict=True)),
        macro_f1=float(np.mean(f1)),
    )
