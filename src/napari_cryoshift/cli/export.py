"""`cryoshift export`: a particle list for another program."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from tyro.conf import Positional, arg

from napari_cryoshift.core.formats import FORMATS, ListContext, read_particles, write_particles
from napari_cryoshift.core.formats.base import spoken_class
from napari_cryoshift.core.types import OTHER, Particles

from .command import output_folder
from .particles import ListCommand


@dataclass(frozen=True, kw_only=True)
class Export(ListCommand):
    """Write a particle list for another program.

    What a list does not say itself is taken from the tomogram or the flags below; what the other
    program has to know is printed.
    """

    picks: Positional[Path]
    """Particle list, of any format below."""
    to: Annotated[str, arg(help=f"Format: {', '.join(FORMATS)}.")]
    out: Path
    """Folder to write into; it is made if it is missing."""
    name: str | None = None
    """Name of the tomogram in the other program; by default that of its file."""
    binning: float = 1.0
    """Unbinned pixels of the tilt series in one voxel."""
    unbinned_size: tuple[int, int, int] | None = None
    """Unbinned pixels of the tomogram along x, y, z; by default its size × binning."""
    tomograms_star: Path | None = None
    """RELION's tomograms.star, which knows binning and sizes."""
    classes: tuple[str, ...] = ()
    """Write these classes; by default all but other."""
    min_confidence: float = 0.0
    """Leave out predictions that are less certain, 0 to 1."""

    def run(self) -> None:
        """Write the list, and print what is in it and how to use it."""
        if self.to not in FORMATS:
            raise ValueError(
                f"there is no list format {self.to!r}; choose from {', '.join(FORMATS)}"
            )
        context = self.context()
        particles = self._named(read_particles(self.picks, context=context))
        chosen = particles.take(self._chosen(particles))
        if not len(chosen):
            raise ValueError(
                f"0 of {len(particles)} particles are left to write; "
                "choose other classes or a lower confidence"
            )
        path = self.out / f"{self.picks.stem}{FORMATS[self.to].suffix}"
        if path.resolve() in [file.resolve() for file in (self.picks, self.tomograms_star) if file]:
            raise ValueError(f"{path} is read here and would be lost; name another folder")
        output_folder(self.out)
        said = write_particles(path, chosen, self.to, context=context)
        print(f"{len(chosen)} of {len(particles)} particles in {path}")
        print(FORMATS[self.to].notes, *said, sep="\n")

    def context(self) -> ListContext:
        """Return what the lists do not say themselves."""
        known = super().context()
        return dataclasses.replace(
            known,
            binning=self.binning,
            unbinned_shape=None if self.unbinned_size is None else self.unbinned_size[::-1],
            tomograms_star=self.tomograms_star,
        )

    def _named(self, particles: Particles) -> Particles:
        if self.name is None:
            return particles
        count = len(set(particles.tomogram))
        if count > 1:
            raise ValueError(
                f"{self.picks.name} covers {count} tomograms and --name would make them one; "
                "leave it out"
            )
        return particles.replace(tomogram=np.full(len(particles), self.name, dtype=object))

    def _chosen(self, particles: Particles) -> npt.NDArray[np.bool_]:
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(
                f"the least confidence is {self.min_confidence:g}; give a number from 0 to 1"
            )
        names = spoken_class(particles)
        if unknown := sorted(set(self.classes) - set(names)):
            raise ValueError(
                f"{self.picks.name} has no particle of class {unknown[0]!r}; "
                f"choose from {', '.join(sorted(set(names) - {''})) or 'no class at all'}"
            )
        chosen = np.isin(names, self.classes) if self.classes else names != OTHER
        # A particle without a confidence stays: nobody doubted it.
        return chosen & ~(particles.confidence < self.min_confidence)
