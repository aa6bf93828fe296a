"""`cryoshift recentre`: picks moved to the middle of their particles."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from tyro.conf import Positional, arg

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.types import Particles
from napari_cryoshift.core.workflows import RecentreParams, recentre

from .command import TomogramCommand, output
from .particles import read_inside


@dataclass(frozen=True, kw_only=True)
class Recentre(TomogramCommand):
    """Move the particles of a list to the middle of what they were meant for.

    They are compared with the mean of examples, or with their own where they are all of one kind.
    The result has the rows of the list in their order, and all that it says of them.
    """

    picks: Positional[Path]
    """Particle list, of any format that `cryoshift formats` lists."""
    out: Path
    """File to write, .csv."""
    class_: Annotated[
        str | None,
        arg(name="class", help="Only particles of this class are moved, and only they examples."),
    ] = None
    examples: Path | None = None
    """Labelled particles to make the mean of; by default those that are moved."""
    params: Annotated[RecentreParams, arg(name="")] = field(default_factory=RecentreParams)

    def run(self) -> None:
        """Move the particles, write the list and print how far they were moved."""
        inputs = [self.picks, *([] if self.examples is None else [self.examples])]
        path = output(self.out, ".csv", inputs=inputs)
        tomogram = self.open()
        particles = read_inside(self.picks, tomogram)
        rows = self._of_class(particles, self.picks)
        chosen = particles.take(rows)
        examples = chosen
        if self.examples is not None:
            given = read_inside(self.examples, tomogram)
            examples = given.take(self._of_class(given, self.examples))
        positions = particles.positions.copy()
        found = self.finish(recentre(tomogram, chosen, examples, self.params))
        positions[rows] = found.positions
        write_particles(path, particles.replace(positions=positions), "csv")
        moved = np.linalg.norm(found.positions - chosen.positions, axis=1) * tomogram.voxel_size
        print(f"{len(rows)} of {len(particles)} particles moved, by {np.median(moved):.0f} Å")

    def _of_class(self, particles: Particles, file: Path) -> npt.NDArray[np.int64]:
        if self.class_ is None:
            return np.arange(len(particles))
        rows = np.flatnonzero(particles.predicted == self.class_)
        if not len(rows):
            names = ", ".join(sorted(set(particles.predicted) - {""})) or "no class"
            raise ValueError(
                f"{file.name} has 0 particles of class {self.class_!r} but {names}; "
                "choose one that it has"
            )
        return rows
