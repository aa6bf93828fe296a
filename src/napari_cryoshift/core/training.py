"""The only training loop, and the batches that go into it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .devices import half_precision, keep_freed_memory
from .progress import Job, Progress

Batch = TypeVar("Batch")


class DivergedError(ValueError):
    """A loss is no longer a finite number; the weights of the last good step are kept."""


def optimise(
    parameters: Iterable[torch.nn.Parameter],
    batches: Iterable[Batch],
    loss: Callable[[Batch], Mapping[str, Tensor]],
    *,
    phase: str,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    report_every: int = 10,
) -> Job[None]:
    """Take one optimiser step a batch and report after each.

    AdamW with a learning rate that falls to zero along half a cosine over ``steps``. The forward
    pass runs in bfloat16 where the hardware has it.

    Parameters
    ----------
    parameters
        What is trained.
    batches
        Batches; the loop ends with them or after ``steps``.
    loss
        Batch → named scalar terms. The term ``"loss"`` is minimised; the others are reported.
    phase
        Name of this stage, for the progress report.
    steps
        Batches in all.
    learning_rate, weight_decay
        Of AdamW at its start.
    report_every
        Metrics are read back from the device once in so many steps.

    Raises
    ------
    DivergedError
        If the loss is not finite; the step is not taken.
    """
    keep_freed_memory()
    trained = [p for p in parameters if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)
    device = trained[0].device
    metrics: dict[str, float] = {}
    for step, batch in zip(range(steps), batches, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
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
        if step % report_every == 0 or step + 1 == steps:
            metrics = {name: float(term.detach()) for name, term in terms.items()}
        yield Progress(phase, step + 1, steps, metrics)


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
