"""What follows every change of a form: made anew in a worker, and the newest wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_cryoshift.core.progress import Job

from .job import Running, sentence, start

_PAUSE = 100
"""Milliseconds without a change before it is made: nobody waits, and no half-typed value counts."""


class Live(QObject):
    """Something that is made anew a moment after the last change.

    Signals
    -------
    made
        The newest result.
    failed
        The sentence that says why there is none.
    busy
        Whether something is being made.

    Parameters
    ----------
    job
        Called in the main thread for the job that makes it, from what holds then; it may raise
        ValueError.
    title
        What the job does.
    parent
        Lives as long.
    """

    made = Signal(object)
    failed = Signal(str)
    busy = Signal(bool)

    def __init__(self, job: Callable[[], Job[Any]], title: str, parent: QObject) -> None:
        super().__init__(parent)
        self._job, self._title = job, title
        self._running: Running | None = None
        self._stale = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self._start)

    def renew(self) -> None:
        """Make it anew, soon; what is being made now is given up."""
        self._timer.start()
        self._give_up()

    def rest(self) -> None:
        """Make nothing until the next change."""
        self._timer.stop()
        self._give_up()

    def _give_up(self) -> None:
        if self._running is not None:
            self._stale = True
            self._running.stop()

    def _start(self) -> None:
        if self._running is not None:
            self._timer.start()  # it ends at its next step
            return
        try:
            job = self._job()
        except ValueError as error:
            self.failed.emit(sentence(error))
            return
        self._stale = False
        self._running = start(job, self._title, done=self._take, failed=self._fail)
        self._running.ended.connect(self._end)
        self.busy.emit(True)

    def _take(self, result: Any) -> None:
        if not self._stale:
            self.made.emit(result)

    def _fail(self, text: str) -> None:
        if not self._stale:
            self.failed.emit(text)

    def _end(self) -> None:
        self._running = None
        self.busy.emit(False)
