"""Live curves of a training, one a figure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyqtgraph as pg

from napari_cryoshift.core.progress import Progress

from .plots import plain_plot

_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00")
_SMOOTH = 30
"""Steps over which a curve is averaged: single training steps scatter."""


class Curves(pg.PlotWidget):
    """Every figure that a job reports, against its steps."""

    def __init__(self) -> None:
        super().__init__(background=None)
        plain_plot(self, "training step", "")
        self.setFixedHeight(150)
        self._legend = self.addLegend(offset=(-5, 5), labelTextSize="8pt")
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.clear()
        self._steps: dict[str, list[int]] = {}
        self._values: dict[str, list[float]] = {}
        self._lines: dict[str, pg.PlotDataItem] = {}

    def add(self, batch: Iterable[Progress]) -> None:
        """Append what was reported."""
        for progress in batch:
            for name, value in progress.metrics.items():
                self._steps.setdefault(name, []).append(progress.step)
                self._values.setdefault(name, []).append(float(value))
        for name, values in self._values.items():
            if name not in self._lines:
                pen = pg.mkPen(_COLOURS[len(self._lines) % len(_COLOURS)], width=2)
                self._lines[name] = self.plot(pen=pen, name=name)
            self._lines[name].setData(self._steps[name], _running_mean(np.array(values)))

    @property
    def latest(self) -> dict[str, float]:
        """The last value of every curve."""
        return {name: values[-1] for name, values in self._values.items()}


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Average each value with up to `_SMOOTH` - 1 values before it."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - _SMOOTH, 0)
    mean: np.ndarray = (total[ends] - total[starts]) / (ends - starts)
    return mean
