"""What DISCA draws in a step of learning, what it knows from round to round, and how it groups."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from napari_cryoshift.core.clustering import Floats, Labels, Mixture, fit_mixture, simplest
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.training import shuffled

from .disca_params import DiscaParams


class Draw(NamedTuple):
    """Rows of the target, which of them are turned, and the seed of the step's random numbers."""

    rows: npt.NDArray[np.int64]
    turned: npt.NDArray[np.bool_]
    seed: int


def draws(n: int, batch: int, seed: int) -> Iterator[Draw]:
    """Draw for steps without end: each particle comes as it is and turned, before any comes again.

    Parameters
    ----------
    n
        Particles.
    batch
        Volumes a step.
    seed
        The same seed draws the same.
    """
    generator = np.random.default_rng(seed)
    for drawn in shuffled(2 * n, batch, generator):
        yield Draw(drawn % n, drawn >= n, int(generator.integers(2**62)))


class Grouping:
    """The groups of the last round; a bookmark keeps it.

    Parameters
    ----------
    untrained
        The network begins with random weights: features of the first round compare with no others.
        Else all rounds are judged by the features of the first.

    Attributes
    ----------
    rounds
        How many were done.
    labels
        (n,) group of each particle.
    count
        How many groups; 0 before the first round.
    lowest
        Index of the best round of those that compare.
    points
        (n, c) components of the first round, if these judge.
    settled
        Whether the last round changed next to nothing.
    """

    def __init__(self, *, untrained: bool) -> None:
        self._untrained = untrained
        self.rounds, self.count, self.lowest, self.settled = 0, 0, math.inf, False
        self.labels: Labels = np.empty(0, dtype=np.int64)
        self.points: Floats = np.empty((0, 0))

    @property
    def refines(self) -> bool:
        """Whether there are groups already of features that meant something from the start."""
        return self.rounds > 0 and not self._untrained

    def take(self, labels: Labels, count: int, index: float, *, settled: bool) -> None:
        """Take in a round."""
        self.labels, self.count, self.settled = labels, count, settled
        if self.rounds > 0 or not self._untrained:
            self.lowest = min(self.lowest, index)
        self.rounds += 1

    def state_dict(self) -> dict[str, Any]:
        """Hand it out."""
        return {
            "rounds": self.rounds,
            "labels": torch.from_numpy(self.labels),
            "count": self.count,
            "lowest": self.lowest,
            "settled": self.settled,
            "points": torch.from_numpy(self.points),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Be as when `state_dict` was called."""
        self.labels, self.points = (state_dict[name].numpy() for name in ("labels", "points"))
        self.rounds, self.count, self.lowest, self.settled = (
            state_dict[name] for name in ("rounds", "count", "lowest", "settled")
        )


def best_mixture(points: Floats, params: DiscaParams, last: Grouping) -> Job[Mixture]:
    """Fit mixtures of each number of groups, and choose one.

    Parameters
    ----------
    points
        (n, c) principal components of the features.
    params
        Which numbers are tried, how often, and how one is chosen.
    last
        The groups of the last round, from which one mixture of as many begins.
    """
    fit = partial(
        fit_mixture,
        points,
        seed=params.seed + last.rounds,
        regularisation=params.regularisation,
        covariance=params.covariance,
    )
    fits = []
    # Begun with an embedding, the first round is as good a guess as fresh starts ever make.
    candidates = (last.count,) if last.refines else params.clusters
    for tried, groups in enumerate(candidates):
        yield Progress("trying numbers of groups", tried, len(candidates))
        if groups == last.count:
            fits.append(fit(groups, previous=last.labels))
        if not last.refines:
            fits.append(fit(groups, restarts=params.restarts))
    alone = fit(1, restarts=1).bic if params.tolerance and len(fits) > 1 else 0.0
    return simplest(fits, alone, params.tolerance)
