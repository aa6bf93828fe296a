"""The kinds of particle: name, colour, key, and how many labels each has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QAction, QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_cryoshift.core.project import ParticleClass
from napari_cryoshift.core.types import OTHER

from .style import title_of

ENOUGH = 5
"""Labels of a class from which on predictions stop changing with every one."""

_NAME = Qt.ItemDataRole.UserRole


def dot(colour: str, *, filled: bool = True, side: int = 12) -> QIcon:
    """Return a disc, or a ring, in the colour of a class."""
    picture = QPixmap(side, side)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QColor(colour))
    painter.setBrush(QColor(colour) if filled else Qt.BrushStyle.NoBrush)
    painter.drawEllipse(1, 1, side - 3, side - 3)
    painter.end()
    return QIcon(picture)


class ClassTable(QTreeWidget):
    """One row a class. A double click on the name renames it.

    Signals
    -------
    renamed
        Old and new name.
    removed
        The name of a class to remove.
    chosen
        The name of the class that was clicked.
    """

    renamed = Signal(str, str)
    removed = Signal(str)
    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderLabels(["Kind of particle", "Key", f"Labels (aim: {ENOUGH})"])
        self.setRootIsDecorated(False)
        self.setIconSize(QSize(12, 12))
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        remove = QAction("Remove this kind (its labels are taken off)", self)
        remove.triggered.connect(self._remove)
        self.addAction(remove)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.itemChanged.connect(self._on_edit)
        self.itemClicked.connect(lambda item: self.chosen.emit(item.data(0, _NAME)))

    def current_name(self) -> str:
        """Return the class of the selected row, or ""."""
        item = self.currentItem()
        return "" if item is None else str(item.data(0, _NAME))

    def show_classes(self, classes: Sequence[ParticleClass], counts: Mapping[str, int]) -> None:
        """Show these classes and how many labels each has; the selection stays."""
        selected = self.current_name()
        with QSignalBlocker(self):
            if [item.data(0, _NAME) for item in self._items()] != [c.name for c in classes]:
                self.clear()
                for _ in classes:
                    self.addTopLevelItem(QTreeWidgetItem())
            for item, known in zip(self._items(), classes, strict=True):
                count = counts.get(known.name, 0)
                full = min(count, ENOUGH)
                item.setData(0, _NAME, known.name)
                item.setText(0, title_of(known.name))
                item.setToolTip(0, title_of(known.name))
                item.setIcon(0, dot(known.color, filled=known.name != OTHER))
                item.setText(1, known.key)
                item.setText(2, "▮" * full + "▯" * (ENOUGH - full) + f" {count:>3}")
                item.setTextAlignment(1, Qt.AlignmentFlag.AlignCenter)
                if known.name != OTHER:
                    item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
                if known.name == selected:
                    self.setCurrentItem(item)
        rows = max(len(classes), 2)
        height = self.sizeHintForRow(0) if classes else 20
        self.setFixedHeight(self.header().sizeHint().height() + min(rows, 8) * height + 6)

    def _items(self) -> list[QTreeWidgetItem]:
        return [self.topLevelItem(row) for row in range(self.topLevelItemCount())]

    def _on_edit(self, item: QTreeWidgetItem, column: int) -> None:
        old, new = str(item.data(0, _NAME)), item.text(0).strip()
        if column == 0 and new != old:
            with QSignalBlocker(self):
                item.setText(0, old)  # the table shows what the project has, and only that
            self.renamed.emit(old, new)

    def _remove(self) -> None:
        if self.current_name() not in ("", OTHER):
            self.removed.emit(self.current_name())
