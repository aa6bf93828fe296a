"""Structures: densities from atoms and maps, and the library of them."""

from .atoms import read_atoms
from .density import Density
from .library import (
    Library,
    LibraryEntry,
    Structure,
    add_structure,
    library,
    library_index,
)
from .maps import read_map
from .similarity import most_alike, similarity

__all__ = [
    "Density",
    "Library",
    "LibraryEntry",
    "Structure",
    "add_structure",
    "library",
    "library_index",
    "most_alike",
    "read_atoms",
    "read_map",
    "similarity",
]
