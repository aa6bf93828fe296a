"""Long work is a generator: each yield is the progress report and the place to pause or cancel."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """How far a job has come.

    Attributes
    ----------
    phase
        What is being done, in words a biologist knows ("picking", "embedding").
    step, total
        ``step`` of ``total`` steps of this phase are done; ``total`` is 0 where nobody can say.
    metrics
        Named figures of this step, e.g. loss terms; each is a curve in the window.
    """

    phase: str
    step: int
    total: int
    metrics: Mapping[str, float] = field(default_factory=dict)


Job: TypeAlias = Generator[Progress, None, T]
"""Long work that yields `Progress` and returns a ``T``; closing it cancels it."""


def finish(job: Job[T], report: Callable[[Progress], None] = lambda _: None) -> T:
    """Run a job to its end and return its result.

    Parameters
    ----------
    job
        The job; its exceptions pass through.
    report
        Called with each `Progress`; an exception that it raises cancels the job.
    """
    with contextlib.closing(job):
        while True:
            try:
                progress = next(job)
            except StopIteration as end:
                result: T = end.value
                return result
            report(progress)
