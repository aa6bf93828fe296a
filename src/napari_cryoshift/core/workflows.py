"""The work of the program in a few verbs, each a `Job` or, where it is short, a function.

The window and the command line call these and nothing deeper.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .checkpoint import Checkpoint
from .comparing import KNOWN_OPTICS, compare, known_structures
from .devices import best_device
from .embeddings import embed, predict
from .features import Block, contrast, fits, joined, learned
from .fewshot import FewShotHead, FewShotParams, fit_head
from .methods import METHODS, Method, MethodParams
from .methods.protonet_ce import CombinedHead, ProtoNetCE
from .pick import PickParams, pick
from .progress import Job, Progress
from .recentring import RecentreParams, recentre
from .resume import Bookmark
from .simulate.source import SourceParams, simulate_source
from .types import OTHER, Particles, Subtomograms, Tomogram, TrainingData
from .volumes import crop

__all__ = [
    "KNOWN_OPTICS",
    "Block",
    "FewShotParams",
    "PickParams",
    "RecentreParams",
    "Rule",
    "SourceParams",
    "classify",
    "compare",
    "crop_for",
    "embed",
    "fit_head",
    "fits",
    "held_for",
    "known_structures",
    "left_out",
    "pick",
    "predict",
    "recentre",
    "rule_of",
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
    before: Path | None = None,
) -> Job[Checkpoint]:
    """Train a method on the device found.

    Parameters
    ----------
    method
        Its name in `METHODS`.
    params
        Of its type.
    data
        What it needs. A method that builds on an embedding gets the one that comes with the
        package where no ``start`` is given and the boxes are of its size.
    card
        Kept in the checkpoint: what the data are.
    resume
        File that keeps how far the training is, every ten minutes and when it is stopped; if it is
        there, the training goes on from it. It is removed at the end.
    before
        File for a checkpoint of the method as it was before it adapted to the target, if it does.

    Returns
    -------
    Checkpoint
        Of the trained method; on its card stand the last figures that it reported, too.

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
    if data.start is None and METHODS[method].builds_on_embedding:
        shipped = shipped_checkpoint()
        fits = math.isclose(shipped.voxel_size, some.voxel_size, rel_tol=0.01)
        if shipped.box == some.box and fits:
            data = dataclasses.replace(data, start=shipped.encoder)
    trained: Method = METHODS[method](params, some.box, ()).to(best_device())
    about = {
        "method": method,
        "parameters": params.model_dump(mode="json"),
        "data": {name: [len(volumes), volumes.box] for name, volumes in given.items()},
        "card": dict(card or {}),
    }
    bookmark = Bookmark(resume, trained, about)

    def keep_unadapted() -> None:
        if before is not None:
            stage = {**(card or {}), "stage": f"before {trained.adapting}"}
            Checkpoint.of(trained, some.voxel_size, stage).save(before)

    figures = yield from bookmark.keep(_fitted(trained, data, bookmark, keep_unadapted))
    if resume is not None:
        resume.unlink(missing_ok=True)
    return Checkpoint.of(trained, some.voxel_size, {**(card or {}), "figures": figures})


def _fitted(
    method: Method, data: TrainingData, bookmark: Bookmark, before_adapting: Callable[[], None]
) -> Job[dict[str, float]]:
    """Fit a method; return the last figures that it reported."""
    figures: dict[str, float] = {}
    adapts = False
    with contextlib.closing(method.fit(data, bookmark)) as job:
        for progress in job:
            if progress.phase == method.adapting and progress.step == 0 and not adapts:
                adapts = True
                before_adapting()
            if progress.metrics:
                figures = dict(progress.metrics)
            yield progress
    return figures


def crop_for(tomogram: Tomogram, particles: Particles, checkpoint: Checkpoint) -> Subtomograms:
    """Subtomograms at the particles, as the checkpoint takes them."""
    return crop(tomogram, particles, box=checkpoint.box, voxel_size=checkpoint.voxel_size)


def held_for(tomogram: Tomogram, particles: Particles, checkpoint: Checkpoint) -> Job[Subtomograms]:
    """`crop_for`, read into memory: for what is looked at many times."""
    volumes = crop_for(tomogram, particles, checkpoint)
    batches = np.array_split(np.arange(len(volumes)), math.ceil(len(volumes) / _READ))
    parts = []
    for done, rows in enumerate(batches, start=1):
        parts.append(volumes[rows])
        yield Progress("cutting out the particles", done, len(batches))
    return Subtomograms.from_memory(torch.cat(parts), volumes.voxel_size)


_READ = 64
_FACTORS = (0.5, 2.0)
"""By which the weight of a block is tried to be another than its default."""


Rule = Callable[
    [torch.Tensor, torch.Tensor, tuple[str, ...], FewShotParams, torch.Tensor],
    FewShotHead | CombinedHead,
]
"""Labelled vectors, their labels, the classes, parameters and the origin → a head."""


def rule_of(checkpoint: Checkpoint) -> Rule:
    """How labels turn into predictions in what a model sees: by its own rule, if it has one."""
    method = checkpoint.build()
    return method.head if isinstance(method, ProtoNetCE) else fit_head


def classify(
    embeddings: npt.NDArray[np.float32],
    particles: Particles,
    params: FewShotParams = FewShotParams(),  # noqa: B008 (frozen)
    more: Sequence[Block] = (),
    rule: Rule = fit_head,
) -> Particles:
    """Predict the class of every particle from those that a person labelled.

    The picking score is one more feature beside the embedding, and so is any other block. Each has
    its default weight, unless the labelled particles, each left out in turn, are more probable
    under another by more than two standard errors.

    Fast enough to follow a click: 10,000 particles take some ten milliseconds.

    Parameters
    ----------
    embeddings
        (n, e), a row a particle.
    particles
        The labelled ones are the support.
    params
        Of the few-shot rule.
    more
        Blocks of n rows that count, too, e.g. `features.fits`.
    rule
        How they turn into predictions; `rule_of` a model.

    Returns
    -------
    Particles
        With ``predicted``, ``confidence``, ``probabilities`` and ``classes``; `OTHER` is the last.

    Raises
    ------
    ValueError
        If fewer than two classes have a label, or there are not as many rows as particles.
    """
    for rows in (embeddings, *(block.values for block in more)):
        if len(rows) != len(particles):
            raise ValueError(
                f"{len(particles)} particles but {len(rows)} embeddings; embed them again"
            )
    support = np.flatnonzero(particles.label != "")
    named = sorted(set(particles.label[support]) - {OTHER})
    classes = (*named, OTHER)
    labels = torch.tensor([classes.index(name) for name in particles.label[support]]).long()
    score = contrast(particles)
    blocks = [learned(embeddings), *more, *([] if score is None else [score])]

    def fit(tried: Sequence[Block]) -> FewShotHead | CombinedHead:
        vectors = torch.from_numpy(joined([block.take(support) for block in tried]))
        return rule(vectors, labels, classes, params, torch.zeros(vectors.shape[1]))

    head = fit(blocks)
    # Judged by one particle of a class, a weight would be a guess.
    if labels.bincount()[labels].min() > 1:
        tries = [
            [*blocks[:i], blocks[i].times(factor), *blocks[i + 1 :]]
            for i in range(1, len(blocks))
            for factor in _FACTORS
        ]
        heads = [fit(tried) for tried in tries]
        best = min(range(len(heads)), key=lambda i: heads[i].surprise, default=None)
        if best is not None and _clearly_lower(heads[best].losses, head.losses):
            head, blocks = heads[best], tries[best]
    probabilities = head.predict(torch.from_numpy(joined(blocks))).double().numpy()
    best_class = probabilities.argmax(1)
    return particles.replace(
        predicted=np.array(classes, dtype=object)[best_class],
        confidence=probabilities[np.arange(len(best_class)), best_class],
        probabilities=probabilities,
        classes=classes,
    )


def left_out(particles: Particles, classify: Callable[[Particles], Particles]) -> Job[Particles]:
    """Predict each labelled particle as if it had no label.

    Parameters
    ----------
    particles
        Some of them labelled.
    classify
        Gives a table its predictions, by the labels in it.

    Returns
    -------
    Particles
        The labelled ones with these predictions, but for those that are the only one of their
        class, which cannot be judged.
    """
    labelled = np.flatnonzero(particles.label != "")
    rows: list[int] = []
    answers: list[Particles] = []
    for done, row in enumerate(labelled, start=1):
        label = particles.label.copy()
        label[row] = ""
        if (label == particles.label[row]).any():
            rows.append(int(row))
            answers.append(classify(particles.replace(label=label)).take([row]))
        yield Progress("leaving out each label", done, len(labelled))
    judged = particles.take(np.array(rows, dtype=np.int64))
    if not answers:
        return judged
    return judged.replace(
        predicted=np.concatenate([answer.predicted for answer in answers]),
        confidence=np.concatenate([answer.confidence for answer in answers]),
        probabilities=np.concatenate([np.asarray(answer.probabilities) for answer in answers]),
        classes=answers[0].classes,
    )


def _clearly_lower(losses: torch.Tensor, default: torch.Tensor) -> bool:
    """Whether losses (n,) are lower than others by more than two standard errors."""
    gain = default - losses
    return bool(gain.mean() > 2 * gain.std() / len(gain) ** 0.5)
