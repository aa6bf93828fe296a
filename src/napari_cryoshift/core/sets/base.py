"""What every way of storing a set comes to: volumes to read, and what is known of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from napari_cryoshift.core.types import Subtomograms
from napari_cryoshift.core.volumes import standardise

Axes: TypeAlias = Literal["zyx", "xyz"]
"""Order of the axes of an array; AITom's are xyz."""

Rows: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stored:
    """A set as it lies in a file.

    Attributes
    ----------
    name
        Of the file or folder, for messages.
    read
        (b,) int64 indices from 0, at least one → (b, …) values of any real type.
    count
        How many volumes there are.
    shape
        Of one volume, as it is stored.
    labels, classes, edge
        As in `Subtomograms`.
    voxel_size
        Å; None if the file does not say.
    dark
        True if particles are darker than their surroundings; None if the file does not say.
    axes
        Order of the axes; None if the file does not say.
    standardised
        True if the volumes have mean 0 and standard deviation 1 already.
    names
        What to call each volume in messages; empty to number them from 1.
    """

    name: str
    read: Callable[[Rows], npt.NDArray[Any]]
    count: int
    shape: tuple[int, ...]
    labels: Labels | None = None
    classes: tuple[str, ...] = ()
    edge: npt.NDArray[np.bool_] | None = None
    voxel_size: float | None = None
    dark: bool | None = None
    axes: Axes | None = None
    standardised: bool = False
    names: Sequence[str] = ()

    def subtomograms(
        self,
        *,
        voxel_size: float | None,
        dark: bool | None,
        axes: Axes | None,
        as_stored: bool = False,
    ) -> Subtomograms:
        """Return the set in the program's own convention; what is given outdoes what the file says.

        With `as_stored`, each volume keeps its mean and its standard deviation.

        Raises
        ------
        ValueError
            If it is empty or its volumes are no cubes, or neither the file nor an argument gives
            voxel size and sign; when read, if a volume holds NaN or infinite values.
        """
        size = self.voxel_size if voxel_size is None else voxel_size
        sign = self.dark if dark is None else dark
        if self.count == 0:
            raise ValueError(f"{self.name} holds 0 volumes; choose another set")
        check_cube(self.name, self.shape)
        if size is None:
            raise ValueError(f"{self.name} does not say its voxel size; give it in Å (voxel_size)")
        if not (np.isfinite(size) and size > 0):
            raise ValueError(f"the voxel size of {self.name} is {size:g} Å; give a positive one")
        if sign is None:
            raise ValueError(
                f"{self.name} does not say whether its particles are dark or light; "
                "give it (dark=True or dark=False)"
            )
        turn = (axes or self.axes) == "xyz"
        every = np.arange(self.count)

        def read(rows: Rows) -> torch.Tensor:
            chosen = every[rows]  # counts negative indices from the end, and refuses those beyond
            if not len(chosen):
                return torch.empty(0, *self.shape)
            values = self.read(chosen)
            values = values.transpose(0, 3, 2, 1) if turn else values
            # A copy, as torch wants what it may write to, and a file that is mapped is none.
            volumes = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
            self._check_finite(volumes, chosen)
            volumes = -volumes if sign else volumes
            return volumes if self.standardised or as_stored else standardise(volumes)

        return Subtomograms(
            read=read,
            count=self.count,
            box=self.shape[0],
            voxel_size=float(size),
            labels=self.labels,
            classes=self.classes,
            edge=self.edge,
        )

    def _check_finite(self, volumes: torch.Tensor, rows: Rows) -> None:
        finite = volumes.isfinite().flatten(1).all(1).numpy()
        if finite.all():
            return
        row = int(rows[~finite][0])
        which = self.names[row] if self.names else f"volume {row + 1} of {self.count}"
        raise ValueError(
            f"{self.name}: {which} has NaN or infinite values; replace them by its mean first, or "
            "leave it out"
        )


def check_cube(name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError if a volume of this shape is no cube."""
    if len(shape) != 3 or len(set(shape)) != 1 or shape[0] < 2:
        raise ValueError(
            f"{name} has volumes of {' × '.join(map(str, shape))} voxels; cut cubes, all of one "
            "size"
        )


def code_labels(
    values: npt.ArrayLike, name: str, classes: Sequence[str] = ()
) -> tuple[Labels, tuple[str, ...]]:
    """Turn what a file says of each volume into indices and class names.

    Parameters
    ----------
    values
        (n,) class names, or whole numbers.
    name
        Of the file, for messages.
    classes
        Names that the numbers 0, 1, … stand for. Without them a number is its own name.

    Returns
    -------
    labels
        (n,) indices into the classes.
    classes
        As given; else those that occur, sorted (numbers by their value).

    Raises
    ------
    ValueError
        If a number is not whole or has no name.
    """
    given = np.asarray(values)
    if given.dtype.kind not in "iufb":
        found, labels = np.unique([_text(value) for value in given], return_inverse=True)
        return labels.astype(np.int64), tuple(map(str, found))
    with np.errstate(invalid="ignore"):
        numbers = given.astype(np.int64)  # of NaN and infinity some number, which they are not
    if (numbers != given).any():
        raise ValueError(
            f"{name} has the label {given[numbers != given][0]:g}; give names or whole numbers"
        )
    if not classes:
        known, labels = np.unique(numbers, return_inverse=True)
        return labels.astype(np.int64), tuple(map(str, known.tolist()))
    beyond = (numbers < 0) | (numbers >= len(classes))
    if beyond.any():
        raise ValueError(
            f"{name} has the label {numbers[beyond][0]} but names {len(classes)} classes, from 0 "
            f"to {len(classes) - 1}; correct one of them"
        )
    return numbers, tuple(map(_text, classes))


def optional(module: str, path: Path) -> Any:
    """Import a library that only some ways of storing a set need.

    Raises
    ------
    ValueError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{path.name} needs the library {module}, which is not installed; "
            "pip install 'napari-cryoshift[formats]' brings it"
        ) from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
