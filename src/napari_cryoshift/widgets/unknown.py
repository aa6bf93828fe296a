"""How sure a prediction has to be: a threshold to move, and what it is expected to do."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from napari_cryoshift.core.calibration import Kept, kept
from napari_cryoshift.core.open_set import guesses
from napari_cryoshift.core.types import OTHER, Particles

from .panel import Folded, wrapped
from .plots import plain_plot
from .predictions import Judged

_PRECISION, _SHARE = "#009e73", "#56b4e9"
_STEPS = np.arange(100)
"""Thresholds, per cent."""


class SureEnough(QWidget):
    """A slider, a sentence on what it does, and precision and share kept for all its places.

    Signals
    -------
    moved
        The threshold that was chosen, 0 to 1.
    """

    moved = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self._judged: Judged | None = None
        self._particles = Particles.at(np.empty((0, 3)))
        self._slider = QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, int(_STEPS[-1]))
        self._slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._slider.setToolTip(
            "How sure a prediction has to be. What is less sure is unknown, and drawn grey: it may "
            "be of a kind that you have not named."
        )
        self._slider.valueChanged.connect(self._on_slider)
        self._slider.sliderReleased.connect(self._choose)
        self._percent = QLabel()
        self._percent.setMinimumWidth(self._percent.fontMetrics().horizontalAdvance("100 %"))
        row = QHBoxLayout()
        row.addWidget(QLabel("Unknown below"))
        row.addWidget(self._slider, 1)
        row.addWidget(self._percent)
        self._effect = wrapped("")
        self._effect.setMinimumHeight(3 * self._effect.fontMetrics().lineSpacing())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self._effect)
        column.addWidget(Folded("What other thresholds would do", self._make_plot(), _legend()))
        self._show_effect()

    def _make_plot(self) -> pg.PlotWidget:
        plot = pg.PlotWidget(background=None)
        plain_plot(plot, "unknown below, %", "share")
        plot.setFixedHeight(140)
        plot.setYRange(0, 1)
        plot.setXRange(0, 100)
        self._precision = plot.plot(pen=pg.mkPen(_PRECISION, width=2), connect="finite")
        self._share = plot.plot(pen=pg.mkPen(_SHARE, width=2))
        self._line = pg.InfiniteLine(pen=pg.mkPen("#e69f00", width=2))
        plot.addItem(self._line)
        return plot

    @property
    def threshold(self) -> float:
        """0 to 1."""
        return float(self._slider.value()) / 100

    def show_particles(self, particles: Particles, threshold: float) -> None:
        """Show what a threshold does to the particles; predictions may be withheld already."""
        self._particles = particles
        if not self._slider.isSliderDown():
            with QSignalBlocker(self._slider):
                self._slider.setValue(round(100 * threshold))
        self._show_effect()

    def show_judged(self, judged: Judged) -> None:
        """Take over how right predictions are, by labels that they were not made from."""
        self._judged = judged
        every = [self._expected(step / 100) for step in _STEPS]
        self._precision.setData(_STEPS, np.array([one.precision for one in every]))
        self._share.setData(_STEPS, np.array([one.share for one in every]))
        self._show_effect()

    def _on_slider(self) -> None:
        self._show_effect()
        if not self._slider.isSliderDown():
            self._choose()

    def _choose(self) -> None:
        self.moved.emit(self.threshold)

    def _expected(self, threshold: float) -> Kept:
        """Judge the names that would be given; "other" is none."""
        judged = self._judged
        if judged is None or len(judged.sure) != len(judged.answers):
            return Kept(0, 0, 0)
        named = judged.answers != OTHER
        right = judged.answers == judged.labels
        return kept(judged.sure[named], right[named], threshold)

    def _show_effect(self) -> None:
        self._percent.setText(f"{self._slider.value()} %")
        self._line.setValue(self._slider.value())
        table = self._particles
        guess = guesses(table)
        named = (guess != "") & (guess != OTHER)
        sure = named & (table.confidence >= self.threshold)
        count = f"{int(sure.sum()):,} of {int(named.sum()):,} particles keep their kind"
        expected = self._expected(self.threshold)
        if not named.any():
            text = "Predictions that are less sure than this will be left out."
        elif not expected.count:
            text = f"{count}. How many of them are right comes with more labels."
        else:
            low, high = expected.interval
            text = (
                f"{count}. Of these, {expected.precision:.2f} ({low:.2f} to {high:.2f}) should be "
                f"right: {expected.count} of {expected.of} labels {_how(self._judged)} keep theirs."
            )
        self._effect.setText(text)


def _how(judged: Judged | None) -> str:
    return "" if judged is None else judged.how


def _legend() -> QLabel:
    return wrapped(
        f'<span style="color: {_PRECISION}">■</span> right among those kept &nbsp; '
        f'<span style="color: {_SHARE}">■</span> kept, both by your labels'
    )
