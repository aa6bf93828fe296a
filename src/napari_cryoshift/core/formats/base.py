"""What a format of particle lists is, and what a list does not say itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.types import Particles, Tomogram

Shape = tuple[int, int, int]

_ROUNDED = 0.02
"""By how much the voxel sizes of one tomogram may differ, as a fraction."""
_NUMBERED_CLASS = re.compile(r"(?:class )?([1-9]\d{0,6})")


@dataclass(frozen=True)
class ListContext:
    """What has to be known beside a particle list to tell where its particles are.

    Attributes
    ----------
    voxel_size
        Å a voxel of the tomogram that positions are counted in; None if unknown.
    shape
        Voxels of that tomogram along z, y, x; None if unknown.
    tomogram
        Its name, for rows that carry none.
    binning
        How many unbinned (tilt-series) pixels make one voxel, where neither the list nor
        ``tomograms_star`` tells.
    unbinned_shape
        Unbinned pixels along z, y, x; None to take shape × binning.
    list_voxel_size
        Å a voxel that the list counts in, if it was made on another binning of the tomogram.
    centre
        Where RELION 5 counts from: "relion", size / 2 in unbinned pixels, as its C++ programs read
        coordinates; or "picker", size / 2 - 1, as its napari picker writes them.
    tomograms_star
        RELION's tomograms.star, which knows pixel sizes and unbinned sizes.
    tomograms
        Names of the tomograms 1, 2, 3, …, for lists that number them; empty where nobody knows.
    normalised
        True if the list counts from 0 to 1 along each side, as Warp's template matching does.
    diameter
        Å of a particle, for formats that draw a box around each; None where nobody knows.
    """

    voxel_size: float | None = None
    shape: Shape | None = None
    tomogram: str = ""
    binning: float = 1.0
    unbinned_shape: Shape | None = None
    list_voxel_size: float | None = None
    centre: Literal["relion", "picker"] = "relion"
    tomograms_star: Path | None = None
    tomograms: tuple[str, ...] = ()
    normalised: bool = False
    diameter: float | None = None

    def __post_init__(self) -> None:
        for what, size in (
            ("voxel size", self.voxel_size),
            ("voxel size of the list", self.list_voxel_size),
            ("diameter", self.diameter),
        ):
            if size is not None and not (np.isfinite(size) and size > 0):
                raise ValueError(f"the {what} is {size:g} Å; give a positive number")
        if not (np.isfinite(self.binning) and self.binning >= 1):
            raise ValueError(f"the binning is {self.binning:g}; give 1 or more")
        if self.unbinned_shape is not None and min(self.unbinned_shape) < 1:
            z, y, x = self.unbinned_shape
            raise ValueError(f"the unbinned size is {x} × {y} × {z} pixels; give positive numbers")

    @classmethod
    def of(
        cls,
        tomogram: Tomogram,
        *,
        binning: float = 1.0,
        unbinned_shape: Shape | None = None,
        tomograms_star: Path | None = None,
    ) -> ListContext:
        """Make the context of a tomogram that is open."""
        return cls(
            voxel_size=tomogram.voxel_size,
            shape=tomogram.shape,
            tomogram=tomogram.name,
            binning=binning,
            unbinned_shape=unbinned_shape,
            tomograms_star=tomograms_star,
        )

    def need_voxel_size(self, path: Path, why: str) -> float:
        """Return the voxel size, Å, or raise ValueError with the reason it is needed for."""
        if self.voxel_size is None:
            raise ValueError(f"{path.name} {why}; give the voxel size of the tomogram in Å")
        return self.voxel_size

    def list_scale(self, path: Path) -> float:
        """Return voxels of the tomogram in one voxel that the list counts in."""
        if self.list_voxel_size is None:
            return 1.0
        return self.list_voxel_size / self.need_voxel_size(path, "counts in voxels of its own")


@dataclass(frozen=True)
class Head:
    """How a file begins, to tell its format by.

    Attributes
    ----------
    name
        Of the file, without its folder.
    data
        The first 64 kB.
    """

    name: str
    data: bytes

    @property
    def text(self) -> str:
        """The same as text; what is no UTF-8 becomes a replacement character."""
        return self.data.decode("utf-8", errors="replace")


Reader: TypeAlias = Callable[[Path, ListContext], Particles]
"""Reads a list; the class of a particle goes into ``predicted``."""

Writer: TypeAlias = Callable[[Path, Particles, ListContext], list[str]]
"""Writes a list as one file; returns what a person should know about it, one sentence each.

Before they come here, particles in no tomogram are put into that of the context, and what
`Format.apart` keeps apart is shared out to files.
"""


@dataclass(frozen=True)
class Format:
    """A way to write a particle list down.

    Attributes
    ----------
    name
        Its key in FORMATS.
    title
        For people.
    suffix
        Of its files, with the dot.
    reader, writer
        The two directions.
    recognises
        Tells from how a file begins whether it is of this format.
    holds
        What survives beside positions: of "id", "class", "confidence", "score", "probabilities",
        "orientation", "tomogram", "cluster".
    notes
        How to use such a file elsewhere, for the export window and the handbook.
    apart
        What no file holds two of, so that a list becomes several: of "tomogram", "class".
    """

    name: str
    title: str
    suffix: str
    reader: Reader
    writer: Writer
    recognises: Callable[[Head], bool]
    holds: frozenset[str]
    notes: str
    apart: frozenset[str] = frozenset()


def same_voxel_size(one: float, other: float) -> bool:
    """Tell whether two voxel sizes, Å, are of one tomogram: programs round them."""
    return abs(one / other - 1) < _ROUNDED


def spoken_class(particles: Particles) -> npt.NDArray[np.object_]:
    """Return the class that a list gives a particle: a person's label, else the prediction."""
    return np.where(particles.label != "", particles.label, particles.predicted).astype(object)


def numbered_classes(particles: Particles) -> tuple[dict[int, str], npt.NDArray[np.int64]]:
    """Return the classes by number, and the number of each particle's, 0 where it has none.

    A class that is called by a number, "7" or "class 7", keeps it; the others get those that are
    free, in alphabetical order.
    """
    rows, kinds = pd.factorize(spoken_class(particles))
    numbers = {"": 0}
    for name in sorted(kinds):
        found = _NUMBERED_CLASS.fullmatch(name)
        if found and int(found[1]) not in numbers.values():
            numbers[name] = int(found[1])
    free = (number for number in count(1) if number not in numbers.values())
    for name in sorted(set(kinds) - set(numbers)):
        numbers[name] = next(free)
    each = np.array([numbers[name] for name in kinds], dtype=np.int64)
    return {number: name for name, number in numbers.items() if number}, each[rows]


def classes_named(
    numbers: npt.NDArray[np.float64 | np.int64], names: Mapping[int, str]
) -> npt.NDArray[np.object_]:
    """Return the names of numbered classes, "class 7" where nobody named it, "" for 0 and less."""
    kinds, rows = np.unique(numbers, return_inverse=True)
    # A whole float is the key that the int is.
    said = [names.get(k, f"class {k:.16g}") if k > 0 else "" for k in kinds.tolist()]
    return np.array(said, dtype=object)[rows]


def numbers_of(names: Iterable[str], context: ListContext) -> dict[str, int]:
    """Return the number of every tomogram, counted from 1, for lists that number them.

    Where the context does not number them, the last digits of a name do ("TS_07" is 7), or the
    alphabetical order where not every name has digits of its own.

    Raises
    ------
    ValueError
        If the context numbers its tomograms and one of these is not among them.
    """
    ordered = sorted(set(names))
    if context.tomograms:
        if unknown := [name for name in ordered if name not in context.tomograms]:
            raise ValueError(
                f"tomogram {unknown[0]!r} is none of the {len(context.tomograms)} that are "
                f"numbered ({', '.join(context.tomograms[:5])}); add it to them"
            )
        return {name: context.tomograms.index(name) + 1 for name in ordered}
    found = [re.search(r"(\d+)\D*$", name) for name in ordered]
    numbers = [int(match[1]) for match in found if match]
    # Eight digits and more, such as dates, are not exact in the float32 of some formats.
    if len(set(numbers)) < len(ordered) or not all(0 < number < 10**7 for number in numbers):
        numbers = list(range(1, len(ordered) + 1))
    return dict(zip(ordered, numbers, strict=True))


def named_by(numbers: npt.NDArray[np.int64], context: ListContext) -> npt.NDArray[np.object_]:
    """Return the names of numbered tomograms; "" in a list of one whose number nobody names."""
    if not context.tomograms and len(set(numbers)) <= 1:
        return np.full(len(numbers), "", dtype=object)
    known = dict(enumerate(context.tomograms, start=1))
    return np.array([known.get(number, str(number)) for number in numbers], dtype=object)


def say_numbers(numbers: Mapping[str, int]) -> list[str]:
    """Say which tomogram has which number; a sentence, or none where they have no names."""
    named = [f"{name!r} is {number}" for name, number in numbers.items() if name]
    more = ", …" if len(named) > 5 else ""
    return [f"Tomograms go by number: {', '.join(named[:5])}{more}."] if named else []
