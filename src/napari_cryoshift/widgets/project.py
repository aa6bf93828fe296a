"""Where the work is kept: a scratch project until it gets a name."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QWidget
from superqt import QElidingLabel

from napari_cryoshift.core.project import Project

from .panel import button


class ProjectRow(QWidget):
    """The folder of the project, and buttons to name it or to open another.

    Signals
    -------
    named
        The folder that a person chose to keep the project in.
    opened
        The folder of a project to go on with.
    """

    named = Signal(object)
    opened = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._folder = QElidingLabel("")
        self._save = button(
            "Save as …",
            self._ask_name,
            "Move the project to a folder of yours. Every step is on the disk already.",
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._folder, 1)
        row.addWidget(self._save)
        row.addWidget(button("Open …", self._ask_project, "Go on with a project"))

    def show_project(self, project: Project | None, *, named: bool) -> None:
        """Show where this project lies, and whether a person chose that place."""
        self._save.setEnabled(project is not None)
        where = "no name yet" if project is None or not named else project.folder.name
        self._folder.setText(f"Project: {where}")
        self._folder.setToolTip("" if project is None else str(project.folder))

    def _ask_name(self) -> None:
        folder, _ = QFileDialog.getSaveFileName(self, "A new folder for the project", "project")
        if folder:
            self.named.emit(Path(folder))

    def _ask_project(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open a project")
        if folder:
            self.opened.emit(Path(folder))
