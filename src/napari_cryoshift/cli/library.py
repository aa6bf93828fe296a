"""`cryoshift library`: the structures that come with the package, and a person's own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from napari_cryoshift.core.structures import (
    LibraryEntry,
    add_structure,
    library,
    library_index,
    most_alike,
)
from napari_cryoshift.core.tomograms import save_volume

from .command import Command, output


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List the structures of the library."""

    def run(self) -> None:
        """Print one line a structure, the heaviest first."""
        entries = sorted(library_index(), key=lambda entry: -entry.mass_kda)
        wide = max(len(entry.id) for entry in entries)
        family = max(len(entry.family) for entry in entries)
        print(f"{'id':{wide}}  {'kDa':>6} {'Å':>5}  {'family':{family}}  name")
        for e in entries:
            size = f"{e.mass_kda:6.0f} {e.diameter:5.0f}"
            print(f"{e.id:{wide}}  {size}  {e.family:{family}}  {e.name}")


@dataclass(frozen=True, kw_only=True)
class Show(Command):
    """Show what the library knows of a structure, and write its density if a file is named."""

    id: Positional[str]
    """As `cryoshift library list` gives it."""
    out: Path | None = None
    """File for the density, .mrc."""

    def run(self) -> None:
        """Print the entry; write the density."""
        path = None if self.out is None else output(self.out, ".mrc")
        structure = library().need(self.id)
        for field in dataclasses.fields(LibraryEntry):
            print(f"{field.name:12}{getattr(structure, field.name)}")
        z, y, x = structure.density.shape
        print(f"{'density':12}{x} × {y} × {z} voxels of {structure.voxel_size:g} Å")
        if path is not None:
            save_volume(path, structure.density, structure.voxel_size)


@dataclass(frozen=True, kw_only=True)
class Alike(Command):
    """Say which structures of the library look most like one of it, in a minute or two.

    A figure for a class that no training saw means little where a near relative of it was seen.
    """

    id: Positional[str]
    """As `cryoshift library list` gives it."""
    count: int = 10
    """How many are printed."""

    def run(self) -> None:
        """Print the correlations at 12 Å a voxel, the best orientation of each."""
        if self.count < 1:
            raise ValueError(f"--count is {self.count}; give 1 or more")
        structure = library().need(self.id)
        others = [other for other in library().values() if other.id != structure.id]
        for correlation, other in self.finish(most_alike(structure, others))[: self.count]:
            print(f"{correlation:6.3f}  {other.id:12}  {other.family:20}  {other.name}")


@dataclass(frozen=True, kw_only=True)
class Add(Command):
    """Add a structure or a density map to your own library."""

    file: Positional[Path]
    """PDB, mmCIF, or a map in MRC or CCP4 format; gzipped or not."""
    id: str | None = None
    """Letters, digits, - and _; by default the name of the file."""
    name: str | None = None
    """In plain words; by default the id."""

    def run(self) -> None:
        """Add the structure and print its id."""
        added = add_structure(self.file, self.id, self.name)
        print(f"{added.id}: {added.mass_kda:.0f} kDa, {added.diameter:.0f} Å across")
