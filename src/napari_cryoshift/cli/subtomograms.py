"""`cryoshift subtomograms`: a set of subtomograms, cut out at the particles of a list."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from napari_cryoshift import __version__
from napari_cryoshift.core.formats.base import spoken_class
from napari_cryoshift.core.sets import write_set
from napari_cryoshift.core.volumes import crop

from .command import TomogramCommand
from .particles import load_embedding, read_inside


@dataclass(frozen=True, kw_only=True)
class CutSubtomograms(TomogramCommand):
    """Cut subtomograms out of a tomogram, at the particles of a list.

    Each is resampled about its exact position, made protein positive, and brought to mean 0 and
    standard deviation 1. Their classes are those of the list. If it gives a class to some particles
    only, these are written; if to none, all are.
    """

    picks: Positional[Path]
    """Particle list."""
    out: Path
    """Set to write: X.zarr; X.mrcs, which gets X.star beside it; or a folder, for RELION."""
    box: int | None = None
    """Voxels along each side; by default those of the embedding that comes with the package."""
    voxel_size_out: float | None = None
    """Å, of the subtomograms; by default that of the embedding that comes with the package."""

    def run(self) -> None:
        """Cut, write the set and print what is in it."""
        box, voxel_size = self._grid()
        tomogram = self.open()
        listed = read_inside(self.picks, tomogram)
        names = spoken_class(listed)
        named = names != ""
        rows = np.flatnonzero(named) if named.any() else np.arange(len(listed))
        particles = listed.take(rows)
        volumes = crop(tomogram, particles, box=box, voxel_size=voxel_size)
        if named.any():
            classes, labels = np.unique(names[rows].astype(str), return_inverse=True)
            volumes = dataclasses.replace(volumes, labels=labels, classes=tuple(classes.tolist()))
        metadata = {
            "program": f"napari-cryoshift {__version__}",
            "tomogram": self.tomogram.name,
            "tomogram_voxel_size": tomogram.voxel_size,
            "dark": tomogram.dark,
            "list": self.picks.name,
            "id": particles.id.tolist(),
            "positions_zyx": particles.positions.tolist(),
        }
        self.finish(write_set(self.out, volumes, metadata))
        of = f" of {len(volumes.classes)} classes" if volumes.classes else ""
        print(f"{len(volumes)} subtomograms{of} in {self.out}")
        if len(rows) < len(listed):
            print(f"{len(listed) - len(rows)} of {len(listed)} particles have no class: left out")

    def _grid(self) -> tuple[int, float]:
        """Return side in voxels, and voxel size in Å.

        Raises
        ------
        ValueError
            If one of them is not positive.
        """
        shipped = load_embedding(None)
        box = shipped.box if self.box is None else self.box
        voxel_size = shipped.voxel_size if self.voxel_size_out is None else self.voxel_size_out
        if box < 2 or not (np.isfinite(voxel_size) and voxel_size > 0):
            raise ValueError(
                f"the subtomograms have {box} voxels of {voxel_size:g} Å a side; "
                "give 2 voxels or more, of a positive size"
            )
        return box, voxel_size
