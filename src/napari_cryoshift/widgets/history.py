"""The last step of the project, and the buttons that undo it and do it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QWidget
from superqt import QElidingLabel

from .panel import button

if TYPE_CHECKING:
    from napari_cryoshift.core.project import Project

    from .gestures import Gestures


class HistoryBar(QWidget):
    """Undo and redo, and the title of what the one would undo."""

    def __init__(self, gestures: Gestures) -> None:
        super().__init__()
        self._undo = button("⟲", gestures.undo, "Control-Z")
        self._redo = button("⟳", gestures.redo, "Control-Shift-Z")
        self._title = QElidingLabel("")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._undo)
        row.addWidget(self._redo)
        row.addWidget(self._title, 1)

    def show_history(self, project: Project | None) -> None:
        """Say what can be undone and done again."""
        undo = None if project is None else project.undo_title
        redo = None if project is None else project.redo_title
        self._undo.setEnabled(undo is not None)
        self._redo.setEnabled(redo is not None)
        self._title.setText(f"undo: {undo}" if undo else "nothing to undo")
        self._redo.setToolTip(f"redo: {redo}" if redo else "nothing to redo")
