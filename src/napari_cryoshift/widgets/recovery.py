"""The offer to go on with work that was never saved under a name, e.g. after a crash."""

from __future__ import annotations

from datetime import datetime

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_cryoshift.core.project import Project

from .panel import button, wrapped


class Recovery(QWidget):
    """One line that says what is there, and a button; hidden where there is nothing.

    Signals
    -------
    wanted
        The project that a person wants to go on with.
    """

    wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._project: Project | None = None
        self._text = wrapped("")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._text, 1)
        row.addWidget(button("Continue", self._go_on, "Nothing of it is lost"))
        self.hide()

    def look(self) -> None:
        """Look for work, and offer it.

        Raises
        ------
        ValueError
            If there is a scratch project that cannot be read.
        """
        self.forget()
        project = Project.last_scratch()
        if project is None:
            return
        self._project = project
        self._text.setText(what_is_in(project))
        self.show()

    def forget(self) -> None:
        """Offer nothing; the work stays on the disk."""
        self.hide()
        if self._project is not None:
            self._project.close()
            self._project = None

    def _go_on(self) -> None:
        project, self._project = self._project, None
        self.hide()
        self.wanted.emit(project)


def what_is_in(project: Project) -> str:
    """Say what work a project holds, as a person would recognise it."""
    known = project.tomograms()
    tables = [project.particles(tomogram.name) for tomogram in known]
    labels = sum(int((table.label != "").sum()) for table in tables)
    when = datetime.fromisoformat(project.history()[-1].when).astimezone()
    day = "" if when.date() == datetime.now().date() else f"{when:%d %b} "
    what = f"{labels} labels" if labels else f"{sum(map(len, tables)):,} particles"
    return (
        f"{what} in {', '.join(one.name for one in known)} from {day}{when:%H:%M} can be recovered."
    )
