"""Annotate, as the menu opens it: a dock at once, and the panels when their libraries are read."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from superqt.utils import create_worker

if TYPE_CHECKING:
    import napari

    from .session import Session

_LIBRARIES = ("torch", "scipy.stats", "skimage.filters", "pandas")
"""What takes seconds to import."""


class Annotate(QWidget):
    """All panels; nothing here may import what takes seconds, or the window would stand still."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        # napari hands over a proxy, which nothing else keeps alive.
        self._viewer = ref(getattr(viewer, "__wrapped__", viewer))
        self._waiting = QLabel("Starting …")
        self._waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(self._waiting)
        if all(name in sys.modules for name in _LIBRARIES):
            self._show_panels()
        else:
            create_worker(_read_libraries, _connect={"returned": self._show_panels})

    @property
    def session(self) -> Session:
        """The session of the viewer, which the panels show."""
        from .session import session_of

        return session_of(self._viewer())

    def sizeHint(self) -> QSize:  # noqa: D102
        return QSize(360, 640)  # as the panels will want it

    def _show_panels(self, _: None = None) -> None:
        from .annotate import AnnotatePanels

        viewer = self._viewer()
        if viewer is not None:
            self._waiting.hide()
            self._column.addWidget(AnnotatePanels(viewer))


def _read_libraries() -> None:
    for name in _LIBRARIES:
        import_module(name)
