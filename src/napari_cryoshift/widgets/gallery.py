"""A gallery of particles: pictures side by side, each with a frame in the colour of its class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qtpy.QtCore import QItemSelectionModel, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem

PICTURE = 68
"""Pixels; four fit into a row of a panel of 360, more if it is wider."""

_ID = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class Tile:
    """One picture.

    Attributes
    ----------
    id
        Of the particle.
    colour
        "#rrggbb" of its class.
    labelled
        A person said so: the frame is thick; else it is thin.
    text
        Below the picture.
    tip
        All that is known, for the mouse.
    """

    id: int
    colour: str
    labelled: bool
    text: str
    tip: str


class Gallery(QListWidget):
    """Pictures of particles; several can be chosen, with Shift for a range.

    Signals
    -------
    current_changed
        The id of the particle that the keyboard is at.
    """

    current_changed = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListWidget.ViewMode.IconMode)
        self.setMovement(QListWidget.Movement.Static)
        self.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(PICTURE, PICTURE))
        self.setGridSize(QSize(PICTURE + 8, PICTURE + 24))
        self._pictures: dict[int, QPixmap] = {}
        self.currentItemChanged.connect(
            lambda item, _: item is not None and self.current_changed.emit(item.data(_ID))
        )

    @property
    def ids(self) -> list[int]:
        """Ids on show, in order."""
        return [int(self.item(row).data(_ID)) for row in range(self.count())]

    def chosen(self) -> list[int]:
        """Return the ids that are selected."""
        return [int(item.data(_ID)) for item in self.selectedItems()]

    def show_tiles(self, tiles: Sequence[Tile], picture: Callable[[int], QPixmap]) -> None:
        """Show these particles; pictures that were drawn before are used again."""
        if [tile.id for tile in tiles] != self.ids:
            self.blockSignals(True)
            self.clear()
            self._pictures = {
                tile.id: self._pictures.get(tile.id) or picture(tile.id) for tile in tiles
            }
            for _ in tiles:
                self.addItem(QListWidgetItem())
            self.blockSignals(False)
        for row, tile in enumerate(tiles):
            item = self.item(row)
            item.setData(_ID, tile.id)
            item.setText(tile.text)
            item.setToolTip(tile.tip)
            item.setIcon(QIcon(_framed(self._pictures[tile.id], tile)))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: D102
        super().paintEvent(event)
        if not self.count():
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().text().color())
            painter.drawText(self.viewport().rect(), Qt.AlignmentFlag.AlignCenter, "nothing here")

    def advance(self) -> None:
        """Choose the picture after the last that is chosen."""
        rows = [self.row(item) for item in self.selectedItems()]
        following = max(rows, default=-1) + 1
        if following < self.count():
            self.setCurrentRow(following, QItemSelectionModel.SelectionFlag.ClearAndSelect)


def _framed(picture: QPixmap, tile: Tile) -> QPixmap:
    framed = QPixmap(picture)
    painter = QPainter(framed)
    width = 8 if tile.labelled else 3
    painter.setPen(QPen(QColor(tile.colour), width))
    painter.drawRect(framed.rect().adjusted(1, 1, -2, -2))
    painter.end()
    return framed
