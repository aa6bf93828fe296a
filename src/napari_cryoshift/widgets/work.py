"""One job at a time: what a person starts goes before what runs in the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from psygnal import Signal

from napari_cryoshift.core.progress import Job, Progress

from .job import Running, start

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Order:
    job: Job[Any]
    title: str
    done: Callable[[Any], None]
    follow: Callable[[list[Progress]], None] | None
    background: bool


class Work:
    """The long work of one session.

    Signals
    -------
    changed
        A job was started, or it is over.
    failed
        The sentence that says what went wrong.
    finished
        A job came to its end by itself, and none waits.
    """

    changed = Signal()
    failed = Signal(str)
    finished = Signal()

    def __init__(self) -> None:
        self.job: Running | None = None
        self._order: _Order | None = None
        self._waiting: _Order | None = None

    @property
    def in_foreground(self) -> bool:
        """Whether a job runs that a person started."""
        return self._order is not None and not self._order.background

    def run(
        self,
        job: Job[T],
        title: str,
        *,
        done: Callable[[T], None],
        follow: Callable[[list[Progress]], None] | None = None,
        background: bool = False,
    ) -> None:
        """Run a job; one in the background makes way for one that a person started.

        Parameters
        ----------
        job
            The job.
        title
            What it does.
        done
            Called with its result.
        follow
            Called with the progress since the last call, at most ten times a second.
        background
            Nobody waits for it.

        Raises
        ------
        ValueError
            If a job that a person started is still running.
        """
        order = _Order(job, title, done, follow, background)
        first = self._waiting or self._order
        if first is None:
            self._start(order)
        elif background or not first.background:
            raise ValueError(f"{first.title} is still running; wait for it or stop it first")
        elif self.job is not None:
            self._waiting = order
            self.job.stop()

    def stop(self) -> None:
        """Stop what runs; what waits is not started."""
        self._waiting = None
        if self.job is not None:
            self.job.stop()

    def _start(self, order: _Order) -> None:
        self._order = order
        self.job = start(order.job, order.title, done=order.done, failed=self.failed.emit)
        if order.follow is not None:
            self.job.progressed.connect(order.follow)
        self.job.ended.connect(self._on_end)
        self.changed.emit()

    def _on_end(self) -> None:
        ended, self.job, self._order = self.job, None, None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._start(waiting)
            return
        self.changed.emit()
        if ended is not None and not ended.stopped and not ended.failure:
            self.finished.emit()
