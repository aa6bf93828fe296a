"""Classes beside the true ones: who is taken for whom, and precision, recall and F1 of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.types import OTHER

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassTable:
    """How well classes agree with the true ones, as a matrix and what follows from it.

    Attributes
    ----------
    classes
        k names.
    confusion
        (k, k) int64 how many of a true class, a row, were given a class, a column.
    """

    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64]

    @property
    def support(self) -> npt.NDArray[np.int64]:
        """(k,) how many are truly of a class."""
        counts: npt.NDArray[np.int64] = self.confusion.sum(1)
        return counts

    @property
    def precision(self) -> Floats:
        """(k,) right ones among those that were given the class; 0 where there are none."""
        return _share(self.confusion.diagonal(), self.confusion.sum(0))

    @property
    def recall(self) -> Floats:
        """(k,) right ones among those truly of the class; 0 where there are none."""
        return _share(self.confusion.diagonal(), self.support)

    @property
    def f1(self) -> Floats:
        """(k,) harmonic mean of the two."""
        return _share(2 * self.confusion.diagonal(), self.support + self.confusion.sum(0))

    @property
    def accuracy(self) -> float:
        """Share that is right."""
        return float(_share(self.confusion.trace(), self.confusion.sum()))

    @property
    def macro(self) -> tuple[float, float, float]:
        """Mean precision, recall and F1 of the classes that truly occur."""
        return self._mean((self.support > 0).astype(np.float64))

    @property
    def weighted(self) -> tuple[float, float, float]:
        """The same, each class weighted by how many are truly of it."""
        return self._mean(self.support.astype(np.float64))

    def _mean(self, weights: Floats) -> tuple[float, float, float]:
        columns = (self.precision, self.recall, self.f1)
        precision, recall, f1 = (
            float(_share(weights @ column, weights.sum())) for column in columns
        )
        return precision, recall, f1


def class_table(true: Sequence[str], said: Sequence[str]) -> ClassTable:
    """Compare classes with the true ones, name by name.

    Parameters
    ----------
    true, said
        n names each. The table has all that occur in either, in the order of their names, `OTHER`
        last.

    Raises
    ------
    ValueError
        If there are not as many of both, or none.
    """
    if len(true) != len(said) or not len(true):
        raise ValueError(
            f"{len(true)} true classes but {len(said)} to compare; give one each for at least one"
        )
    classes = sorted({*true, *said}, key=lambda name: (name == OTHER, name))
    row = {name: i for i, name in enumerate(classes)}
    confusion = np.zeros((len(classes),) * 2, dtype=np.int64)
    np.add.at(confusion, ([row[name] for name in true], [row[name] for name in said]), 1)
    return ClassTable(tuple(classes), confusion)


def _share(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """Divide; nothing of nothing is 0."""
    parts, wholes = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(parts, wholes, out=np.zeros_like(wholes), where=wholes > 0)
