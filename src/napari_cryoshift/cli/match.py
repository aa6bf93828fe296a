"""`cryoshift match` and `cryoshift fit`: where in a tomogram a known structure lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.matching import (
    MatchParams,
    TemplateMatchingParams,
    match_particles,
    match_tomogram,
)
from napari_cryoshift.core.structures import library

from .command import TomogramCommand, output
from .particles import read_inside


@dataclass(frozen=True, kw_only=True)
class Match(TomogramCommand):
    """Look for a structure in a tomogram, in all orientations: template matching.

    The list has x, y, z (voxels from 0), score and RELION's angles rot, tilt, psi, the best first.
    The score is a correlation coefficient with the structure as the microscope shows it.
    """

    structure: str
    """Id in the library; `cryoshift library list` lists them."""
    out: Path
    """File to write, .csv."""
    params: Annotated[TemplateMatchingParams, arg(name="")] = field(
        default_factory=TemplateMatchingParams
    )

    def run(self) -> None:
        """Look for the structure, write the list and print how many there are."""
        path = output(self.out, ".csv")
        structure = library().need(self.structure)
        found = self.finish(match_tomogram(self.open(), structure, self.params))
        write_particles(path, found, "csv")
        print(f"{len(found)} places that look like {structure.name} in {path}")


@dataclass(frozen=True, kw_only=True)
class Fit(TomogramCommand):
    """Fit a structure into the particles of a list.

    The result is that list with every particle moved to where the structure fits best, and the
    correlation coefficient there as its score.
    """

    picks: Positional[Path]
    """Particle list."""
    structure: str
    """Id in the library; `cryoshift library list` lists them."""
    out: Path
    """File to write, .csv."""
    params: Annotated[MatchParams, arg(name="")] = MatchParams(shift=60.0)  # noqa: RUF009 (frozen)

    def run(self) -> None:
        """Fit the structure, write the list and print how many there are."""
        path = output(self.out, ".csv", inputs=[self.picks])
        structure = library().need(self.structure)
        tomogram = self.open()
        particles = read_inside(self.picks, tomogram)
        fitted = self.finish(match_particles(tomogram, particles, structure, self.params))
        write_particles(path, fitted, "csv")
        print(f"{structure.name} fitted into {len(fitted)} particles in {path}")
