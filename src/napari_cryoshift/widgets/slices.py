"""Three sections through the current particle, side by side."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from napari_cryoshift.core.types import Tomogram

from .pictures import box_at, limits, pixmap, sections

_SIDE = 108
"""Pixels: three of them and their gaps fit into the narrowest panel."""


class _Section(QWidget):
    """One section, with its name and the circle of the particle."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._picture: QPixmap | None = None
        self._circle = 0.0
        self._colour = QColor("white")
        self.setFixedSize(_SIDE, _SIDE)

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
            painter.setPen(QPen(self._colour, 1.5))
            radius = self._circle * _SIDE / 2
            painter.drawEllipse(QPointF(_SIDE / 2, _SIDE / 2), radius, radius)
        painter.setPen(QColor("white"))
        painter.drawText(self.rect().adjusted(4, 2, 0, 0), Qt.AlignmentFlag.AlignTop, self._name)


class Slices(QWidget):
    """The xy, xz and yz sections of a box around a particle."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._views = [_Section(name) for name in ("xy", "xz", "yz")]
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
        box = box_at(tomogram, position, side)
        cuts = sections(box)
        grey = limits(np.stack(cuts))
        for view, cut in zip(self._views, cuts, strict=True):
            view.show_picture(pixmap(cut, 2 * _SIDE, grey=grey), 0.5, colour)
