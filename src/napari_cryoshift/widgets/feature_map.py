"""Maps of features in the plane: a point a particle, beside each other to be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from .panel import wrapped
from .plots import plain_plot

_HEIGHT = 190
_SIZE = 4


@dataclass(frozen=True, eq=False)
class Dots:
    """How the points of a map look, one row each.

    Attributes
    ----------
    colours
        (n,) "#rrggbb".
    filled
        (n,) bool: a disc, or else a ring.
    ids
        (n,) of the particle that a point is; -1 where it is none that can be gone to.
    """

    colours: npt.NDArray[np.object_]
    filled: npt.NDArray[np.bool_]
    ids: npt.NDArray[np.int64]


class Map(pg.PlotWidget):
    """Points in the plane. The wheel zooms, dragging moves, a click says which point it was.

    Signals
    -------
    clicked
        The id of the particle.
    """

    clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__(background=None)
        plain_plot(self, "", "")
        self.setMouseEnabled(x=True, y=True)
        self.setAspectLocked(True)
        for side in ("bottom", "left"):  # the axes of t-SNE mean nothing
            self.hideAxis(side)
        self._dots = pg.ScatterPlotItem(size=_SIZE)
        self._dots.sigClicked.connect(self._on_click)
        self.addItem(self._dots)

    def show_points(self, points: npt.NDArray[np.float64], dots: Dots) -> None:
        """Show (n, 2) points."""
        brushes = {name: pg.mkBrush(name) for name in set(dots.colours)}
        pens, hollow = {name: pg.mkPen(name) for name in brushes}, pg.mkBrush(None)
        looks = zip(dots.colours, dots.filled, strict=True)
        self._dots.setData(
            pos=points,
            data=dots.ids,
            pen=[pens[name] for name in dots.colours],
            brush=[brushes[name] if filled else hollow for name, filled in looks],
        )

    def _on_click(self, _: object, hit: npt.NDArray[np.object_], *__: object) -> None:
        ids = [int(point.data()) for point in hit if point.data() >= 0]
        if ids:
            self.clicked.emit(ids[0])


class Maps(QWidget):
    """Maps of the same particles side by side, each with a line below it.

    Signals
    -------
    clicked
        The id of the particle whose point was clicked.
    """

    clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._maps: list[tuple[Map, npt.NDArray[np.float64]]] = []

    def show_maps(self, points: Mapping[str, npt.NDArray[np.float64]]) -> None:
        """Make room for maps of (n, 2) points, by the line below each; then `dress` draws them."""
        while (item := self._row.takeAt(0)) is not None:
            item.widget().deleteLater()
        self._maps = []
        for line, plane in points.items():
            shown, whole = Map(), QWidget()
            shown.setFixedHeight(_HEIGHT)
            shown.clicked.connect(self.clicked.emit)
            column = QVBoxLayout(whole)
            column.setContentsMargins(0, 0, 0, 0)
            column.addWidget(shown)
            column.addWidget(wrapped(line))
            column.addStretch(1)
            self._row.addWidget(whole)
            self._maps.append((shown, plane))

    def dress(self, dots: Dots) -> None:
        """Draw the points; where a person has zoomed to stays."""
        for shown, plane in self._maps:
            shown.show_points(plane, dots)
