"""Structures: densities from atoms and maps, and the library of them."""

from .atoms import density_from_atoms, read_atoms
from .density import Density
from .library import (
    Library,
    LibraryEntry,
    Structure,
    add_structure,
    library,
    library_index,
)
from .maps import density_from_map, read_map
from .similarity import similarity

__all__ = [
    "Density",
    "Library",
    "LibraryEntry",
    "Structure",
    "add_structure",
    "density_from_atoms",
    "density_from_map",
    "library",
    "library_index",
    "read_atoms",
    "read_map",
    "similarity",
]
