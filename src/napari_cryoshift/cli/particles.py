"""What commands have in common that work on particle lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.embeddings import Vectors
from napari_cryoshift.core.formats import ListContext, outside, read_particles
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.workflows import embed, shipped_checkpoint

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
class EmbeddingCommand(TomogramCommand):
    """A command that embeds the particles of a tomogram."""

    picks: Positional[Path]
    """Particle list: a CSV with x, y, z in voxels from 0, or a RELION STAR file."""
    checkpoint: Path | None = None
    """Embedding that `cryoshift train` wrote; by default the one that comes with the package."""
    cache: Path | None = None
    """Folder to keep embeddings in, so that they are computed once."""

    def load(self) -> Checkpoint:
        """Load the embedding."""
        return load_embedding(self.checkpoint)

    def embed(self, tomogram: Tomogram, particles: Particles, checkpoint: Checkpoint) -> Vectors:
        """Embed particles; return a row a particle."""
        folder = None if self.cache is None else output_folder(self.cache)
        return self.finish(embed(tomogram, particles, checkpoint, folder))


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


def load_embedding(path: Path | None) -> Checkpoint:
    """Load an embedding, or the one that comes with the package."""
    return shipped_checkpoint() if path is None else Checkpoint.load(path)
