"""The few labelled volumes of a target, and their pairs with those of the source."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .training import shuffled
from .types import OTHER, Subtomograms

Rows = npt.NDArray[np.int64]


class PairDraw(NamedTuple):
    """Rows of the members of pairs of one step, and the seed of its random numbers.

    Attributes
    ----------
    first
        (4, n) rows of the source, for the groups G1 to G4.
    second
        (4, n) rows of the source in G1 and G3, of the shots in G2 and G4.
    seed
        Of what else is drawn.
    """

    first: Rows
    second: Rows
    seed: int


@dataclass(frozen=True, eq=False)
class Shots:
    """Labelled volumes of the target, with the classes of the source and their own.

    Attributes
    ----------
    volumes
        Of the same box and voxel size as the source.
    classes
        Those of the source in their order, then those that only the shots have.
    labels
        (n,) of the shots, indices into ``classes``.
    of_source
        (m,) labels of the source.
    """

    volumes: Subtomograms
    classes: tuple[str, ...]
    labels: Rows
    of_source: Rows

    @property
    def absent(self) -> npt.NDArray[np.bool_]:
        """(k,) classes without a shot."""
        return ~np.isin(np.arange(len(self.classes)), self.labels)

    @classmethod
    def of(cls, support: Subtomograms, source: Subtomograms) -> "Shots":
        """Match labelled volumes with a labelled source by the names of their classes.

        Raises
        ------
        ValueError
            If labels are missing, the volumes differ, or no class but `OTHER` is in both.
        """
        for name, volumes in (("source", source), ("support", support)):
            if volumes.labels is None:
                raise ValueError(
                    f"{len(volumes)} {name} volumes but no labels; give one label a volume"
                )
        if support.box != source.box or not np.isclose(
            support.voxel_size, source.voxel_size, rtol=0.01
        ):
            raise ValueError(
                f"source volumes are {source.box}³ voxels of {source.voxel_size:g} Å but labelled "
                f"ones {support.box}³ of {support.voxel_size:g} Å; give both the same"
            )
        assert support.labels is not None
        assert source.labels is not None
        labelled = [support.classes[label] for label in support.labels]
        found = sorted(set(labelled))
        if not set(found) & set(source.classes) - {OTHER}:
            raise ValueError(
                f"labelled are {', '.join(found)} but the source has {', '.join(source.classes)}; "
                "name a labelled class as the same one of the source is named"
            )
        classes = (*source.classes, *(name for name in found if name not in source.classes))
        return cls(
            volumes=support,
            classes=classes,
            labels=np.array([classes.index(name) for name in labelled], dtype=np.int64),
            of_source=source.labels,
        )

    def draws(self, batch: int, *, seed: Sequence[int]) -> Iterator[tuple[Rows, int]]:
        """Draw rows of the shots, and a seed, for each step, without end.

        A class comes as often as any other, however many shots it has.
        """
        generator = np.random.default_rng(seed)
        rows = _balanced(self.labels)
        for some in shuffled(len(rows), batch, generator):
            yield rows[some], int(generator.integers(2**62))

    def pairs(self, count: int, *, seed: Sequence[int]) -> Iterator[PairDraw]:
        """Draw so many pairs of each group for each step, without end.

        Shots are drawn as by `draws`; those of a class that the source has not are in G4 alone.
        """
        generator = np.random.default_rng(seed)
        rows = _balanced(self.labels)
        known = rows[np.isin(self.labels[rows], self.of_source)]
        drawn = [
            shuffled(n, count, generator)
            for n in (*[len(self.of_source)] * 2, len(known), len(rows))
        ]
        for g1, g3, same, different in zip(*drawn, strict=True):
            g2, g4 = known[same], rows[different]
            partners = [
                [self._partner(self.of_source[row], generator, but=row) for row in g1],
                [self._partner(self.labels[row], generator) for row in g2],
                [self._other(self.of_source[row], generator) for row in g3],
                [self._other(self.labels[row], generator) for row in g4],
            ]
            yield PairDraw(
                first=np.array([g1, partners[1], g3, partners[3]]),
                second=np.array([partners[0], g2, partners[2], g4]),
                seed=int(generator.integers(2**62)),
            )

    def _partner(self, label: int, generator: np.random.Generator, but: int = -1) -> int:
        """A row of the source of this class, but not this row."""
        rows = np.flatnonzero(self.of_source == label)
        return int(generator.choice(rows[rows != but]))

    def _other(self, label: int, generator: np.random.Generator) -> int:
        """A row of the source of another class."""
        return int(generator.choice(np.flatnonzero(self.of_source != label)))


def _balanced(labels: Rows) -> Rows:
    """Rows in which every class comes as often as the most frequent one."""
    most = np.bincount(labels).max()
    return np.concatenate(
        [np.resize(np.flatnonzero(labels == label), most) for label in np.unique(labels)]
    )
