"""Sets as Zarr stores: many volumes a chunk, read where they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.types import Subtomograms

from .arrays import choose
from .base import Stored, optional
from .card import Card, is_card

_CHUNK_BYTES = 2**20
"""Small enough that reading one volume is cheap, large enough that a set is not a million files."""


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr store, version 2 or 3."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def read_zarr(path: Path) -> Stored:
    """Open a set of ours, or a group with one array of volumes and perhaps one of labels.

    Raises
    ------
    ValueError
        If zarr is not installed, the store is damaged, or it is not clear what is meant.
    """
    group = _open(path)
    arrays = dict(group.arrays()) if hasattr(group, "arrays") else {"volumes": group}
    card = read_zarr_card(path)
    if card is None:
        chosen = choose(arrays, path)
        volumes = arrays[chosen.volumes]
        labels, classes = chosen.coded(arrays, path)
    elif "volumes" not in arrays:
        raise ValueError(f"{path.name} has lost its array of volumes; write the set again")
    else:
        volumes, classes = arrays["volumes"], card.classes
        labels = arrays["labels"][:] if "labels" in arrays else None
    stored = Stored(
        name=path.name,
        read=lambda rows: np.asarray(volumes.oindex[rows]),
        count=volumes.shape[0],
        shape=volumes.shape[1:],
        labels=labels,
        classes=classes,
        edge=None if card is None or "edge" not in arrays else arrays["edge"][:],
    )
    return stored if card is None else card.describe(stored)


def read_zarr_card(path: Path) -> Card | None:
    """Read what a set of ours says of itself; None if the store is another's."""
    attributes = dict(_open(path).attrs)
    return Card.read(attributes, path) if is_card(attributes) else None


def write_zarr(folder: Path, path: Path, subtomograms: Subtomograms, card: Card) -> Job[None]:
    """Write a Zarr v3 group into ``folder``, under the name of ``path``."""
    zarr = optional("zarr", path)
    group = zarr.create_group(folder / path.name, attributes=card.model_dump(mode="json"))
    if subtomograms.labels is not None:
        group.create_array("labels", data=np.asarray(subtomograms.labels, dtype=np.int64))
    if subtomograms.edge is not None:
        group.create_array("edge", data=np.asarray(subtomograms.edge, dtype=bool))
    count, box = len(subtomograms), subtomograms.box
    step = min(max(1, _CHUNK_BYTES // (4 * box**3)), count)
    # Noise does not pack: compressing it would cost time and save a tenth.
    volumes = group.create_array(
        "volumes",
        shape=(count, box, box, box),
        chunks=(step, box, box, box),
        dtype="float32",
        compressors=None,
    )
    for start in range(0, count, step):
        stop = min(start + step, count)
        volumes[start:stop] = subtomograms[start:stop].numpy()
        yield Progress("writing", stop, count)


def _open(path: Path) -> Any:
    zarr = optional("zarr", path)
    try:
        return zarr.open(path, mode="r")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(
            f"{path.name} is no regular Zarr store ({error}); copy it again"
        ) from error
