"""What a model makes of simulated and of picked particles: examples, and maps of its features."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .checkpoint import Checkpoint
from .devices import best_device
from .feature_map import mixing, tsne
from .methods import METHODS
from .methods.cryoshift_data import simulate_known
from .progress import Job, Progress
from .simulate.source import SourceParams, simulate_source
from .types import OTHER, Subtomograms

_BATCH = 32
_MAPPED = 400
"""Volumes of each domain, at most, in a map."""
_LOOKED_THROUGH = 256
"""Picked particles, at most, among which the likeliest of each class is looked for."""
_KINDS = 6
"""Classes, at most, that examples are shown of."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """Volumes of some classes side by side.

    Attributes
    ----------
    classes
        k names.
    columns
        Title → (k, d, d, d): simulated volumes, what the model makes of them and by how much that
        differs, and the picked particles that are likeliest of these classes.
    """

    classes: tuple[str, ...]
    columns: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """The same volumes as several models see them.

    Attributes
    ----------
    names
        (s,) str, classes of the volumes of the source, which come first in each map.
    target
        (t,) rows of the particles, which follow.
    points
        Name of the model → (s + t, 2).
    mixing
        Name of the model → how well the domains mix in its features, from 0 to about 1.
    """

    names: npt.NDArray[np.object_]
    target: Rows
    points: Mapping[str, npt.NDArray[np.float64]]
    mixing: Mapping[str, float]


def names_structures(method: str) -> bool:
    """Whether a method learns to name known structures, and not only to tell particles apart."""
    return "source" in METHODS[method].needs


def source_for(method: str, params: SourceParams) -> Subtomograms:
    """Simulate what a method learns from.

    A class for each structure, and one for all that is invented, where structures are to be named;
    else a class for each of either.
    """
    return simulate_known(params) if names_structures(method) else simulate_source(params)


def guess_kinds(classes: Iterable[str], kinds: Iterable[str]) -> dict[str, str]:
    """Say which of a person's kinds each class of a model is.

    A class is the longest kind whose words are in its name: "80S ribosome (human)" is a
    "ribosome". One that is none of them stays what it is called.
    """
    named = sorted(set(kinds) - {OTHER}, key=len, reverse=True)
    return {name: next((k for k in named if _names(k, name)), name) for name in classes}


def _names(kind: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(kind.casefold())}(?!\w)", name.casefold()) is not None


def called(volumes: Subtomograms, names: Mapping[str, str]) -> Subtomograms:
    """Return labelled volumes with their classes under other names; those of one name become one.

    Parameters
    ----------
    volumes
        With labels.
    names
        Class → name.
    """
    classes = tuple(dict.fromkeys(names[name] for name in volumes.classes))
    column = np.array([classes.index(names[name]) for name in volumes.classes])
    return dataclasses.replace(volumes, labels=column[_labels(volumes)], classes=classes)


def labelled(volumes: Subtomograms, names: npt.NDArray[np.object_]) -> Subtomograms:
    """Return volumes with the labels that these (n,) names say; classes are in their order."""
    classes, labels = np.unique(names.astype(str), return_inverse=True)
    return dataclasses.replace(
        volumes, labels=labels.astype(np.int64), classes=tuple(map(str, classes))
    )


def source_of(checkpoint: Checkpoint) -> Subtomograms:
    """Simulate what a checkpoint was trained on.

    Raises
    ------
    ValueError
        If its card does not say so.
    """
    about = checkpoint.card.get("source")
    if not isinstance(about, Mapping):
        raise ValueError(
            "this model was not trained on simulated particles; choose one that was trained here"
        )
    source = source_for(checkpoint.method, SourceParams.model_validate(about))
    names = checkpoint.card.get("called")
    return source if names is None else called(source, names)


def examples(checkpoint: Checkpoint, source: Subtomograms, target: Subtomograms) -> Job[Examples]:
    """Show simulated and picked particles of some classes, and what the model makes of the former.

    Parameters
    ----------
    checkpoint
        Its `Method.views` are shown.
    source
        With labels.
    target
        Particles at hand; some of many are looked through.

    Raises
    ------
    ValueError
        If the source has no labels, or there is no particle.
    """
    labels = _labels(source)
    method = checkpoint.build().to(best_device())
    looked_at = _some(len(target), _LOOKED_THROUGH)
    read = yield from _read(target, looked_at, "reading the particles")
    if set(source.classes) <= set(checkpoint.classes):  # it may know more, from labels
        said = yield from _each(method.predict, read, "predicting")
        said = said[:, [checkpoint.classes.index(name) for name in source.classes]]
        frequent = Counter(said.argmax(1).tolist()).most_common(_KINDS)
        kinds = np.array(sorted(kind for kind, _ in frequent))
        picked = read[said[:, kinds].argmax(0)]
    else:  # which of the particles is which, it does not say
        kinds = np.unique(labels)[: min(_KINDS, len(read))]
        picked = read[: len(kinds)]
    simulated = source[[int(np.flatnonzero(labels == kind)[0]) for kind in kinds]]
    columns = {"simulated": simulated}
    for name, made in method.views(simulated).items():
        columns |= {name: made.cpu(), f"{name} − simulated": made.cpu() - simulated}
    return Examples(tuple(source.classes[kind] for kind in kinds), {**columns, "picked": picked})


def feature_maps(
    models: Mapping[str, Checkpoint], source: Subtomograms, target: Subtomograms, *, seed: int = 0
) -> Job[FeatureMaps]:
    """Lay out the features of simulated and picked particles, a map a model.

    Parameters
    ----------
    models
        Such as one before and after it adapted.
    source, target
        Volumes of the box and voxel size of all models, the former with labels; some of many are
        taken, of all classes.
    seed
        Of the choice, and of the maps.

    Raises
    ------
    ValueError
        If the source has no labels, or as `tsne` does.
    """
    labels = _labels(source)
    known, found = _some(len(source), _MAPPED, labels), _some(len(target), _MAPPED)
    simulated = yield from _read(source, known, "simulating particles")
    picked = yield from _read(target, found, "reading the particles")
    is_target = np.arange(len(simulated) + len(picked)) >= len(simulated)
    points, mixed = {}, {}
    for name, checkpoint in models.items():
        method = checkpoint.build().to(best_device())
        of_source = method.embed_source(simulated).cpu().numpy()
        of_target = yield from _each(method.embed, picked, f"looking at the particles, {name}")
        features = np.concatenate([of_source, of_target])
        mixed[name] = mixing(features, is_target)
        points[name] = yield from tsne(features, seed=seed)
    names = np.array(source.classes, dtype=object)[labels[known]]
    return FeatureMaps(names, found, points, mixed)


def _labels(source: Subtomograms) -> Rows:
    if source.labels is None:
        raise ValueError(f"{len(source)} source volumes but no labels; give one label a volume")
    return source.labels


def _some(count: int, most: int, labels: Rows | None = None) -> Rows:
    """Return at most so many rows, evenly spread; with labels, of all classes in turn."""
    if labels is None:
        return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
    order = np.argsort(labels, kind="stable")
    of_its_class = np.empty(count, dtype=np.int64)
    of_its_class[order] = np.arange(count) - np.searchsorted(labels[order], labels[order])
    return np.sort(np.lexsort((labels, of_its_class))[:most])


def _read(volumes: Subtomograms, rows: Rows, phase: str) -> Job[Tensor]:
    """Return (n, d, d, d) of these rows."""
    if len(rows) == 0:
        raise ValueError("there are 0 particles to look at; pick some first")
    parts = []
    batches = np.array_split(rows, -(-len(rows) // _BATCH))
    for done, batch in enumerate(batches):
        parts.append(volumes[batch])
        yield Progress(phase, done + 1, len(batches))
    return torch.cat(parts)


def _each(
    compute: Callable[[Tensor], Tensor], volumes: Tensor, phase: str
) -> Job[npt.NDArray[np.float32]]:
    """Return what is computed of all volumes, a row each."""
    parts = []
    starts = range(0, len(volumes), _BATCH)
    for done, start in enumerate(starts):
        parts.append(compute(volumes[start : start + _BATCH]).cpu())
        yield Progress(phase, done + 1, len(starts))
    found: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return found
