"""What a person sees in the terminal while a command works, and when it cannot."""

from __future__ import annotations

import math
import shutil
import time
from typing import TextIO

from napari_cryoshift.core.progress import Pace, Progress

_EVERY_LIVE = 0.1
_EVERY_PLAIN = 10.0
"""Seconds between two reports: on a terminal, and in a file."""


class ProgressLine:
    """How far the work has come: one line that is written over, or plain lines into a file.

    Parameters
    ----------
    stream
        Where to; a terminal or a file.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._phase = ""
        self._pace = Pace()
        self._shown = -math.inf

    def show(self, progress: Progress) -> None:
        """Say how far it is, unless that was said a moment ago."""
        now = time.monotonic()
        left = self._pace.seconds_left(progress, now)
        if progress.phase != self._phase:
            self.end()
            self._phase = progress.phase
            self._shown = -math.inf
        due = now - self._shown >= (_EVERY_LIVE if self._live else _EVERY_PLAIN)
        if not due and progress.step != progress.total:
            return
        self._shown = now
        text = describe(progress, left)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{text[:width]}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line as it is and go to the next."""
        if self._live and self._phase:
            self._stream.write("\n")
            self._stream.flush()
        self._phase = ""


def describe(progress: Progress, seconds_left: float | None = None) -> str:
    """Say in one line how far a job is: phase, step, time left and figures."""
    of = f"/{progress.total}" if progress.total else ""
    parts = [f"{progress.phase} {progress.step}{of}"]
    if seconds_left is not None:
        parts.append(f"{_duration(seconds_left)} left")
    parts += [f"{name} {value:.3g}" for name, value in progress.metrics.items()]
    return " · ".join(parts)


def sentence(error: ValueError | OSError) -> str:
    """Say in one line what was wrong."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        return f"{field}: {message} (it is {first['input']})" if field else message
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
