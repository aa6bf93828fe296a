"""The average of a cluster: what its members look like turned onto each other, and how sure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import pyqtgraph as pg
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cryoshift.core.averaging import Average, save_average
from napari_cryoshift.core.colours import PALETTE
from napari_cryoshift.core.grouping import average_group
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import Particles, Tomogram

from .panel import wrapped
from .plots import plain_plot
from .slices import Slices

_HEIGHT = 120


@dataclass(frozen=True, eq=False)
class Saved:
    """An average, of how many particles, and where it was written."""

    average: Average
    count: int
    file: Path


def averaging(
    tomogram: Tomogram, members: Particles, diameter: float, folder: Path, name: str
) -> Job[Saved]:
    """Average the first members of a cluster and save the mean in a folder.

    Raises
    ------
    ValueError
        If there are fewer than four.
    """
    average = yield from average_group(tomogram, members, diameter)
    folder.mkdir(parents=True, exist_ok=True)
    words = "-".join(re.findall(r"[\w.]+", f"{tomogram.name} {name}"))
    file = folder / f"{words}.mrc"
    save_average(file, average)
    return Saved(average, len(average.fit.score), file)


class AverageView(QWidget):
    """Three sections of an average, the correlation of its halves, and where it was written."""

    def __init__(self) -> None:
        super().__init__()
        self._slices = Slices()
        self._curve = pg.PlotWidget(background=None)
        plain_plot(self._curve, "spatial frequency, 1/Å", "FSC")
        self._curve.setFixedHeight(_HEIGHT)
        self._curve.setYRange(-0.1, 1)
        self._said = wrapped("")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self._slices, self._curve, self._said):
            column.addWidget(widget)
        self.show_average("", None)

    def show_average(self, name: str, saved: Saved | None) -> None:
        """Show the average of the cluster of this name, or nothing."""
        self.setVisible(saved is not None)
        if saved is None:
            return
        average = saved.average
        self._slices.show_box(average.mean)
        self._curve.clear()
        self._curve.plot(average.frequency, average.fsc, pen=pg.mkPen(PALETTE[1], width=2))
        self._curve.addItem(pg.InfiniteLine(0.143, angle=0, pen=pg.mkPen("#8c8c8c")))
        reached = average.resolution
        detail = f"{reached:.0f} Å" if math.isfinite(reached) else "no detail"
        self._said.setText(
            f"The average of {saved.count:,} members of {name}, protein bright: {detail} at an FSC "
            f"of 0.143 (the grey line). It is in {saved.file}, with the curve beside it."
        )
