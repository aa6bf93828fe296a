"""Methods as cards: what each does in plain words, what it needs, and whether that is there."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QLabel, QRadioButton, QVBoxLayout

from napari_cryoshift.core.methods import Method

from .panel import wrapped

_NEEDS = {
    "source": "known structures",
    "target": "picked particles",
    "support": "labelled particles",
}


class MethodCard(QFrame):
    """One method; a click anywhere on it chooses it.

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
        self.radio.toggled.connect(lambda on: self.chosen.emit() if on else None)
        self._needs = QLabel("")
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(4)
        column.addWidget(self.radio)
        column.addWidget(wrapped(method.description))
        column.addWidget(self._needs)

    def show_what_is_there(self, counts: Mapping[str, int]) -> None:
        """Show how many there are of what it learns from: "✓ 12 labelled particles".

        Any method that is trained here learns from known structures, too.
        """
        lines = [
            f"✓ {counts[need]:,} {_NEEDS[need]}" if counts[need] else f"✗ no {_NEEDS[need]} yet"
            for need in sorted(self.method.needs | {"source"})
        ]
        self._needs.setText("\n".join(lines))

    def mousePressEvent(self, _: object) -> None:  # noqa: D102
        self.radio.setChecked(True)
