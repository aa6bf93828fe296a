"""What Cryo-Shift learns from: known structures by their names, and the particles at hand."""

import dataclasses

import numpy as np
import torch

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.simulate.source import SourceParams, simulate_source
from napari_cryoshift.core.types import OTHER, Subtomograms

_BATCH = 64

KNOWN_SOURCE = SourceParams(chimeras=0, assemblies=20, distractors=20)
"""Any structures that are named, against membranes, beads and random clusters of domains.

No chimeras: made from parts of the very structures, they would pull these to "other".
"""


def simulate_known(params: SourceParams, device: torch.device | str = "cpu") -> Subtomograms:
    """A simulated set with a class for each structure, and one for all that is invented.

    Candidates of a tomogram are never all of known structures. So what `SourceParams` adds to
    them is the class `OTHER`, as large as any other one; with nothing added there is none.

    Raises
    ------
    ValueError
        As `simulate_source` does.
    """
    source = simulate_source(params, device)
    invented = params.chimeras + params.assemblies + params.distractors
    if source.labels is None or invented == 0:
        return source
    known = len(source.classes) - invented
    others = np.flatnonzero(source.labels >= known)[::invented]  # of all kinds
    rows = np.concatenate([np.flatnonzero(source.labels < known), others])
    taken = source.take(rows)
    return dataclasses.replace(
        taken,
        labels=np.minimum(source.labels[rows], known),
        classes=(*source.classes[:known], OTHER),
    )


def read_once(volumes: Subtomograms) -> Job[Subtomograms]:
    """Read volumes into memory: a training reads each of them many times.

    Raises
    ------
    ValueError
        If there are none.
    """
    if len(volumes) == 0:
        raise ValueError("there are 0 particles to adapt to; pick some first")
    batches = np.array_split(np.arange(len(volumes)), -(-len(volumes) // _BATCH))
    parts = []
    for done, rows in enumerate(batches):
        parts.append(volumes[rows])
        yield Progress("reading the particles", done + 1, len(batches))
    read = torch.cat(parts)
    return dataclasses.replace(volumes, read=lambda rows: read[rows])
