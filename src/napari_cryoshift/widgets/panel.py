"""What all dock widgets have in common: a body that scrolls, and a foot that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .job import JobBar, sentence
from .layers import layers_of
from .session import session_of

if TYPE_CHECKING:
    import napari

WIDTH = 360
"""Pixels; the narrowest a panel gets."""

RED = QColor("#d55e00")
"""For what needs a person's attention; it tells itself from green for colour-blind eyes."""


class Panel(QWidget):
    """A dock widget. It reads the session, and hears from it when to read again.

    A subclass fills `body`, connects itself with `listen`, and says in `advice` what is going on
    and what to do next.
    """

    title: ClassVar[str]

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setMinimumWidth(WIDTH)
        self.session = session_of(viewer)
        self.layers = layers_of(viewer)
        inner = QWidget()
        self.body = QVBoxLayout(inner)
        self.body.setContentsMargins(6, 6, 6, 6)
        self.body.setSpacing(6)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(inner)

        self._error = wrapped("")
        self._error.hide()
        self._bar = JobBar()
        self._status = wrapped("")
        self._status.setObjectName("status")
        # Two lines are kept free, so that nothing jumps when the sentence grows.
        self._status.setMinimumHeight(2 * self._status.fontMetrics().lineSpacing())
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)

        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._scroll, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(6, 0, 6, 6)
        for widget in (self._error, line, self._bar, self._status):
            foot.addWidget(widget)
        column.addLayout(foot)

        self.listen(self.session.failed, self.show_error)
        self.listen(self.session.work.changed, self._follow_job)
        for signal in (
            self.session.tomogram_changed,
            self.session.particles_changed,
            self.session.threshold_changed,
            self.session.checkpoint_changed,
            self.session.work.changed,
        ):
            self.listen(signal, self.show_advice)
        self._follow_job()

    def sizeHint(self) -> QSize:  # noqa: D102
        return QSize(WIDTH, 600)

    def listen(self, signal: Any, callback: Callable[..., None]) -> None:
        """Connect a signal of the session with a method of this widget, while it lives."""
        signal.connect(callback)
        self.destroyed.connect(lambda: signal.disconnect(callback, missing_ok=True))

    def bring_into_view(self, widget: QWidget) -> None:
        """Scroll to a widget of the body, once it has found its place."""
        QTimer.singleShot(0, partial(self._scroll.ensureWidgetVisible, widget))

    def advice(self) -> str:
        """Say in a sentence what is going on and what to do next."""
        raise NotImplementedError

    def show_advice(self) -> None:
        """Say it at the foot, if a person can see it."""
        if self.isVisible():
            self._status.setText(self.advice())

    def showEvent(self, event: QShowEvent) -> None:  # noqa: D102
        super().showEvent(event)
        self.show_advice()

    def show_error(self, text: str) -> None:
        """Say beside the work what went wrong; "" takes it away."""
        self._error.setText(red(text))
        self._error.setVisible(bool(text))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Show the sentence of an error of a person's input, instead of a traceback."""
        self.show_error("")
        try:
            yield
        except (ValueError, OSError) as error:
            self.show_error(sentence(error))

    def _follow_job(self) -> None:
        self._bar.follow(self.session.work.job)


def red(text: str) -> str:
    """Return a sentence for a label in red, as rich text: napari's theme overrules its palette."""
    return f'<span style="color: {RED.name()}">{escape(text, quote=False)}</span>' if text else ""


def wrapped(text: str) -> QLabel:
    """Return a label that wraps its text and never asks for more width than there is."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return label


class Folded(QWidget):
    """A title that unfolds what few people need.

    Signals
    -------
    unfolded
        Whether the content is there now.

    Parameters
    ----------
    title
        What is inside.
    *content
        Widgets, one below the other.
    """

    unfolded = Signal(bool)

    def __init__(self, title: str, *content: QWidget) -> None:
        super().__init__()
        self._title = QToolButton()
        self._title.setText(title)
        self._title.setCheckable(True)
        self._title.setAutoRaise(True)
        self._title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._title.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._title.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._title.toggled.connect(self._unfold)
        self._inside = QWidget()
        inside = QVBoxLayout(self._inside)
        inside.setContentsMargins(12, 0, 0, 0)
        for widget in content:
            inside.addWidget(widget)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self._title)
        column.addWidget(self._inside)
        self._unfold(False)

    def toggle(self) -> None:
        """Unfold, or fold again."""
        self._title.toggle()

    def _unfold(self, on: bool) -> None:
        self._inside.setVisible(on)
        self._title.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self.unfolded.emit(on)


def button(text: str, action: Callable[[], object], tip: str = "") -> QPushButton:
    """Return a button that leaves the keyboard to the volume."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda: action())
    return made


def tick(text: str, tip: str = "") -> QCheckBox:
    """Return a box to tick that leaves the keyboard to the volume."""
    made = QCheckBox(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return made
