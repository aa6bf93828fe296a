"""What commands have in common that work on particle lists."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import Positional, arg

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.embeddings import Vectors
from napari_cryoshift.core.formats import (
    FORMATS,
    Format,
    ListContext,
    guess_format,
    outside,
    read_particles,
    write_particles,
    written_files,
)
from napari_cryoshift.core.matching import MatchParams
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.types import OTHER, Particles, Tomogram
from napari_cryoshift.core.workflows import KNOWN_OPTICS, compare, embed, shipped_checkpoint

from .command import Command, TomogramCommand, output_folder


@dataclass(frozen=True, kw_only=True)
class ListCommand(Command):
    """A command that reads particle lists, and no voxel of a tomogram."""

    tomogram: Path | None = None
    """Tomogram that the particles are in, for its voxel size, size and name."""
    voxel_size: float | None = None
    """Å, of that tomogram: needed where there is none, or its header is wrong."""

    def context(self) -> ListContext:
        """Return what the lists do not say themselves."""
        if self.tomogram is None:
            return ListContext(voxel_size=self.voxel_size)
        return ListContext.of(open_tomogram(self.tomogram, voxel_size=self.voxel_size))


@dataclass(frozen=True, kw_only=True)
class WritingCommand(ListCommand):
    """A command that reads a particle list and writes it for another program."""

    picks: Positional[Path]
    """Particle list to read, of any format that `cryoshift formats` lists."""
    from_: Annotated[
        str | None, arg(name="from", help="Format to read; by default it is told by the content.")
    ] = None
    list_voxel_size: float | None = None
    """Å a voxel that the list to read counts in, if not those of the tomogram."""
    normalised: bool = False
    """The list to read counts from 0 to 1, as Warp's template matching does."""
    from_centre: Literal["relion", "picker"] = "relion"
    """Where the RELION 5 list to read counts from, as --centre for the one that is written."""
    name: str | None = None
    """Name of the tomogram in the other program; by default that of its file."""
    binning: float = 1.0
    """Unbinned pixels of the tilt series in one voxel."""
    unbinned_size: tuple[int, int, int] | None = None
    """Unbinned pixels of the tomogram along x, y, z; by default its size × binning."""
    tomograms_star: Path | None = None
    """RELION's tomograms.star, which knows binning and sizes."""
    centre: Literal["relion", "picker"] = "relion"
    """Where the written RELION 5 list counts from: half the unbinned size, or one pixel less."""
    numbered: tuple[str, ...] = ()
    """Names of the tomograms 1, 2, 3, …, for lists that number them."""
    diameter: float | None = None
    """Å of a particle, for lists that draw boxes."""

    def context(self) -> ListContext:
        """Return what the list to write does not say itself."""
        return dataclasses.replace(
            super().context(),
            binning=self.binning,
            unbinned_shape=None if self.unbinned_size is None else self.unbinned_size[::-1],
            tomograms_star=self.tomograms_star,
            centre=self.centre,
            tomograms=self.numbered,
            diameter=self.diameter,
        )

    def read(self) -> tuple[Format, Particles]:
        """Return the format of the list, and its particles, in the tomogram that ``name`` says.

        Raises
        ------
        ValueError
            If the list cannot be read, or ``name`` would make one of several tomograms.
        """
        entry = list_format(guess_format(self.picks) if self.from_ is None else self.from_)
        context = dataclasses.replace(
            self.context(),
            list_voxel_size=self.list_voxel_size,
            normalised=self.normalised,
            centre=self.from_centre,
        )
        particles = read_particles(self.picks, entry.name, context=context)
        if self.name is None:
            return entry, particles
        count = len(set(particles.tomogram))
        if count > 1:
            raise ValueError(
                f"{self.picks.name} covers {count} tomograms and --name would make them one; "
                "leave it out"
            )
        named = np.full(len(particles), self.name, dtype=object)
        return entry, particles.replace(tomogram=named)


def list_format(name: str) -> Format:
    """Return a format of lists by its name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"there is no list format {name!r}; cryoshift formats lists them")
    return FORMATS[name]


def write(
    path: Path, particles: Particles, entry: Format, context: ListContext
) -> tuple[Path, list[str]]:
    """Write a list; return the file, or the folder of its files, and what is to be said."""
    files = written_files(path, particles, entry.name, context=context)
    said = write_particles(path, particles, entry.name, context=context)
    if context.shape is not None and len(set(particles.tomogram)) == 1:
        far = int(outside(particles.positions, context.shape).sum())
        if far:
            said.append(
                f"{far} of {len(particles)} particles lie outside the tomogram; check the unit and "
                "the binning of the list that they come from."
            )
    return path if path in files else path.parent, said


@dataclass(frozen=True, kw_only=True)
class EmbeddingCommand(TomogramCommand):
    """A command that embeds the particles of a tomogram."""

    picks: Positional[Path]
    """Particle list, of any format that `cryoshift formats` lists."""
    checkpoint: Path | None = None
    """Embedding that `cryoshift train` wrote; by default the one that comes with the package."""
    cache: Path | None = None
    """Folder to keep embeddings in, so that they are computed once."""
    compare: bool = False
    """Also compare the particles with the known structures of the library, in all orientations."""
    matching: MatchParams = KNOWN_OPTICS
    """How they are compared."""

    def load(self) -> Checkpoint:
        """Load the embedding."""
        return load_embedding(self.checkpoint)

    def embed(self, tomogram: Tomogram, particles: Particles, checkpoint: Checkpoint) -> Vectors:
        """Embed particles; return a row a particle."""
        return self.finish(embed(tomogram, particles, checkpoint, self._folder()))

    def compared(self, tomogram: Tomogram, particles: Particles) -> Vectors:
        """Compare particles with the known structures; return a row a particle."""
        return self.finish(compare(tomogram, particles, self.matching, self._folder()))

    def _folder(self) -> Path | None:
        return None if self.cache is None else output_folder(self.cache)


def read_of_one(path: Path, context: ListContext, *, as_label: bool = False) -> Particles:
    """Read a list of particles; of one that covers several tomograms, the rows of this one.

    Raises
    ------
    ValueError
        As `read_particles` does, or if nobody says which of several tomograms is meant.
    """
    particles = read_particles(path, context=context, as_label=as_label)
    several = len(set(particles.tomogram))
    if several == 1:
        return particles
    if not context.tomogram:
        raise ValueError(f"{path.name} covers {several} tomograms; give one of them by --tomogram")
    return read_particles(path, context=context, as_label=as_label, only=context.tomogram)


def read_inside(path: Path, tomogram: Tomogram, *, as_label: bool = False) -> Particles:
    """Read a list of particles, all of which lie in the tomogram.

    Raises
    ------
    ValueError
        As `read_of_one` does, or if a particle lies outside.
    """
    particles = read_of_one(path, ListContext.of(tomogram), as_label=as_label)
    beyond = outside(particles.positions, tomogram.shape)
    if beyond.any():
        z, y, x = particles.positions[beyond][0]
        depth, height, width = tomogram.shape
        raise ValueError(
            f"{beyond.sum()} of {len(particles)} particles of {path.name} lie outside the "
            f"tomogram of {width} × {height} × {depth} voxels, the first at x = {x:.1f}, "
            f"y = {y:.1f}, z = {z:.1f}; check the unit and the binning of the list"
        )
    return particles


def read_labelled(path: Path, tomogram: Tomogram) -> Particles:
    """Read a list of labelled particles, all of which have a class and lie in the tomogram.

    Raises
    ------
    ValueError
        As `read_inside` does, or if a class is missing, or is `OTHER` in other letters.
    """
    labelled = read_inside(path, tomogram, as_label=True)
    if (unnamed := np.flatnonzero(labelled.label == "")).size:
        raise ValueError(
            f"{len(unnamed)} of the {len(labelled)} rows of {path.name} have no class, "
            f"the first is row {unnamed[0] + 1}; fill the column class"
        )
    for name in sorted(set(labelled.label) - {OTHER}):
        if name.lower() == OTHER:
            raise ValueError(
                f"{path.name} has the class {name!r}, which is not {OTHER!r}; write "
                f"{OTHER!r} for what is no particle of interest, or choose another name"
            )
    return labelled


def load_embedding(path: Path | None) -> Checkpoint:
    """Load an embedding, or the one that comes with the package."""
    return shipped_checkpoint() if path is None else Checkpoint.load(path)
