"""Three sections through the current particle, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from napari_cryoshift.core.types import Tomogram

from .pictures import box_at, limits, pixmap, sections

SIDE = 108
"""Pixels: three of them and their gaps fit into the narrowest panel."""


class _Section(QWidget):
    """One section, with its name and the circle of the particle."""

    def __init__(self, name: str, side: int) -> None:
        super().__init__()
        self._name = name
        self._picture: QPixmap | None = None
        self._circle = 0.0
        self._colour = QColor("white")
        self.setFixedSize(side, side)

    def show_picture(self, picture: QPixmap | None, circle: float, colour: str) -> None:
        self._picture, self._circle, self._colour = picture, circle, QColor(colour)
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._picture is None:
            painter.fillRect(self.rect(), self.palette().base())
        else:
            painter.drawPixmap(self.rect(), self._picture)
        if self._picture is not None and self._circle:
            painter.setPen(QPen(self._colour, 1.5))
            middle = self.width() / 2
            radius = self._circle * middle
            painter.drawEllipse(QPointF(middle, middle), radius, radius)
        for colour, by in (("black", 1), ("white", 0)):  # a shadow, for light pictures
            painter.setPen(QColor(colour))
            place = self.rect().adjusted(4 + by, 2 + by, 0, 0)
            painter.drawText(place, Qt.AlignmentFlag.AlignTop, self._name)


class Slices(QWidget):
    """The xy, xz and yz sections of a box around a particle.

    Parameters
    ----------
    names
        What to write on them.
    side
        Of each, pixels.
    """

    def __init__(self, names: Sequence[str] = ("xy", "xz", "yz"), side: int = SIDE) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._views = [_Section(name, side) for name in names]
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for view in self._views:
            row.addWidget(view)
        row.addStretch(1)

    def clear(self) -> None:
        """Show that there is no current particle."""
        for view in self._views:
            view.show_picture(None, 0.0, "white")

    def show_particle(
        self, tomogram: Tomogram, position: np.ndarray, diameter: float, colour: str
    ) -> None:
        """Show the sections at a position.

        Parameters
        ----------
        tomogram
            Where to look.
        position
            (3,) zyx voxels.
        diameter
            Å; the box is twice as wide.
        colour
            "#rrggbb" of the circle.
        """
        side = max(round(2 * diameter / tomogram.voxel_size), 8)
        self._show(box_at(tomogram, position, side), 0.5, colour)

    def show_box(self, box: np.ndarray) -> None:
        """Show the middle sections of a volume (d, d, d), without a circle."""
        self._show(box, 0.0, "white")

    def _show(self, box: np.ndarray, circle: float, colour: str) -> None:
        cuts = sections(box)
        grey = limits(np.stack(cuts))
        for view, cut in zip(self._views, cuts, strict=True):
            view.show_picture(pixmap(cut, 2 * view.width(), grey=grey), circle, colour)
