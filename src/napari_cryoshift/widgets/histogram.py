"""A histogram of picking scores with a threshold to drag."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from qtpy.QtCore import QSignalBlocker, Signal

from .plots import plain_plot

_BINS = 80
_REACH = 1.5
"""The axis ends at so many times the 98th percentile: a few gold beads would stretch it."""


class Histogram(pg.PlotWidget):
    """Scores of all candidates; what is right of the line is shown.

    Signals
    -------
    moved
        The threshold, while the line is dragged.
    settled
        The threshold, once it is let go.
    """

    moved = Signal(float)
    settled = Signal(float)

    def __init__(self) -> None:
        super().__init__(background=None)
        plain_plot(self, "score (standard deviations)", "particles")
        self.setToolTip("Contrast at the size of a particle. The last bar holds what is beyond.")
        self.setFixedHeight(150)
        self._bars = pg.BarGraphItem(x0=[], x1=[], height=[], brush="#56b4e9", pen=None)
        self._line = pg.InfiniteLine(
            movable=True, pen=pg.mkPen("#e69f00", width=2), hoverPen=pg.mkPen("#e69f00", width=4)
        )
        self._line.setCursor(pg.QtCore.Qt.CursorShape.SizeHorCursor)
        ticks = [(np.log10(count + 1), f"{count:,}") for count in (0, 1, 10, 100, 1000, 10_000)]
        self.getPlotItem().getAxis("left").setTicks([ticks])
        self.addItem(self._bars)
        self.addItem(self._line)
        self._line.sigPositionChanged.connect(lambda line: self.moved.emit(line.value()))
        self._line.sigPositionChangeFinished.connect(lambda line: self.settled.emit(line.value()))

    def show_scores(self, scores: npt.NDArray[np.float64]) -> None:
        """Show the distribution of (n,) scores."""
        finite = scores[np.isfinite(scores)]
        if not len(finite):
            self._bars.setOpts(x0=[], x1=[], height=[])
            return
        end = _REACH * np.percentile(finite, 98)
        counts, edges = np.histogram(np.minimum(finite, end) if end > 0 else finite, _BINS)
        # Counts are drawn as logarithms: background outnumbers particles by far.
        self._bars.setOpts(x0=edges[:-1], x1=edges[1:], height=np.log10(counts + 1))
        margin = 0.02 * (edges[-1] - edges[0])
        with QSignalBlocker(self._line):  # bounds move the line, and nobody did
            self._line.setBounds((edges[0], edges[-1]))
        self.setXRange(edges[0] - margin, edges[-1] + margin, padding=0)
        self.setYRange(0, 1.05 * np.log10(counts.max() + 1), padding=0)

    def set_threshold(self, threshold: float) -> None:
        """Move the line without a signal."""
        with QSignalBlocker(self._line):
            self._line.setValue(threshold)
