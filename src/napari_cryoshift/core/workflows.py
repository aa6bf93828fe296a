"""The work of the program in a few verbs, each a `Job` or, where it is short, a function.

The window and the command line call these and nothing deeper.
"""

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .checkpoint import Checkpoint
from .devices import best_device
from .embeddings import embed
from .fewshot import SCORE_WEIGHTS, FewShotParams, fit_head, with_score
from .methods import METHODS, Method, MethodParams
from .pick import PickParams, pick
from .progress import Job
from .resume import Bookmark
from .simulate.source import SourceParams, simulate_source
from .types import OTHER, Particles, Subtomograms, Tomogram, TrainingData
from .volumes import crop

__all__ = [
    "FewShotParams",
    "PickParams",
    "SourceParams",
    "classify",
    "crop_for",
    "embed",
    "pick",
    "shipped_checkpoint",
    "simulate_source",
    "train",
]


def shipped_checkpoint() -> Checkpoint:
    """The embedding that comes with the package."""
    with resources.as_file(resources.files(__package__) / "data" / "embedding.safetensors") as file:
        return Checkpoint.load(Path(file))


def train(
    method: str,
    params: MethodParams,
    data: TrainingData,
    card: Mapping[str, Any] | None = None,
    resume: Path | None = None,
) -> Job[Checkpoint]:
    """Train a method on the device found.

    Parameters
    ----------
    method
        Its name in `METHODS`.
    params
        Of its type.
    data
        What it needs.
    card
        Kept in the checkpoint: what the data are.
    resume
        File that keeps how far the training is, every ten minutes and when it is stopped; if it is
        there, the training goes on from it. It is removed at the end.

    Returns
    -------
    Checkpoint
        Of the trained method.

    Raises
    ------
    ValueError
        If there is no such method, the data are not what it needs, they differ in box or voxel
        size, or the file is of another training.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; choose from {', '.join(METHODS)}")
    given = {
        name: volumes
        for name in ("source", "support", "target")
        if (volumes := getattr(data, name)) is not None
    }
    if not given:
        raise ValueError("there are 0 volumes to learn from; give a source or a support set")
    first, some = next(iter(given.items()))
    for name, volumes in given.items():
        close = math.isclose(volumes.voxel_size, some.voxel_size, rel_tol=0.01)
        if volumes.box != some.box or not close:
            raise ValueError(
                f"the {first} set has boxes of {some.box} voxels of {some.voxel_size:g} Å but the "
                f"{name} set {volumes.box} of {volumes.voxel_size:g} Å; bring them to one size"
            )
    trained: Method = METHODS[method](params, some.box, ()).to(best_device())
    about = {
        "method": method,
        "parameters": params.model_dump(mode="json"),
        "data": {name: [len(volumes), volumes.box] for name, volumes in given.items()},
        "card": dict(card or {}),
    }
    bookmark = Bookmark(resume, trained, about)
    yield from bookmark.keep(trained.fit(data, bookmark))
    if resume is not None:
        resume.unlink(missing_ok=True)
    return Checkpoint.of(trained, some.voxel_size, card or {})


def crop_for(tomogram: Tomogram, particles: Particles, checkpoint: Checkpoint) -> Subtomograms:
    """Subtomograms at the particles, as the checkpoint takes them."""
    return crop(tomogram, particles, box=checkpoint.box, voxel_size=checkpoint.voxel_size)


def classify(
    embeddings: npt.NDArray[np.float32],
    particles: Particles,
    params: FewShotParams = FewShotParams(),  # noqa: B008 (frozen)
) -> Particles:
    """Predict the class of every particle from those that a person labelled.

    The picking score is one more feature beside the embedding; its weight is the one of a few
    under which the labelled particles, each left out in turn, are most probable.

    Fast enough to follow a click: 10,000 particles take a few milliseconds.

    Parameters
    ----------
    embeddings
        (n, e), a row a particle.
    particles
        The labelled ones are the support.
    params
        Of the few-shot rule.

    Returns
    -------
    Particles
        With ``predicted``, ``confidence``, ``probabilities`` and ``classes``; `OTHER` is the last.

    Raises
    ------
    ValueError
        If fewer than two classes have a label.
    """
    if len(embeddings) != len(particles):
        raise ValueError(
            f"{len(particles)} particles but {len(embeddings)} embeddings; embed them again"
        )
    support = np.flatnonzero(particles.label != "")
    named = sorted(set(particles.label[support]) - {OTHER})
    classes = (*named, OTHER)
    vectors = torch.from_numpy(with_score(embeddings, particles))
    labels = torch.tensor([classes.index(name) for name in particles.label[support]]).long()
    # Judged by one particle of a class, the weight of the score would be a guess.
    enough = len(labels) > 0 and labels.bincount().min() > 1
    heads = {}
    for weight in SCORE_WEIGHTS if enough else SCORE_WEIGHTS[:1]:
        scales = torch.ones(vectors.shape[1])
        scales[embeddings.shape[1] :] = weight
        origin = torch.zeros_like(scales)
        heads[weight] = fit_head(vectors[support] * scales, labels, classes, params, origin), scales
    head, scales = min(heads.values(), key=lambda made: made[0].surprise)
    probabilities = head.predict(vectors * scales).double().numpy()
    best = probabilities.argmax(1)
    return particles.replace(
        predicted=np.array(classes, dtype=object)[best],
        confidence=probabilities[np.arange(len(best)), best],
        probabilities=probabilities,
        classes=classes,
    )
