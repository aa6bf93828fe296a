"""What a simulation would give, as three sections, beside the particle without noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QVBoxLayout,
    QWidget,
)

from .examples import Example
from .panel import button, red, wrapped
from .slices import SIDE, Slices


class _Names(QComboBox):
    """A choice of names that elides the one it shows; napari's theme would cut it."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)

    def paintEvent(self, _: QPaintEvent) -> None:
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        field = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox,
            option,
            QStyle.SubControl.SC_ComboBoxEditField,
            self,
        )
        option.currentText = option.fontMetrics.elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, field.width() - 4
        )
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


class Preview(QWidget):
    """Shows one example; a person steps through more of them.

    Attributes
    ----------
    number
        Of the example, from 0.
    failed
        There is none.

    Signals
    -------
    changed
        Another structure or another number is wanted.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.failed = False
        self._structure = _Names()
        self._structure.setToolTip("Which of the ticked structures to look at")
        self._structure.currentIndexChanged.connect(lambda _: self.changed.emit())
        self._part = QLabel("Part of the tomogram")
        self._part.hide()
        self._count = QLabel("")
        self._count.setToolTip("Number of the example")
        self._count.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._count.setFixedWidth(self._count.fontMetrics().horizontalAdvance("999 …") + 8)
        back = button("◂", partial(self.step, -1), "Previous example")
        on = button("▸", partial(self.step, 1), "Next example")
        for one in (back, on):
            one.setFixedWidth(32)
        row = QHBoxLayout()
        row.addWidget(self._structure, 1)
        row.addWidget(self._part, 1)
        for widget in (back, self._count, on):
            row.addWidget(widget)
        self._noisy = Slices()
        self._noisy.setToolTip("Middle sections, averaged over an eighth of the box")
        self._clean = Slices(("clean", "", ""), SIDE // 2)
        self._clean.setToolTip("The same particle without noise, wedge and CTF: xy, xz, yz")
        self._words = wrapped("")
        self._words.setAlignment(Qt.AlignmentFlag.AlignTop)
        # Of one height whatever they say, so that nothing jumps below.
        self._words.setFixedHeight(SIDE * 2 // 3)
        beside = QHBoxLayout()
        beside.addWidget(self._clean, 0, Qt.AlignmentFlag.AlignTop)
        beside.addWidget(self._words, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self._noisy)
        column.addLayout(beside)
        self.show_busy(False)

    @property
    def which(self) -> int:
        """Index of the structure that is looked at."""
        return max(int(self._structure.currentIndex()), 0)

    def step(self, by: int) -> None:
        """Go so many examples on, or back."""
        self.number = max(self.number + by, 0)
        self.show_busy(False)
        self.changed.emit()

    def show_structures(self, names: Sequence[str]) -> None:
        """Offer these to look at; the one that is looked at stays, if it can."""
        looked_at = self._structure.currentText()
        with QSignalBlocker(self._structure):
            self._structure.clear()
            self._structure.addItems(names)
            self._structure.setCurrentIndex(max(self._structure.findText(looked_at), 0))

    def show_single(self, single: bool) -> None:
        """Show single particles, or parts of a tomogram."""
        if single == self._part.isHidden():
            return
        self._structure.setVisible(single)
        self._part.setVisible(not single)
        self._clear("")  # for the one is no example of the other

    def show_busy(self, busy: bool) -> None:
        """Say that an example is being made; the last one stays in view."""
        self._count.setText(f"{self.number + 1}" + (" …" if busy else ""))

    def show_example(self, example: Example) -> None:
        """Show an example and what was drawn for it."""
        self.failed = False
        self._noisy.show_box(example.volume)
        self._clean.setVisible(example.clean is not None)
        if example.clean is not None:
            self._clean.show_box(example.clean)
        self._words.setText(example.words)

    def show_failure(self, text: str) -> None:
        """Say why there is no example."""
        self.failed = True
        self._clear(red(text))

    def _clear(self, text: str) -> None:
        self._noisy.clear()
        self._clean.hide()
        self._words.setText(text)
