"""`cryoshift pick`: candidates by their contrast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.workflows import PickParams, pick

from .command import TomogramCommand, output


@dataclass(frozen=True, kw_only=True)
class Pick(TomogramCommand):
    """List candidate particles of a tomogram, the best first.

    The list has the columns id, x, y, z (voxels from 0) and score. It is generous: cut it by its
    score, or let `cryoshift classify` tell what is no particle.
    """

    out: Path
    """File to write, .csv."""
    params: Annotated[PickParams, arg(name="")] = field(default_factory=PickParams)

    def run(self) -> None:
        """Pick, write the list and print how many there are."""
        path = output(self.out, ".csv")
        found = self.finish(pick(self.open(), self.params))
        write_particles(path, found, "csv")
        print(f"{len(found)} candidates in {path}")
