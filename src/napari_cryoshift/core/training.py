"""The only training loop, and the batches that go into it."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .devices import half_precision, keep_freed_memory
from .progress import Job, Progress
from .resume import Bookmark, Stateful

Batch = TypeVar("Batch")
Drawn = TypeVar("Drawn")


class DivergedError(ValueError):
    """A loss is no longer a finite number; the weights of the last good step are kept."""


def optimise(
    parameters: Iterable[torch.nn.Parameter],
    batches: Iterable[Drawn],
    loss: Callable[[Batch], Mapping[str, Tensor]],
    *,
    phase: str,
    steps: int,
    learning_rate: float,
    read: Callable[[Drawn], Batch] | None = None,
    weight_decay: float = 0.0,
    report_every: int = 10,
    bookmark: Bookmark | None = None,
    parts: Mapping[str, Stateful] | None = None,
) -> Job[None]:
    """Take one optimiser step a batch and report after each.

    AdamW with a learning rate that falls to zero along half a cosine over ``steps``. The forward
    pass runs in bfloat16 where the hardware has it.

    Parameters
    ----------
    parameters
        What is trained.
    batches
        Batches; the loop ends with them or after ``steps``. A resumed run skips those that it has
        had, so they should be cheap to draw: indices, which ``read`` or ``loss`` reads the
        volumes of.
    loss
        Batch as read → named scalar terms. The term ``"loss"`` is minimised; the others are
        reported.
    phase
        Name of this stage, for the progress report.
    steps
        Batches in all.
    learning_rate, weight_decay
        Of AdamW at its start.
    read
        Reads a batch that was drawn, while the step before is taken; None if there is nothing to
        read.
    report_every
        Metrics are read back from the device once in so many steps.
    bookmark
        Of the run that this is a stage of.
    parts
        By name, what is trained besides the model that the bookmark is of.

    Raises
    ------
    DivergedError
        If the loss is not finite; the step is not taken.
    """
    bookmark = bookmark or Bookmark()
    trained = [p for p in parameters if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    if bookmark.begin(**(parts or {}), optimiser=optimiser, schedule=schedule):
        left: Iterable[Any] = itertools.islice(batches, bookmark.step, steps)
        yield from descend(
            optimiser,
            left if read is None else read_ahead(left, read),
            loss,
            phase=phase,
            steps=steps,
            bookmark=bookmark,
            schedule=schedule,
            report_every=report_every,
        )


def descend(
    optimiser: torch.optim.Optimizer,
    batches: Iterable[Batch],
    loss: Callable[[Batch], Mapping[str, Tensor]],
    *,
    phase: str,
    steps: int,
    bookmark: Bookmark,
    until: int | None = None,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    report_every: int = 10,
) -> Job[None]:
    """Go on with a stage that the caller has begun, with an optimiser of its own.

    For what `optimise` cannot say: several learning rates, or something to be done after an epoch.

    Parameters
    ----------
    optimiser, schedule
        Steps are taken of both after each batch.
    batches, loss, phase, report_every
        As in `optimise`; the batches are those that are left.
    steps
        Batches of the whole stage.
    bookmark
        Knows how many of them are done; the stage was begun with its `Bookmark.begin`.
    until
        Stop when so many are done; None stands for all.

    Raises
    ------
    DivergedError
        If the loss is not finite; the step is not taken.
    """
    keep_freed_memory()
    device = optimiser.param_groups[0]["params"][0].device
    metrics: dict[str, float] = {}
    left = range(bookmark.step, steps if until is None else until)
    for step, batch in zip(left, batches, strict=False):
        with half_precision(device):
            terms = loss(batch)
        if not torch.isfinite(terms["loss"]):
            raise DivergedError(
                f"the loss became {terms['loss'].item()} at step {step + 1} of {steps}; "
                "lower the learning rate or check the volumes for extreme values"
            )
        optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if schedule is not None:
            schedule.step()
        if step % report_every == 0 or step + 1 == steps:
            metrics = {name: float(term.detach()) for name, term in terms.items()}
        bookmark.step = step + 1
        yield Progress(phase, step + 1, steps, metrics)


def read_ahead(batches: Iterable[Drawn], read: Callable[[Drawn], Batch]) -> Iterator[Batch]:
    """Read each batch in a thread while the one before is in use.

    Parameters
    ----------
    batches
        What to read; drawn in the caller's thread.
    read
        Batch → what is in it.
    """
    with ThreadPoolExecutor(1, "read ahead") as pool:
        waiting: Future[Batch] | None = None
        for batch in batches:
            coming = pool.submit(read, batch)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw the random numbers of torch (weights, dropout) from a seed, and leave no trace of it."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


def shuffled(n: int, batch: int, generator: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Draw batches of indices below n without end; all come once before any comes again.

    Yields
    ------
    ndarray
        (batch,).

    Raises
    ------
    ValueError
        If there is nothing to draw from.
    """
    if n == 0:
        raise ValueError("there are 0 volumes to draw from; give at least one")
    drawn = np.empty(0, dtype=np.int64)
    while True:
        while len(drawn) < batch:
            drawn = np.concatenate([drawn, generator.permutation(n)])
        yield drawn[:batch]
        drawn = drawn[batch:]


def episodes(
    labels: npt.NDArray[np.int64],
    *,
    ways: int,
    shots: int,
    queries: int,
    generator: np.random.Generator,
) -> Iterator[npt.NDArray[np.int64]]:
    """Draw few-shot tasks without end (Vinyals et al. 2016).

    Parameters
    ----------
    labels
        (n,) class of each volume.
    ways, shots, queries
        Classes a task, support and query volumes a class.
    generator
        The source of randomness.

    Yields
    ------
    ndarray
        (ways, shots + queries) indices; within a row, one class and no index twice.

    Raises
    ------
    ValueError
        If there are too few classes, or too few volumes of one.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < ways:
        raise ValueError(
            f"{len(classes)} classes but {ways} ways a task; add classes or lower the ways"
        )
    if counts.min() < shots + queries:
        raise ValueError(
            f"class {classes[counts.argmin()]} has {counts.min()} volumes but a task takes "
            f"{shots + queries}; add volumes or lower shots and queries"
        )
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    while True:
        chosen = generator.choice(len(classes), ways, replace=False)
        yield np.stack(
            [generator.choice(members[c], shots + queries, replace=False) for c in chosen]
        )
