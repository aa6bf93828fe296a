"""Source and target together: what is learnt from, what is held out, and what a step draws."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .training import shuffled
from .types import Subtomograms, TrainingData

_JUDGED = 256
"""Volumes of each domain, at most, by which an epoch is judged."""


class Draw(NamedTuple):
    """Rows of source and target of one step, and the seed of its random numbers."""

    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    seed: int


@dataclass(frozen=True, eq=False)
class Domains:
    """A labelled source, split in two, and a target whose labels are not looked at.

    Attributes
    ----------
    source, target
        Volumes of the same box and voxel size.
    labels
        (n,) of the source, on the device.
    learnt, held_out
        Rows of the source: what is trained on; one in ten of each class, to judge by.
    looked_at
        Rows of the target to judge by.
    seed
        Of what is drawn.
    """

    source: Subtomograms
    target: Subtomograms
    labels: Tensor
    learnt: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    looked_at: npt.NDArray[np.int64]
    seed: int

    @classmethod
    def of(cls, data: TrainingData, *, seed: int, device: torch.device) -> "Domains":
        """Split the source and check that both sets fit.

        Raises
        ------
        ValueError
            If a set is missing, the source has no labels or one class, or the volumes differ.
        """
        source, target = data.need("source"), data.need("target")
        if source.labels is None:
            raise ValueError(f"{len(source)} source volumes but no labels; give one label a volume")
        counts = np.bincount(source.labels, minlength=len(source.classes))
        if len(counts) < 2 or counts.min() < 2:
            raise ValueError(
                f"the source has {', '.join(map(str, counts))} volumes a class; "
                "give two classes or more, and at least two volumes of each"
            )
        if source.box != target.box or not np.isclose(
            source.voxel_size, target.voxel_size, rtol=0.01
        ):
            raise ValueError(
                f"source volumes are {source.box}³ voxels of {source.voxel_size:g} Å but target "
                f"volumes {target.box}³ of {target.voxel_size:g} Å; give both the same"
            )
        generator = np.random.default_rng(seed)
        rows = generator.permutation(len(source))
        by_class = rows[np.argsort(source.labels[rows], kind="stable")]
        held_out = np.zeros(len(source), dtype=bool)
        held_out[by_class[:: max(10, len(source) // _JUDGED)]] = True
        return cls(
            source=source,
            target=target,
            labels=torch.from_numpy(source.labels).to(device),
            learnt=np.flatnonzero(~held_out),
            held_out=np.flatnonzero(held_out),
            looked_at=np.sort(generator.permutation(len(target))[:_JUDGED]),
            seed=seed,
        )

    def draws(self, batch: int, *, stage: int, first: int) -> Iterator[Draw]:
        """Draw for the steps of a stage, from step ``first`` on, without end.

        Parameters
        ----------
        batch
            Volumes of each domain.
        stage
            Another stage draws others.
        first
            Steps that were had already; what comes next is what would have come without a stop.
        """
        generator = np.random.default_rng((self.seed, stage))
        of_source = shuffled(len(self.learnt), batch, generator)
        of_target = shuffled(len(self.target), batch, generator)
        draws = (
            Draw(self.learnt[rows], others, int(generator.integers(2**62)))
            for rows, others in zip(of_source, of_target, strict=True)
        )
        return itertools.islice(draws, first, None)
