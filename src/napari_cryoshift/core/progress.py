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


class Pace:
    """How fast a job goes, to say how long its present phase will take.

    What counts is what was done since the phase was first reported: one that goes on after a stop
    begins in its middle.
    """

    def __init__(self) -> None:
        self._phase = ""
        self._first = self._latest = 0
        self._began = 0.0

    def seconds_left(self, progress: Progress, now: float) -> float | None:
        """Take note of a report at ``now`` (seconds, of any clock) and estimate what is left.

        Returns
        -------
        float or None
            Seconds until the phase is over; None while nobody can say.
        """
        if progress.phase != self._phase or progress.step < self._latest:
            self._phase, self._first, self._began = progress.phase, progress.step, now
        self._latest = progress.step
        done, left = progress.step - self._first, progress.total - progress.step
        return (now - self._began) * left / done if done > 0 and left > 0 else None
