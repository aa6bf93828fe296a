"""The work of the program in a few verbs, each a `Job` or, where it is short, a function.

The window and the command line call these and nothing deeper.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from .checkpoint import Checkpoint
from .devices import best_device
from .embeddings import embed
from .fewshot import SCORE_WEIGHTS, FewShotParams, fit_head, with_score
from .methods import METHODS, Method, MethodParams
from .params import Params
from .pick import PickParams, pick
from .progress import Job
from .simulate.procedural import assemblies, chimeras, distractors
from .simulate.subtomograms import ImagingParams, simulate_subtomograms
from .structures import library
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


class SourceParams(Params):
    """What a simulated training set is made of."""

    structures: tuple[str, ...] = Field(
        (), title="Structures", description="Ids in the library; none means all of them."
    )
    hold_out: tuple[str, ...] = Field(
        (), title="Hold out", description="Families of which no member is used."
    )
    chimeras: int = Field(
        240, ge=0, le=10_000, title="Chimeras", description="Invented from one to three parents."
    )
    assemblies: int = Field(
        120, ge=0, le=10_000, title="Assemblies", description="Random clusters of domains."
    )
    distractors: int = Field(
        20, ge=0, le=10_000, title="Distractors", description="Membranes and beads."
    )
    per_class: int = Field(
        2000, ge=1, title="Volumes a class", description="Made when read; nothing is stored."
    )
    seed: int = Field(0, ge=0, title="Seed", description="Same seed, same volumes.")
    imaging: ImagingParams = Field(
        ImagingParams(
            box=24,
            voxel_size=16.0,
            snr=(0.01, 1.5),
            snr_convention="power",
            defocus=(-8.0, -1.5),
            envelope=(20.0, 65.0),
            missing_wedge=(25.0, 40.0),
            shift=30.0,
            resolution=(32.0, 65.0),
            noise_slope=(-1.0, 0.5),
            neighbours=0.5,
        ),
        title="Imaging",
        description="How the volumes are imaged.",
    )


def shipped_checkpoint() -> Checkpoint:
    """The embedding that comes with the package."""
    with resources.as_file(resources.files(__package__) / "data" / "embedding.safetensors") as file:
        return Checkpoint.load(Path(file))


def simulate_source(params: SourceParams) -> Subtomograms:
    """A labelled, simulated set of library structures and invented ones.

    Raises
    ------
    ValueError
        If a structure or a family is not in the library, or nothing is left.
    """
    known = library()
    families = {entry.family for entry in known.entries.values()}
    if unknown := set(params.hold_out) - families:
        raise ValueError(
            f"{len(unknown)} families are not in the library ({', '.join(sorted(unknown))}); "
            f"choose from {', '.join(sorted(families))}"
        )
    ids = params.structures or tuple(known)
    parents = [
        structure for structure in map(known.need, ids) if structure.family not in params.hold_out
    ]
    if not parents:
        raise ValueError("0 structures are left; hold out fewer families or name more structures")
    return simulate_subtomograms(
        [
            *parents,
            *chimeras(parents, params.chimeras, params.seed),
            *assemblies(params.assemblies, params.seed),
            *distractors(params.distractors, params.seed),
        ],
        params.imaging,
        per_class=params.per_class,
        seed=params.seed,
    )


def train(
    method: str, params: MethodParams, data: TrainingData, card: Mapping[str, Any] | None = None
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

    Returns
    -------
    Checkpoint
        Of the trained method.

    Raises
    ------
    ValueError
        If there is no such method, or the data are not what it needs.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; choose from {', '.join(METHODS)}")
    some = data.source or data.support or data.target
    if some is None:
        raise ValueError("there are 0 volumes to learn from; give a source or a support set")
    trained: Method = METHODS[method](params, some.box, ()).to(best_device())
    yield from trained.fit(data)
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
