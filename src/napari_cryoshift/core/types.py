"""The few words everything is said in: Tomogram, Particles, Subtomograms, TrainingData.

One convention everywhere: arrays are indexed zyx, positions are 0-based voxels of the tomogram as
it is displayed, and an integer position is the centre of a voxel. Lengths are in Å.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

OTHER = "other"
"""The class of what is not a particle of interest; every few-shot answer may give it."""


@dataclass(frozen=True, eq=False)
class Tomogram:
    """A reconstructed volume that is read where it is needed.

    Attributes
    ----------
    data
        (z, y, x) array-like, usually memory-mapped: slicing it gives the grey values there.
    voxel_size
        Å.
    name
        As it appears in particle lists; usually the file stem.
    dark
        True if particles are darker than their surroundings (the usual case).
    path
        The file, if it came from one.
    caveats
        What a person should know about the header, one sentence each.
    """

    data: Any
    voxel_size: float
    name: str
    dark: bool = True
    path: Path | None = None
    caveats: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = self.data.shape
        return int(z), int(y), int(x)


def _text(n: int) -> npt.NDArray[np.object_]:
    return np.full(n, "", dtype=object)


@dataclass(frozen=True, eq=False)
class Particles:
    """A table of particles, one row each, as arrays of equal length.

    Attributes
    ----------
    id
        (n,) int64, stable for the life of the project.
    positions
        (n, 3) float64, zyx voxels, 0-based, integer = voxel centre.
    score
        (n,) float64 picking score, higher is better; NaN where there is none.
    label
        (n,) str, what a person said; "" where nobody has.
    predicted
        (n,) str, what the current model says; "" where it has said nothing.
    confidence
        (n,) float64 probability of ``predicted``; NaN where there is none.
    cluster
        (n,) int64, -1 where there is none.
    tomogram, source
        (n,) str: name of the tomogram; how the particle came to be ("pick", "click", "import").
    edge
        (n,) bool: the particle reaches beyond the tomogram; its box is padded, not lost.
    orientations
        (n, 3, 3) float64 active rotations (reference to tomogram, acting on xyz), or None.
    probabilities, classes
        (n, k) float64, one column for each of the k class names; or None and ().
    """

    id: npt.NDArray[np.int64]
    positions: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    label: npt.NDArray[np.object_]
    predicted: npt.NDArray[np.object_]
    confidence: npt.NDArray[np.float64]
    cluster: npt.NDArray[np.int64]
    tomogram: npt.NDArray[np.object_]
    source: npt.NDArray[np.object_]
    edge: npt.NDArray[np.bool_]
    orientations: npt.NDArray[np.float64] | None = None
    probabilities: npt.NDArray[np.float64] | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.id)
        for field in dataclasses.fields(self):
            column = getattr(self, field.name)
            if field.name != "classes" and column is not None and len(column) != n:
                raise ValueError(
                    f"{n} particle ids but {len(column)} values of {field.name}; "
                    "give one value a particle"
                )
        if self.positions.shape != (n, 3):
            raise ValueError(
                f"positions have shape {self.positions.shape}; give (n, 3), in the order z, y, x"
            )

    @classmethod
    def at(cls, positions: npt.ArrayLike, **columns: Any) -> Particles:
        """Make a table from positions; columns that are not given get their empty value.

        Parameters
        ----------
        positions
            (n, 3) zyx voxels.
        **columns
            Any attribute of the class: an array of n values, or one value for all rows.

        Raises
        ------
        ValueError
            If positions are not (n, 3) or a column has another length.
        """
        zyx = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
        n = len(zyx)
        whole = ("orientations", "probabilities", "classes")
        empty: dict[str, Any] = {
            "id": np.arange(n, dtype=np.int64),
            "score": np.full(n, np.nan),
            "label": _text(n),
            "predicted": _text(n),
            "confidence": np.full(n, np.nan),
            "cluster": np.full(n, -1, dtype=np.int64),
            "tomogram": _text(n),
            "source": _text(n),
            "edge": np.zeros(n, dtype=bool),
        }
        for name, value in columns.items():
            if name in whole:
                empty[name] = value
                continue
            dtype = empty[name].dtype
            empty[name] = (
                np.full(n, value, dtype) if np.ndim(value) == 0 else np.asarray(value, dtype)
            )
        return cls(positions=zyx, **empty)

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: npt.ArrayLike) -> Particles:
        """Return the rows of an index array or a boolean mask, in that order."""
        index = np.asarray(rows)
        index = index if index.dtype == bool else index.astype(np.int64)
        columns = {
            field.name: column if field.name == "classes" or column is None else column[index]
            for field in dataclasses.fields(self)
            for column in [getattr(self, field.name)]
        }
        return Particles(**columns)

    def replace(self, **columns: Any) -> Particles:
        """Return a table with these columns exchanged."""
        return dataclasses.replace(self, **columns)


@dataclass(frozen=True, eq=False)
class Subtomograms:
    """A sequence of small volumes that is read lazily; it may be longer than memory.

    ``s[indices]`` gives a (b, d, d, d) float32 tensor, protein positive, mean 0 and standard
    deviation 1 each. The same index gives the same volume, alone or in any company.

    Attributes
    ----------
    read
        (b,) int64 array of indices → (b, d, d, d) float32 tensor.
    count
        How many there are.
    box
        Side d, voxels.
    voxel_size
        Å.
    labels
        (n,) int64 indices into ``classes``, or None.
    classes
        Names, in the order of the labels.
    edge
        (n,) bool: the box reaches beyond the tomogram and was padded; or None.
    """

    read: Callable[[npt.NDArray[np.int64]], torch.Tensor]
    count: int
    box: int
    voxel_size: float
    labels: npt.NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    edge: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != self.count:
            raise ValueError(
                f"{self.count} volumes but {len(self.labels)} labels; give one label a volume"
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: npt.ArrayLike | slice) -> torch.Tensor:
        import torch

        if isinstance(indices, slice):
            rows = np.arange(*indices.indices(self.count))
        else:
            rows = np.atleast_1d(np.asarray(indices))
            rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        with contextlib.ExitStack() as full_precision:
            # Volumes may be made as they are read, and a training step reads them amid its own
            # half precision, in which a rotation would miss by a voxel.
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    full_precision.enter_context(torch.autocast(device, enabled=False))
            return self.read(rows)

    @classmethod
    def from_memory(
        cls,
        volumes: torch.Tensor,
        voxel_size: float,
        labels: npt.NDArray[np.int64] | None = None,
        classes: tuple[str, ...] = (),
    ) -> Subtomograms:
        """Wrap a (n, d, d, d) tensor that is in memory already."""
        return cls(
            read=lambda rows: volumes[rows].float(),
            count=len(volumes),
            box=volumes.shape[-1],
            voxel_size=voxel_size,
            labels=labels,
            classes=classes,
        )

    def take(self, rows: npt.ArrayLike) -> Subtomograms:
        """Return a lazy view of some rows."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return dataclasses.replace(
            self,
            read=lambda inner: self.read(index[inner]),
            count=len(index),
            labels=None if self.labels is None else self.labels[index],
            edge=None if self.edge is None else self.edge[index],
        )


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a method may learn from.

    Attributes
    ----------
    source
        Labelled volumes of another domain, e.g. simulated.
    target
        Unlabelled volumes of the tomogram at hand.
    support
        The few volumes that a person labelled.
    start
        Weights of an encoder to go on from, such as `Checkpoint.encoder`, by their names in it.
    """

    source: Subtomograms | None = None
    target: Subtomograms | None = None
    support: Subtomograms | None = None
    start: Mapping[str, torch.Tensor] | None = None

    def need(self, name: str) -> Subtomograms:
        """Return the set called ``name``.

        Raises
        ------
        ValueError
            If it is missing, with what to do about it.
        """
        remedy = {
            "source": "choose source classes from the library or a simulated set",
            "target": "pick particles in a tomogram first",
            "support": "label at least one particle of each class first",
        }[name]
        found: Subtomograms | None = getattr(self, name)
        if found is None or len(found) == 0:
            raise ValueError(f"the {name} set is empty; {remedy}")
        return found
