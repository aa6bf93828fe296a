"""What a format of particle lists is, and what a list does not say itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.types import Particles, Tomogram

Shape = tuple[int, int, int]

_EMPTY = ("", "nan", "<na>")


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
    """

    voxel_size: float | None = None
    shape: Shape | None = None
    tomogram: str = ""
    binning: float = 1.0
    unbinned_shape: Shape | None = None
    list_voxel_size: float | None = None
    centre: Literal["relion", "picker"] = "relion"
    tomograms_star: Path | None = None

    def __post_init__(self) -> None:
        for what, size in (("voxel size", self.voxel_size), ("list", self.list_voxel_size)):
            if size is not None and not (np.isfinite(size) and size > 0):
                raise ValueError(f"the {what} is {size:g} Å a voxel; give a positive number")
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


Reader: TypeAlias = Callable[[Path, ListContext], Particles]
"""Reads a list; the class of a particle goes into ``predicted``."""

Writer: TypeAlias = Callable[[Path, Particles, ListContext], list[str]]
"""Writes a list; returns what a person should know about it, one sentence each."""


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
        Takes the first 64 kB of a file, as text, and tells whether they are of this format.
    holds
        What survives beside positions: of "id", "class", "confidence", "score", "probabilities",
        "orientation", "tomogram", "cluster".
    notes
        How to use such a file elsewhere, for the export window and the handbook.
    """

    name: str
    title: str
    suffix: str
    reader: Reader
    writer: Writer
    recognises: Callable[[str], bool]
    holds: frozenset[str]
    notes: str


def numbers(table: pd.DataFrame, columns: list[str], path: Path) -> npt.NDArray[np.float64]:
    """Return columns as an (n, k) array; empty cells are NaN.

    Raises
    ------
    ValueError
        If a cell holds text that is no number, with its row (counted from 1) and column.
    """
    values = np.empty((len(table), len(columns)))
    for index, column in enumerate(columns):
        cells = table[column]
        empty = cells.isna() | cells.astype(str).str.strip().str.lower().isin(_EMPTY)
        values[:, index] = pd.to_numeric(cells.mask(empty), errors="coerce")
        wrong = np.flatnonzero(np.isnan(values[:, index]) & ~empty)
        if len(wrong):
            raise ValueError(
                f"{path.name}: row {wrong[0] + 1} has {cells.iloc[wrong[0]]!r} in column "
                f"{column}, which is no number; correct or remove that row"
            )
    return values


def positive(table: pd.DataFrame, columns: list[str], path: Path) -> npt.NDArray[np.float64]:
    """Return columns of lengths or sizes as an (n, k) array.

    Raises
    ------
    ValueError
        If a cell is empty or no positive number.
    """
    values = numbers(table, columns, path)
    wrong = np.argwhere(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{path.name}: row {row + 1} has no positive number in column {columns[column]}; "
            "correct that row"
        )
    return values


def positions(table: pd.DataFrame, columns: list[str], path: Path) -> npt.NDArray[np.float64]:
    """Return three columns, named in the order x, y, z, as (n, 3) xyz numbers.

    Raises
    ------
    ValueError
        If a cell is empty, infinite or no number.
    """
    values = numbers(table, columns, path)
    missing = np.argwhere(~np.isfinite(values))
    if len(missing):
        row, column = missing[0]
        raise ValueError(
            f"{path.name}: row {row + 1} has no number in column {columns[column]}; correct or "
            "remove that row"
        )
    return values


def spoken_class(particles: Particles) -> npt.NDArray[np.object_]:
    """Return the class that a list gives a particle: a person's label, else the prediction."""
    return np.where(particles.label != "", particles.label, particles.predicted).astype(object)
