"""The list of clusters: what each looks like, how large it is, how much its members differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import QItemSelectionModel, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_cryoshift.core.project import Cluster

PICTURE = 44
"""Pixels, of a mean in a row."""

_ROWS = 6
"""Seen without scrolling, at most."""
_ID = Qt.ItemDataRole.UserRole
_COLUMNS = {
    "Cluster": "What its members look like on average, as they lie. A double click renames it.",
    "Size": "How many particles are in it",
    "Spread": "How much the members differ; 1 is as much as all particles do",
}


@dataclass(frozen=True, eq=False)
class Row:
    """What is known of a cluster.

    Attributes
    ----------
    cluster
        Its id, name and colour.
    size
        Members.
    spread
        As `grouping.spreads` has it, or NaN.
    picture
        Section of its mean.
    """

    cluster: Cluster
    size: int
    spread: float
    picture: QPixmap


class ClusterList(QTreeWidget):
    """One row a cluster; several can be chosen, with Ctrl and Shift.

    Signals
    -------
    chosen
        Ids of the clusters that a person chose.
    renamed
        Id and new name.
    """

    chosen = Signal(list)
    renamed = Signal(int, str)

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderLabels(list(_COLUMNS))
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setIconSize(QSize(PICTURE, PICTURE))
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column, tip in enumerate(_COLUMNS.values()):
            self.headerItem().setToolTip(column, tip)
            if column:
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.itemChanged.connect(self._on_edit)
        self.itemSelectionChanged.connect(
            lambda: self.chosen.emit([item.data(0, _ID) for item in self.selectedItems()])
        )

    def show_rows(self, rows: Sequence[Row], chosen: Sequence[int]) -> None:
        """Show these clusters, some of them chosen."""
        with QSignalBlocker(self):
            if self.topLevelItemCount() != len(rows):
                self.clear()
                for _ in rows:
                    self.addTopLevelItem(QTreeWidgetItem())
            for item, row in zip(self._items(), rows, strict=True):
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
                item.setData(0, _ID, row.cluster.id)
                item.setText(0, row.cluster.name)
                item.setToolTip(0, row.cluster.name)
                item.setIcon(0, _icon(row.picture, row.cluster.color))
                item.setText(1, f"{row.size:,}")
                item.setText(2, "–" if math.isnan(row.spread) else f"{row.spread:.2f}")
                for column in (1, 2):
                    item.setTextAlignment(column, Qt.AlignmentFlag.AlignCenter)
        height = self.header().sizeHint().height()
        self.setFixedHeight(height + min(max(len(rows), 1), _ROWS) * (PICTURE + 4) + 4)
        self.show_chosen(chosen)

    def show_chosen(self, chosen: Sequence[int]) -> None:
        """Mark these clusters, and bring the first into view."""
        with QSignalBlocker(self):
            items = self._items()
            marked = [item for item in items if item.data(0, _ID) in chosen]
            for item in items:
                item.setSelected(item in marked)
            if marked:
                # Where the keyboard goes on from.
                self.setCurrentItem(marked[0], 0, QItemSelectionModel.SelectionFlag.NoUpdate)
                self.scrollToItem(marked[0])

    def _items(self) -> list[QTreeWidgetItem]:
        return [self.topLevelItem(row) for row in range(self.topLevelItemCount())]

    def _on_edit(self, item: QTreeWidgetItem, column: int) -> None:
        old, new = item.toolTip(0), item.text(0).strip()
        if column == 0 and new != old:
            with QSignalBlocker(self):
                item.setText(0, old)  # the list shows what the project has, and only that
            self.renamed.emit(item.data(0, _ID), new)


def _icon(picture: QPixmap, colour: str) -> QIcon:
    """Frame a picture in the colour of its cluster, chosen or not: Qt would tint what is chosen."""
    framed = QPixmap(picture)
    painter = QPainter(framed)
    painter.setPen(QPen(QColor(colour), 8))
    painter.drawRect(framed.rect().adjusted(2, 2, -3, -3))
    painter.end()
    icon = QIcon(framed)
    icon.addPixmap(framed, QIcon.Mode.Selected)
    return icon
