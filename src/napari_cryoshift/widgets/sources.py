"""Known structures to learn from: the library, with pictures and ticks."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_cryoshift.core.structures import library

from .pictures import pixmap

_PICTURE = 40  # pixels


class SourceList(QListWidget):
    """The structure library; what is ticked is learnt from.

    Signals
    -------
    changed
        A tick was set or taken away.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._library = library()
        self.setIconSize(QSize(_PICTURE, _PICTURE))
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFixedHeight(5 * (_PICTURE + 6))
        for key, entry in sorted(self._library.entries.items(), key=lambda pair: -pair[1].mass_kda):
            item = QListWidgetItem(f"{entry.name}\n{key}, {entry.mass_kda:,.0f} kDa")
            item.setData(Qt.ItemDataRole.UserRole, key)
            item.setCheckState(Qt.CheckState.Checked)
            item.setToolTip(f"{entry.name} ({entry.source})")
            self.addItem(item)
        self.itemChanged.connect(lambda _: self.changed.emit())
        # Densities take a moment to read: one picture at a time, when nothing else is to do.
        self._without_picture = list(range(self.count()))
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._draw_next)

    def showEvent(self, event: object) -> None:  # noqa: D102
        super().showEvent(event)
        self._timer.start(0)

    def ids(self) -> tuple[str, ...]:
        """Return the ids of what is ticked."""
        items = (self.item(row) for row in range(self.count()))
        return tuple(
            str(item.data(Qt.ItemDataRole.UserRole))
            for item in items
            if item.checkState() == Qt.CheckState.Checked
        )

    def tick(self, ids: tuple[str, ...]) -> None:
        """Tick these and no others."""
        with QSignalBlocker(self):
            for row in range(self.count()):
                item = self.item(row)
                wanted = item.data(Qt.ItemDataRole.UserRole) in ids
                item.setCheckState(Qt.CheckState.Checked if wanted else Qt.CheckState.Unchecked)
        self.changed.emit()

    def _draw_next(self) -> None:
        if not self._without_picture:
            self._timer.stop()
            return
        item = self.item(self._without_picture.pop(0))
        density = self._library[str(item.data(Qt.ItemDataRole.UserRole))].density
        self.blockSignals(True)
        item.setIcon(QIcon(pixmap(density.sum(axis=0), _PICTURE)))
        self.blockSignals(False)
