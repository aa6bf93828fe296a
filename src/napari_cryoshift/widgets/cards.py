"""Methods as cards: what each does in plain words, what it needs, and whether that is there."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QRadioButton, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_cryoshift.core.methods import Method

from .panel import wrapped

_NEEDS = {
    "source": "known structures",
    "target": "picked particles",
    "support": "labelled particles",
}


class MethodCard(QFrame):
    """One method; a click anywhere on it chooses it. Only the chosen one says all about itself.

    Signals
    -------
    chosen
        It became the chosen one.
    """

    chosen = Signal()

    def __init__(self, method: type[Method]) -> None:
        super().__init__()
        self.method = method
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.radio = QRadioButton(method.title)
        self.radio.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.radio.toggled.connect(self._on_toggled)
        self.setToolTip(method.description)
        self._missing, self._needs = QElidingLabel(""), QLabel("")
        self._details = QWidget()
        details = QVBoxLayout(self._details)
        details.setContentsMargins(0, 0, 0, 0)
        details.addWidget(wrapped(method.description))
        details.addWidget(self._needs)
        head = QHBoxLayout()
        head.addWidget(self.radio)
        head.addWidget(self._missing, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 4)
        column.setSpacing(4)
        column.addLayout(head)
        column.addWidget(self._details)
        self._on_toggled(False)

    def show_what_is_there(self, counts: Mapping[str, int]) -> None:
        """Show how many there are of what it learns from: "✓ 12 labelled particles".

        Any method that is trained here learns from known structures, too.
        """
        needs = sorted(self.method.needs | {"source"})
        missing = [f"✗ no {_NEEDS[need]} yet" for need in needs if not counts[need]]
        there = [f"✓ {counts[need]:,} {_NEEDS[need]}" for need in needs if counts[need]]
        self._needs.setText("\n".join(there + missing))
        self._missing.setText(", ".join(missing))

    def _on_toggled(self, on: bool) -> None:
        self._details.setVisible(on)
        self._missing.setVisible(not on)
        if on:
            self.chosen.emit()

    def mousePressEvent(self, _: object) -> None:  # noqa: D102
        self.radio.setChecked(True)
