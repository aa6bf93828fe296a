"""`cryoshift average`: what the particles of a list look like."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from napari_cryoshift.core.averaging import AveragingParams, average_particles, save_average
from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.matching import moved
from napari_cryoshift.core.structures import library

from .command import TomogramCommand, output
from .particles import read_inside


@dataclass(frozen=True, kw_only=True)
class MeanOfParticles(TomogramCommand):
    """Align the particles of a list to their mean: a quick subtomogram average.

    Beside the mean, protein positive, two files are written: NAME.fsc.csv with the Fourier shell
    correlation of half sets, and NAME.csv with the particles where they came to lie, with their
    orientations and correlation coefficients.
    """

    picks: Positional[Path]
    """Particle list, of one kind of particle."""
    out: Path
    """File to write, .mrc."""
    class_: Annotated[
        str | None, arg(name="class", help="Only the particles of this class in the list.")
    ] = None
    structure: str | None = None
    """Id in the library to begin with; by default the orientations in the list, or nothing."""
    params: Annotated[AveragingParams, arg(name="")] = field(default_factory=AveragingParams)

    def run(self) -> None:
        """Average, write the files and print the resolution."""
        path = output(self.out, ".mrc", inputs=[self.tomogram])
        output(path.with_suffix(".fsc.csv"), ".csv", inputs=[self.picks])
        places = output(path.with_suffix(".csv"), ".csv", inputs=[self.picks])
        start = None if self.structure is None else library().need(self.structure)
        tomogram = self.open()
        particles = read_inside(self.picks, tomogram, as_label=self.class_ is not None)
        if self.class_ is not None:
            particles = particles.take(np.flatnonzero(particles.label == self.class_))
        average = self.finish(average_particles(tomogram, particles, self.params, start=start))
        save_average(path, average)
        aligned = moved(tomogram, particles, average.fit.shifts.astype(np.float64)).replace(
            score=average.fit.score.astype(np.float64),
            orientations=average.fit.rotations.astype(np.float64),
        )
        write_particles(places, aligned, "csv")
        reached = average.resolution
        seen = f"{reached:.0f} Å" if math.isfinite(reached) else "no detail"
        print(f"the mean of {len(particles)} particles in {path}: {seen} at an FSC of 0.143")
