"""`cryoshift export`: a particle list for another program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from tyro.conf import arg

from napari_cryoshift.core.formats import FORMATS
from napari_cryoshift.core.formats.base import spoken_class
from napari_cryoshift.core.types import OTHER, Particles

from .command import output_folder
from .particles import WritingCommand, list_format, write


@dataclass(frozen=True, kw_only=True)
class Export(WritingCommand):
    """Write a particle list for another program.

    What a list does not say itself is taken from the tomogram or the flags below; what the other
    program has to know is printed.
    """

    to: Annotated[str, arg(help=f"Format: {', '.join(FORMATS)}.")]
    out: Path
    """Folder to write into; it is made if it is missing."""
    classes: tuple[str, ...] = ()
    """Write these classes; by default all but other."""
    min_confidence: float = 0.0
    """Leave out predictions that are less certain, 0 to 1."""

    def run(self) -> None:
        """Write the list, and print what is in it and how to use it."""
        entry = list_format(self.to)
        _, particles = self.read()
        chosen = particles.take(self._chosen(particles))
        if not len(chosen):
            raise ValueError(
                f"0 of {len(particles)} particles are left to write; "
                "choose other classes or a lower confidence"
            )
        path = self.out / f"{self.picks.stem}{entry.suffix}"
        if path.resolve() in [file.resolve() for file in (self.picks, self.tomograms_star) if file]:
            raise ValueError(f"{path} is read here and would be lost; name another folder")
        output_folder(self.out)
        where, said = write(path, chosen, entry, self.context())
        print(f"{len(chosen)} of {len(particles)} particles in {where}")
        print(entry.notes, *said, sep="\n")

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
