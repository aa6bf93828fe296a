"""Training by epochs, of which the best is kept."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from .progress import Job, Progress
from .resume import Bookmark
from .training import descend

Batch = TypeVar("Batch")


class BestEpoch:
    """The weights of the best epoch so far, and a lower learning rate when none gets better.

    Parameters
    ----------
    kept
        Gets the weights of the best epoch, so that it is the best model at any time.
    trained
        A module of the same kind, which goes on being trained.
    optimiser
        Its first group of parameters has its rate lowered.
    patience
        Epochs in a row without a better one that are let pass.
    factor
        By which the rate is then multiplied.

    Attributes
    ----------
    epochs
        How many were judged.
    best
        How many of them until the best.
    """

    def __init__(
        self,
        kept: torch.nn.Module,
        trained: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        patience: int,
        factor: float,
    ) -> None:
        self._kept, self._trained, self._optimiser = kept, trained, optimiser
        self._patience, self._factor = patience, factor
        self.epochs, self.best, self._lowest, self._waited = 0, 0, math.inf, 0

    def judge(self, criterion: float) -> None:
        """Take in the criterion of an epoch that has ended; lower is better."""
        self.epochs += 1
        self._waited += 1
        if criterion < self._lowest:
            self.best, self._lowest, self._waited = self.epochs, criterion, 0
            self._kept.load_state_dict(self._trained.state_dict())
        elif self._waited > self._patience:
            self._optimiser.param_groups[0]["lr"] *= self._factor
            self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        """How far it is; the weights are in the modules."""
        return {
            "epochs": self.epochs,
            "best": self.best,
            "lowest": self._lowest,
            "waited": self._waited,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Be as when `state_dict` was called."""
        self.epochs, self.best, self._lowest, self._waited = (
            state_dict[name] for name in ("epochs", "best", "lowest", "waited")
        )


def epochs(
    optimiser: torch.optim.Optimizer,
    batches: Iterable[Batch],
    loss: Callable[[Batch], Mapping[str, Tensor]],
    *,
    phase: str,
    count: int,
    iterations: int,
    best: BestEpoch,
    criterion: Callable[[], Job[float]],
    bookmark: Bookmark,
    give_up: int | None = None,
) -> Job[None]:
    """Go on with a stage of epochs that the caller has begun, and keep the best of them.

    Parameters
    ----------
    optimiser, batches, loss, phase, bookmark
        As in `descend`.
    count
        Epochs of the stage.
    iterations
        Batches an epoch.
    best
        Has judged the epochs that are done.
    criterion
        Makes the job that says how good the model is now, lower is better; it changes nothing.
    give_up
        Epochs in a row without a better one after which it ends early; None goes through to the
        end.
    """
    batches, steps = iter(batches), count * iterations
    for epoch in range(best.epochs, count):
        if give_up is not None and best.epochs - best.best >= give_up:
            return
        yield from descend(
            optimiser,
            batches,
            loss,
            phase=phase,
            steps=steps,
            until=(epoch + 1) * iterations,
            bookmark=bookmark,
        )
        found = yield from criterion()
        best.judge(found)
        yield Progress(phase, bookmark.step, steps, {"criterion": found})
