"""Trainings beside each other, judged by labels that none of them has learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.metrics import ClassTable, class_table
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.workflows import classify, embed, predict, shipped_checkpoint

from .answers import Answers

BY_LABELS = "Few-shot, by the embedding that comes with the program"
"""What needs no training stands beside the trainings."""


@dataclass(frozen=True, eq=False)
class Rivals:
    """How right several models are on the same labels.

    Attributes
    ----------
    labels
        How many they are judged by.
    tables
        Name of the model → how its classes agree with the labels.
    """

    labels: int
    tables: Mapping[str, ClassTable]


def compare_runs(
    tomogram: Tomogram, particles: Particles, runs: Mapping[str, tuple[Checkpoint, Answers]]
) -> Job[Rivals]:
    """Judge trainings by the labels that none of them has learnt from.

    Where some were learnt from, the few-shot rule is judged, too, with these as its support.

    Parameters
    ----------
    tomogram, particles
        Labelled particles of it are looked at.
    runs
        Name → model that names kinds by itself, and what they are called here.

    Raises
    ------
    ValueError
        If there is no training, or no label is left to judge by.
    """
    if not runs:
        raise ValueError("there are 0 trainings that name kinds by themselves; train one first")
    known = particles.take(particles.label != "")
    seen = {place.tobytes() for _, answers in runs.values() for place in answers.learnt_from}
    learnt = np.array([place.tobytes() in seen for place in known.positions], dtype=bool)
    held = known.take(~learnt)
    if len(held) == 0:
        raise ValueError(
            f"there are {len(known)} labels but 0 that no training learnt from; label some more, "
            "or let the trainings learn from fewer of each kind"
        )
    tables = {}
    for name, (checkpoint, answers) in runs.items():
        said = yield from predict(tomogram, held, checkpoint)
        judged = yield from answers.forgotten().add(held, said).judge(held)
        tables[name] = class_table(list(judged.labels), list(judged.answers))
    if len(set(known.label[learnt])) > 1:
        vectors = yield from embed(tomogram, known, shipped_checkpoint())
        support = known.replace(label=np.where(learnt, known.label, "").astype(object))
        found = classify(vectors, support).predicted[~learnt]
        tables[BY_LABELS] = class_table(list(held.label), list(found))
    return Rivals(len(held), tables)
