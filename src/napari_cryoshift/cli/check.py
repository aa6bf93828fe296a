"""`cryoshift check`: what a labelled set on disk gives away before any method sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from napari_cryoshift.core.simulate.leak import variance_leak

from .command import Command
from .sets import SetNotes


@dataclass(frozen=True, kw_only=True)
class Check(Command):
    """Say what a labelled set of subtomograms holds, and whether classes differ by variance alone.

    Where they do, an accuracy on these volumes means little: a classifier needs no shape to reach
    it. This program standardises volumes when it reads them, other programs may not.
    """

    set: Positional[Path]
    """File or folder: .zarr, .mrcs, .star, .npy, .npz, .h5, or a folder with one a class."""
    notes: Annotated[SetNotes, arg(name="")] = field(default_factory=SetNotes)

    def run(self) -> None:
        """Print sizes, volumes a class, and what variances tell."""
        volumes = self.notes.read(self.set, as_stored=True)
        size = f"{volumes.box}³ voxels of {volumes.voxel_size:g} Å"
        print(f"{len(volumes)} volumes of {size}")
        if volumes.labels is None:
            raise ValueError(f"{self.set.name} has no labels; choose a labelled set")
        counts = np.bincount(volumes.labels[volumes.labels >= 0], minlength=len(volumes.classes))
        for name, count in zip(volumes.classes, counts, strict=True):
            print(f"{count:8}  {name}")
        labelled = volumes.take(np.flatnonzero(volumes.labels >= 0))
        leak = self.finish(variance_leak(labelled))
        print(leak)
        if leak.leaks:
            print("standardise these volumes before any program reports an accuracy on them")
