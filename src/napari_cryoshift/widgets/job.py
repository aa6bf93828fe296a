"""Long work in the window: a job of the engine, run by a worker thread of napari."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QPushButton, QWidget
from superqt import QElidingLabel

from napari_cryoshift.core.progress import Job, Pace, Progress

_LOG = logging.getLogger(__name__)
_INTERVAL = 0.1
"""Seconds between two reports to the window; the eye needs no more than ten a second."""

T = TypeVar("T")


class JobError(Exception):
    """What went wrong in a job, in one sentence.

    Workers of napari swallow a `RuntimeError`, and torch reports a lack of memory or a wrong shape
    with one; so every error of a job is raised again as this.
    """


class Running(QObject):
    """A job that is running, seen from the window.

    Attributes
    ----------
    title
        What it does.
    latest
        The last progress that was reported, or None.
    seconds_left
        Estimate for the present phase, or None while nobody can say.
    stopped
        A person stopped it.
    failure
        What went wrong, or "".

    Signals
    -------
    progressed
        A list of every `Progress` since the last report; at most ten times a second.
    done
        The result of the job.
    failed
        The sentence that says what went wrong.
    ended
        The job is over, whichever way; it comes last.
    """

    progressed = Signal(list)
    done = Signal(object)
    failed = Signal(str)
    ended = Signal()

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.latest: Progress | None = None
        self.seconds_left: float | None = None
        self.stopped = False
        self.failure = ""
        self._pace = Pace()
        self._worker: GeneratorWorker | None = None

    def stop(self) -> None:
        """Ask the job to stop; it does so at its next yield, and `ended` follows."""
        self.stopped = True
        if self._worker is not None:
            self._worker.quit()

    def _fail(self, text: str) -> None:
        self.failure = text
        self.failed.emit(text)

    def _follow(self, batch: list[Progress]) -> None:
        self.latest = batch[-1]
        self.seconds_left = self._pace.seconds_left(self.latest, time.monotonic())
        self.progressed.emit(batch)


def start(
    job: Job[T],
    title: str,
    *,
    done: Callable[[T], None] | None = None,
    failed: Callable[[str], None] | None = None,
) -> Running:
    """Run a job in a worker thread.

    Parameters
    ----------
    job
        The job. It is closed in every case, so its ``finally`` runs when it is stopped.
    title
        What it does, for the bar and napari's list of tasks.
    done, failed
        Called in the main thread with the result, or with a sentence that says what went wrong.

    Returns
    -------
    Running
        To follow and to stop it.
    """
    running = Running(title)
    if done is not None:
        running.done.connect(done)
    if failed is not None:
        running.failed.connect(failed)

    def stopping() -> bool:
        return running.stopped or (
            running._worker is not None and bool(running._worker.abort_requested)
        )

    def report() -> Generator[list[Progress], None, list[T]]:
        return (yield from _in_reports(job, stopping))

    def end() -> None:
        job.close()
        running._worker = None
        running.ended.emit()

    worker = create_worker(report, _start_thread=False, _ignore_errors=True)
    running._worker = worker
    worker.yielded.connect(running._follow)
    worker.returned.connect(lambda result: [running.done.emit(value) for value in result])
    worker.errored.connect(lambda error: running._fail(str(error)))
    worker.finished.connect(end)
    worker.start()
    return running


def _in_reports(
    job: Job[T], stopping: Callable[[], bool]
) -> Generator[list[Progress], None, list[T]]:
    """Yield the progress of a job in batches; return its result in a list, empty if stopped."""
    batch: list[Progress] = []
    reported = -_INTERVAL
    try:
        while not stopping():
            try:
                batch.append(next(job))
            except StopIteration as end:
                if batch:
                    yield batch
                return [end.value]
            if time.monotonic() - reported >= _INTERVAL:
                yield batch
                batch, reported = [], time.monotonic()
        return []
    except Exception as error:
        if not isinstance(error, ValueError):  # which is about a person's input
            _LOG.exception("a job of the window failed")
        raise JobError(sentence(error)) from error
    finally:
        job.close()


def sentence(error: BaseException) -> str:
    """Say an error in one line; what is not a message for people also names its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def duration(seconds: float) -> str:
    """Say a time as a person would: "8 s", "about 3 min", "about 2 h"."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    if seconds < 3600:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


class JobBar(QWidget):
    """What is running, how far it is, how long it will take, and a button to stop it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._running: Running | None = None
        self._phase = QElidingLabel("")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(14)
        self._left = QLabel("")
        self._stop = QPushButton("Stop")
        self._stop.setToolTip("Stop after the present step")
        self._stop.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._stop.clicked.connect(self._on_stop)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(0, 1)
        grid.addWidget(self._phase, 0, 0)
        grid.addWidget(self._left, 0, 1)
        grid.addWidget(self._bar, 1, 0)
        grid.addWidget(self._stop, 1, 1)
        policy = self.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # so that nothing jumps when a job starts
        self.setSizePolicy(policy)
        self.hide()

    def follow(self, running: Running | None) -> None:
        """Show this job until it ends, or nothing."""
        if running is self._running:
            return
        self._running = running
        self.setVisible(running is not None)
        if running is None:
            return
        self._phase.setText(running.title)
        self._left.setText("")
        self._bar.setRange(0, 0)
        self._stop.setEnabled(True)
        running.progressed.connect(self._update)
        running.ended.connect(self._on_end)

    def _update(self, batch: list[Progress]) -> None:
        running = self._running
        if running is None:
            return
        latest = batch[-1]
        self._phase.setText(latest.phase)
        self._bar.setRange(0, latest.total)
        self._bar.setValue(latest.step)
        left = running.seconds_left
        self._left.setText("" if left is None else f"{duration(left)} left")

    def _on_stop(self, *_: Any) -> None:
        if self._running is not None:
            self._stop.setEnabled(False)
            self._left.setText("stopping …")
            self._running.stop()

    def _on_end(self) -> None:
        self.follow(None)
