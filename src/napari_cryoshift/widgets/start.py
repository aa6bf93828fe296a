"""What the menu opens: a dock at once, and the panels in it when their libraries are read."""

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


class _Starting(QWidget):
    """A dock; nothing here may import what takes seconds, or the window would stand still."""

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

    def sizeHint(self) -> QSize:
        return QSize(360, 640)  # as the panels will want it

    def _show_panels(self, _: None = None) -> None:
        viewer = self._viewer()
        if viewer is not None:
            self._waiting.hide()
            self._column.addWidget(self._panels(viewer))

    def _panels(self, viewer: napari.viewer.Viewer) -> QWidget:
        raise NotImplementedError


class Annotate(_Starting):
    """All panels of the way from a tomogram to a list of particles."""

    def _panels(self, viewer: napari.viewer.Viewer) -> QWidget:
        from .annotate import AnnotatePanels

        return AnnotatePanels(viewer)


class Simulate(_Starting):
    """The panel that makes data of known content."""

    def _panels(self, viewer: napari.viewer.Viewer) -> QWidget:
        from .simulate import SimulatePanel

        return SimulatePanel(viewer)


def _read_libraries() -> None:
    for name in _LIBRARIES:
        import_module(name)
