"""`cryoshift simulate`: subtomograms and tomograms of known content."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import Positional, arg

from napari_cryoshift.core.sets import read_set
from napari_cryoshift.core.simulate.leak import variance_leak
from napari_cryoshift.core.simulate.settings import PAPERS, ImagingParams
from napari_cryoshift.core.simulate.source import SourceParams
from napari_cryoshift.core.simulate.stored import (
    simulate_again,
    store_subtomograms,
    store_tomogram,
    truth_of,
)
from napari_cryoshift.core.simulate.tomogram import CrowdedParams

from .command import Command, output

_LIBRARY_ONLY = SourceParams(
    chimeras=0, assemblies=0, distractors=0, per_class=20, imaging=ImagingParams()
)
_LEAK_VOLUMES = 1000

Device = Annotated[
    Literal["cpu", "cuda"], arg(help="Where to make it; the noise of another device is another.")
]


@dataclass(frozen=True, kw_only=True)
class SimulateSubtomograms(Command):
    """Simulate labelled subtomograms.

    Beside the volumes, which are protein positive, there is a table of what is in each: class,
    rotation, shift, signal-to-noise ratio and what else was drawn.
    """

    out: Path
    """Where to write: X.zarr, X.mrcs (with the X.star that RELION reads), or a new folder."""
    paper: Annotated[
        str | None,
        arg(
            help=f"Settings of a paper: {', '.join(PAPERS)}. "
            "Flags beside it win where they differ from their default."
        ),
    ] = None
    device: Device = "cpu"
    source: Annotated[SourceParams, arg(name="")] = _LIBRARY_ONLY

    def run(self) -> None:
        """Write the set and the table, and say whether variances give the classes away."""
        source = self.source.model_copy(update={"imaging": self._imaging()})
        count = self.finish(store_subtomograms(self.out, source, self.device))
        volumes = read_set(self.out)
        print(f"{count} volumes of {len(volumes.classes)} classes in {self.out}")
        print(f"what is in each: {truth_of(self.out)}")
        if len(volumes.classes) > 1 and source.per_class > 1:
            # Every so many of each class, which tells as much in a fraction of the time.
            each = max(2, min(source.per_class, _LEAK_VOLUMES // len(volumes.classes)))
            first = np.arange(count).reshape(len(volumes.classes), -1)[:, :each]
            print(self.finish(variance_leak(volumes.take(first.ravel()))))

    def _imaging(self) -> ImagingParams:
        given = self.source.imaging
        if self.paper is None:
            return given
        if self.paper not in PAPERS:
            raise ValueError(
                f"there are no settings of {self.paper!r}; choose from {', '.join(PAPERS)}"
            )
        usual = ImagingParams()
        flags = {name: value for name, value in given if value != getattr(usual, name)}
        return ImagingParams(**PAPERS[self.paper].model_dump() | flags)


@dataclass(frozen=True, kw_only=True)
class SimulateTomogram(Command):
    """Simulate a crowded tomogram, and list every particle in it.

    Beside X.mrc: X.csv lists the particles with their rotations, X_classes.mrc and X_occupancy.mrc
    tell what each voxel belongs to, and X.json how to make it again.
    """

    out: Path
    """File for the tomogram, .mrc."""
    device: Device = "cpu"
    params: Annotated[CrowdedParams, arg(name="")] = field(default_factory=CrowdedParams)

    def run(self) -> None:
        """Write the tomogram and its truth."""
        path = output(self.out, ".mrc")
        made = self.finish(store_tomogram(path, self.params, self.device))
        print(f"{len(made.particles)} particles in {path}, {made.packing:.0%} of the ice")


@dataclass(frozen=True, kw_only=True)
class SimulateAgain(Command):
    """Make simulated data again from what was written with them."""

    made: Positional[Path]
    """A set or tomogram that this program simulated."""
    out: Path
    """Where to write it; named as the other commands want it."""

    def run(self) -> None:
        """Write the same once more."""
        self.finish(simulate_again(self.made, self.out))
        print(f"the same as {self.made} in {self.out}")
