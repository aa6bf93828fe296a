"""Flags that open a set of subtomograms on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_cryoshift.core.sets import Axes, read_set
from napari_cryoshift.core.types import Subtomograms


@dataclass(frozen=True)
class SetNotes:
    """What the file of a set of subtomograms may not say."""

    voxel_size: float | None = None
    """Å, if the file does not say it."""
    particles: Literal["dark", "light"] | None = None
    """Whether particles are darker or lighter than their surroundings, if the file does not say."""
    axes: Axes | None = None
    """Order of the axes, if the file does not say it; xyz for arrays that AITom wrote."""
    trust_pickle: bool = False
    """Open a pickle of which you know who made it; even then it makes arrays and nothing else."""

    def read(self, path: Path, *, as_stored: bool = False) -> Subtomograms:
        """Open a set; with `as_stored`, its volumes are not standardised.

        Raises
        ------
        ValueError
            As `core.sets.read_set` does.
        """
        return read_set(
            path,
            voxel_size=self.voxel_size,
            dark=None if self.particles is None else self.particles == "dark",
            axes=self.axes,
            trusted_pickle=self.trust_pickle,
            as_stored=as_stored,
        )


@dataclass(frozen=True)
class SetFlags(SetNotes):
    """A set of subtomograms, and what its file may not say."""

    path: Path | None = None
    """File or folder: .zarr, .mrcs, .star, .npy, .npz, .h5, or a folder with one a class."""

    def open(self) -> Subtomograms | None:
        """Open the set; None without a path.

        Raises
        ------
        ValueError
            As `core.sets.read_set` does.
        """
        return None if self.path is None else self.read(self.path)
