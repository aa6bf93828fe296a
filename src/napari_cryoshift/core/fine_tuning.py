"""Fine-tuning: an embedding learns to see as it has to in one tomogram.

What is simulated for it has the missing wedge, the resolution and the signal-to-noise ratio that
the tomogram was found to have. In place of noise there are boxes of the tomogram itself, from
beside its particles: they bring the noise as it is, with neighbours and membranes, whatever was
done to it since the tomogram was taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_cryoshift import __version__

from .checkpoint import Checkpoint
from .devices import best_device
from .embeddings import fingerprint
from .methods.protonet import ProtoNet
from .params import Params
from .progress import Job
from .simulate.estimate import Estimate, estimate
from .simulate.source import SourceParams, simulate_source
from .types import Particles, Subtomograms, Tomogram, TrainingData
from .workflows import train

_PER_CLASS = 2000
"""Volumes, each made when it is read; enough that few are seen twice."""


class TuneParams(Params):
    """How an embedding is tuned to a tomogram."""

    diameter: float = Field(
        250.0, gt=0, le=10_000, title="Particle diameter", description="Of the picks, Å."
    )
    defocus: float | None = Field(
        None,
        ge=-20,
        lt=0,
        title="Defocus",
        description="µm, negative is underfocus; by default as the tomogram shows, or any.",
    )
    shift: float = Field(
        40.0,
        ge=0,
        le=200,
        title="De-centring",
        description="How far picks may lie from the middle of their particle along each axis, Å.",
    )
    tasks: int = Field(
        500, ge=1, title="Training tasks", description="Few-shot tasks of 192 volumes."
    )
    learning_rate: float = Field(
        3e-4, gt=0, le=1, title="Learning rate", description="Of AdamW, falling to 0."
    )
    seed: int = Field(0, ge=0, title="Seed", description="Same seed, same weights (on a CPU).")


def look_at(
    tomogram: Tomogram,
    picks: Particles,
    checkpoint: Checkpoint,
    params: TuneParams = TuneParams(),  # noqa: B008 (frozen)
) -> Job[Estimate]:
    """Estimate how a tomogram was taken, as far as the volumes of an embedding show it.

    Parameters
    ----------
    tomogram, picks, checkpoint, params
        As in `tune`.

    Raises
    ------
    ValueError
        As `estimate` does, or if the checkpoint is no embedding for any class.
    """
    general = _source(checkpoint).imaging
    return estimate(tomogram, picks, general, diameter=params.diameter, seed=params.seed)


def tune(
    tomogram: Tomogram,
    found: Estimate,
    checkpoint: Checkpoint,
    params: TuneParams = TuneParams(),  # noqa: B008 (frozen)
    resume: Path | None = None,
) -> Job[Checkpoint]:
    """Train an embedding on for a tomogram: some five minutes on two cores.

    Families of structures that it was not to see stay held out.

    Parameters
    ----------
    tomogram
        The tomogram.
    found
        What `look_at` found of it.
    checkpoint
        The embedding to go on from.
    params
        How.
    resume
        File that keeps how far it is, as in `train`.

    Returns
    -------
    Checkpoint
        An embedding for the tomogram; its card says for which, and what was estimated of it.

    Raises
    ------
    ValueError
        If the checkpoint is no embedding for any class, or the file is of another training.
    """
    source = source_like(found, checkpoint, params)
    card: dict[str, Any] = {
        **checkpoint.card,
        "program": f"napari-cryoshift {__version__}",
        "stage": f"tuned to {tomogram.name}",
        "tuned": {
            "tomogram": tomogram.name,
            "fingerprint": fingerprint(tomogram),
            "from": checkpoint.digest,
            "estimate": dict(found.table()),
            "doubts": list(found.doubts),
            "params": params.model_dump(mode="json"),
            "source": source.model_dump(mode="json"),
        },
    }
    learning = checkpoint.params.model_copy(
        update={
            "tasks": params.tasks,
            "learning_rate": params.learning_rate,
            "seed": params.seed,
            "distillation": 0.0,
        }
    )
    data = TrainingData(source=simulate_like(found, source), start=checkpoint.encoder)
    return train(ProtoNet.name, learning, data, card, resume)


def source_like(found: Estimate, checkpoint: Checkpoint, params: TuneParams) -> SourceParams:
    """What an embedding has learnt from, imaged as in a tomogram."""
    learnt = _source(checkpoint)
    imaging = found.imaging(learnt.imaging, params.defocus)
    return learnt.model_copy(
        update={"imaging": imaging.model_copy(update={"shift": params.shift}), "seed": params.seed}
    )


def simulate_like(found: Estimate, source: SourceParams) -> Subtomograms:
    """Simulate particles in the background of a tomogram, with its tilt axis."""
    about_y = simulate_source(source, best_device(), found.background)
    return dataclasses.replace(about_y, read=lambda rows: found.tilts.from_y(about_y.read(rows)))


def tunable(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is an embedding for any class."""
    return checkpoint.method == ProtoNet.name and not checkpoint.classes


def _source(checkpoint: Checkpoint) -> SourceParams:
    """What an embedding has learnt from, for any tomogram."""
    if not tunable(checkpoint):
        raise ValueError(
            f"a checkpoint of method {checkpoint.method!r} with {len(checkpoint.classes)} classes "
            "of its own cannot be tuned; give an embedding that cryoshift train wrote, or the one "
            "that comes with the package"
        )
    about = checkpoint.card.get("source")
    learnt = SourceParams.model_validate(about) if isinstance(about, Mapping) else SourceParams()
    size = {"box": checkpoint.box, "voxel_size": checkpoint.voxel_size}
    return learnt.model_copy(
        update={
            "imaging": learnt.imaging.model_copy(update=size),
            "hold_out": tuple(checkpoint.card.get("held_out", ())),
            "per_class": _PER_CLASS,
        }
    )
