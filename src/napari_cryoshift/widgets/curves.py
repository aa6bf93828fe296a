"""Live curves of a training, one a figure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cryoshift.core.colours import PALETTE
from napari_cryoshift.core.progress import Progress

from .panel import wrapped
from .plots import plain_plot
from .style import GREY

_SMOOTH = 30
"""Steps over which a curve is averaged: single training steps scatter."""


class Curves(QWidget):
    """Every figure that a job reports, against its steps.

    Accuracies, from 0 to 1, have a plot of their own; what the colours mean stands below both.
    Where a stage begins there is a numbered line.

    Attributes
    ----------
    latest
        The figures that were reported last.
    """

    def __init__(self) -> None:
        super().__init__()
        self._losses, self._accuracies = (pg.PlotWidget(background=None) for _ in range(2))
        plain_plot(self._losses, "", "loss")
        plain_plot(self._accuracies, "training step", "accuracy")
        self._accuracies.setYRange(0, 1)
        self._accuracies.setXLink(self._losses)
        self._legend, self._stages = wrapped(""), wrapped("")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for plot in (self._losses, self._accuracies):
            plot.setFixedHeight(120 if plot is self._losses else 150)  # the name of the steps
            plot.getAxis("left").setWidth(45)  # so that the steps stand below each other
            column.addWidget(plot)
        column.addWidget(self._stages)
        column.addWidget(self._legend)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._losses.clear()
        self._accuracies.clear()
        self._legend.setText("")
        self.latest: dict[str, float] = {}
        self._stages.setText("")
        self._phase, self._phases = "", list[str]()
        self._before = self._step = 0  # steps of the phases before; steps in all
        self._steps: dict[str, list[int]] = {}
        self._values: dict[str, list[float]] = {}
        self._lines: dict[str, pg.PlotDataItem] = {}

    def add(self, batch: Iterable[Progress]) -> None:
        """Append what was reported."""
        for progress in batch:
            if progress.metrics:
                self._append(progress)
        for name, values in self._values.items():
            if len(values) > 1:  # a single figure is no curve
                steps = np.array(self._steps[name])
                self._line(name).setData(steps, _running_mean(steps, np.array(values)))
        self._legend.setText(
            " &nbsp; ".join(
                f'<span style="color: {line.opts["pen"].color().name()}">■</span>&nbsp;'
                f"{name.replace(' ', '&nbsp;')}&nbsp;{self._values[name][-1]:.2f}"
                for name, line in self._lines.items()
            )
        )

    def _append(self, progress: Progress) -> None:
        if progress.phase != self._phase:  # each phase counts its steps from 0
            self._phase, self._before = progress.phase, self._step
            if self._phase not in self._phases:  # some stages take turns
                self._begin_stage()
        self._step = self._before + progress.step
        self.latest = {name: float(value) for name, value in progress.metrics.items()}
        parts = any(name.endswith(" loss") for name in progress.metrics)
        for name, value in self.latest.items():
            if name == "loss" and parts:
                continue  # a weighted sum, which would make its parts flat
            self._steps.setdefault(name, []).append(self._step)
            self._values.setdefault(name, []).append(value)

    def _begin_stage(self) -> None:
        self._phases.append(self._phase)
        number = len(self._phases)
        for plot in (self._losses, self._accuracies):
            place = {"position": 0.9, "color": GREY}
            pen = pg.mkPen(GREY, style=Qt.PenStyle.DashLine)
            plot.addItem(pg.InfiniteLine(self._before, pen=pen, label=f"{number}", labelOpts=place))
        named = (f"{i} {phase}" for i, phase in enumerate(self._phases, start=1))
        self._stages.setText(" · ".join(named))
        self._stages.setVisible(number > 1)

    def _line(self, name: str) -> pg.PlotDataItem:
        if name not in self._lines:
            plot = self._accuracies if name.endswith("accuracy") else self._losses
            pen = pg.mkPen(PALETTE[len(self._lines) % len(PALETTE)], width=2)
            self._lines[name] = plot.plot(pen=pen)
        return self._lines[name]


def _running_mean(
    steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Average each value with those of up to `_SMOOTH` - 1 steps before it."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.minimum(np.searchsorted(steps, steps - _SMOOTH, side="right"), ends - 1)
    mean: npt.NDArray[np.float64] = (total[ends] - total[starts]) / (ends - starts)
    return mean
