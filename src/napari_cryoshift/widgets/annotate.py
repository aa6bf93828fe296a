"""Annotate: all panels as tabs in working order; the tab row shows how far one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import QTabWidget

from napari_cryoshift.core.types import OTHER

from .classes import ENOUGH
from .clusters import ClustersPanel
from .export import ExportPanel
from .label import LabelPanel
from .open import OpenPanel
from .panel import WIDTH
from .pick import PickPanel
from .review import ReviewPanel
from .session import Session, session_of
from .train import TrainPanel

if TYPE_CHECKING:
    import napari

PANELS = (
    OpenPanel,
    PickPanel,
    LabelPanel,
    TrainPanel,
    ClustersPanel,
    ReviewPanel,
    ExportPanel,
)
_OPTIONAL = ("Train", "Clusters")
"""For those who want more: the shipped embedding needs neither."""


def finished(session: Session) -> dict[str, bool]:
    """Return which steps are done, by the title of their panel."""
    table = session.particles
    labels = [
        int((table.label == known.name).sum()) for known in session.classes if known.name != OTHER
    ]
    enough = session.answers is not None or (bool(labels) and min(labels) >= ENOUGH)
    return {
        "Open": session.tomogram is not None,
        "Pick": bool(len(table)),
        "Label": enough and bool((table.predicted != "").any()),
        **{step: step in session.marks for step in ("Train", "Clusters", "Review", "Export")},
    }


class AnnotatePanels(QTabWidget):
    """The whole way from a tomogram to a list of classified particles."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setDocumentMode(True)
        self.setUsesScrollButtons(False)
        self.session = session_of(viewer)
        for panel in PANELS:
            self.addTab(panel(viewer), panel.title)
        for signal in (
            self.session.tomogram_changed,
            self.session.particles_changed,
            self.session.marks_changed,
        ):
            signal.connect(self._show_progress)
            self.destroyed.connect(
                lambda _=None, s=signal: s.disconnect(self._show_progress, missing_ok=True)
            )
        self._show_progress()
        # Another window may work on the same project.
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.session.look_for_changes)
        self._timer.start(1000)

    def sizeHint(self) -> QSize:  # noqa: D102
        return QSize(WIDTH, 640)

    def _show_progress(self) -> None:
        done = finished(self.session)
        due = next((step for step in done if not done[step] and step not in _OPTIONAL), None)
        for index, panel in enumerate(PANELS):
            mark = " ✓" if done[panel.title] else " •" if panel.title == due else ""
            self.setTabText(index, panel.title + mark)
