"""`cryoshift simulate`: subtomograms and tomograms of known content."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import mrcfile
import numpy as np
import pandas as pd
from tyro.conf import arg

from napari_cryoshift.core.files import replacing, write_text
from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.simulate.subtomograms import ImagingParams
from napari_cryoshift.core.simulate.tomogram import CrowdedParams, simulate_tomogram
from napari_cryoshift.core.tomograms import save_volume
from napari_cryoshift.core.types import Subtomograms
from napari_cryoshift.core.workflows import SourceParams, simulate_source

from .command import Command, output

_BATCH = 64
_LIBRARY_ONLY = SourceParams(
    chimeras=0, assemblies=0, distractors=0, per_class=20, imaging=ImagingParams()
)


@dataclass(frozen=True, kw_only=True)
class SimulateSubtomograms(Command):
    """Simulate labelled subtomograms.

    The result is a stack of volumes, protein positive, and beside it a table with the columns
    index and class.
    """

    out: Path
    """File for the volumes, .mrc; the table gets the same name and .csv."""
    source: Annotated[SourceParams, arg(name="")] = _LIBRARY_ONLY

    def run(self) -> None:
        """Write the stack and the table."""
        path = output(self.out, ".mrc")
        volumes = simulate_source(self.source)
        self.finish(_write_stack(path, volumes))
        labels = np.array(volumes.classes, dtype=object)[volumes.labels]
        table = pd.DataFrame({"index": np.arange(len(volumes)), "class": labels})
        write_text(path.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))
        print(f"{len(volumes)} volumes of {len(volumes.classes)} classes in {path}")


@dataclass(frozen=True, kw_only=True)
class SimulateTomogram(Command):
    """Simulate a crowded tomogram, and list every particle in it."""

    out: Path
    """File for the tomogram, .mrc; the list of its particles gets the same name and .csv."""
    params: Annotated[CrowdedParams, arg(name="")] = field(default_factory=CrowdedParams)

    def run(self) -> None:
        """Write the tomogram and its particles."""
        path = output(self.out, ".mrc")
        tomogram, truth = self.finish(simulate_tomogram(self.params))
        save_volume(path, tomogram.data, tomogram.voxel_size)
        write_particles(path.with_suffix(".csv"), truth, "csv")
        print(f"{len(truth)} particles in {path}")


def _write_stack(path: Path, volumes: Subtomograms) -> Job[None]:
    """Write volumes into one file as they are made, whole or not at all."""
    shape = (len(volumes), *(volumes.box,) * 3)
    with replacing(path) as scratch, mrcfile.new_mmap(scratch, shape, mrc_mode=2) as stack:
        stack.voxel_size = volumes.voxel_size
        for start in range(0, len(volumes), _BATCH):
            stop = min(start + _BATCH, len(volumes))
            stack.data[start:stop] = volumes[start:stop].numpy()
            yield Progress("simulating", stop, len(volumes))
        stack.update_header_stats()
