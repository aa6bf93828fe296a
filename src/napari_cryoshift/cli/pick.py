"""`cryoshift pick`: candidates by their contrast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.tomograms import open_tomogram
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
    mask: Path | None = None
    """Volume of the tomogram's shape; candidates where it is 0 are dropped."""
    params: Annotated[PickParams, arg(name="")] = field(default_factory=PickParams)

    def run(self) -> None:
        """Pick, write the list and print how many there are."""
        path = output(self.out, ".csv")
        tomogram = self.open()
        # A mask has no lengths of its own: its header may say what it likes.
        mask = self.mask and open_tomogram(self.mask, voxel_size=tomogram.voxel_size).data
        found = self.finish(pick(tomogram, self.params, mask))
        write_particles(path, found, "csv")
        print(f"{len(found)} candidates in {path}")
