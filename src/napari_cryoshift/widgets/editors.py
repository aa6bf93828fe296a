"""One small editor for each type of parameter: `value`, `set_value` and `changed`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtpy.QtCore import QLocale, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QDoubleValidator, QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QToolButton,
    QWidget,
)

_LARGEST_INT = 2**31 - 1


class IntEdit(QSpinBox):
    """A whole number within bounds; the wheel changes it only when it has the focus."""

    changed = Signal()

    def __init__(self, low: int | None = None, high: int | None = None) -> None:
        super().__init__()
        self.setRange(-_LARGEST_INT if low is None else low, _LARGEST_INT if high is None else high)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)
        self.valueChanged.connect(lambda _: self.changed.emit())

    def set_value(self, value: int) -> None:
        """Show a value without a signal."""
        with QSignalBlocker(self):
            self.setValue(value)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: D102
        # A wheel over a long form is meant to scroll the form.
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class FloatEdit(QLineEdit):
    """A number typed as text, so that 0.001 and 1e-6 keep all their digits.

    Parameters
    ----------
    low, high
        Bounds, both allowed; the form checks open bounds.
    optional
        Whether an empty line is a value: None.
    """

    changed = Signal()

    def __init__(
        self, low: float | None = None, high: float | None = None, *, optional: bool = False
    ) -> None:
        super().__init__()
        self._optional = optional
        self._value: float | None = None
        validator = QDoubleValidator(self)
        validator.setLocale(QLocale.c())  # a point, as in every file of the field
        if low is not None:
            validator.setBottom(low)
        if high is not None:
            validator.setTop(high)
        self.setValidator(validator)
        if optional:
            self.setPlaceholderText("automatic")
        self.editingFinished.connect(self._take)

    def value(self) -> float | None:
        """Return the number as typed, also before Enter; the last good one while it is none."""
        text = self.text().strip()
        if self._optional and not text:
            return None
        if text == _shown(self._value):
            return self._value  # with the digits that are not shown
        return float(text) if self.hasAcceptableInput() else self._value

    def set_value(self, value: float | None) -> None:
        """Show a value without a signal."""
        self._value = value
        with QSignalBlocker(self):
            self.setText(_shown(value))

    def focusOutEvent(self, event: Any) -> None:  # noqa: D102
        super().focusOutEvent(event)
        self.set_value(self.value())  # what is no number goes back to the last that was

    def _take(self) -> None:
        value = self.value()
        if value != self._value:
            self._value = value
            self.changed.emit()


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


class BoolEdit(QCheckBox):
    """Yes or no."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.toggled.connect(lambda _: self.changed.emit())

    def value(self) -> bool:
        """Return whether it is ticked."""
        return bool(self.isChecked())

    def set_value(self, value: bool) -> None:
        """Show a value without a signal."""
        with QSignalBlocker(self):
            self.setChecked(value)


class ChoiceEdit(QComboBox):
    """One of a few values."""

    changed = Signal()

    def __init__(self, choices: Sequence[Any]) -> None:
        super().__init__()
        self._choices = list(choices)
        self.addItems([str(choice).replace("_", " ") for choice in choices])
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.currentIndexChanged.connect(lambda _: self.changed.emit())

    def value(self) -> Any:
        """Return the choice."""
        return self._choices[self.currentIndex()]

    def set_value(self, value: Any) -> None:
        """Show a value without a signal."""
        with QSignalBlocker(self):
            self.setCurrentIndex(self._choices.index(value))

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: D102
        event.ignore()  # a wheel over a long form is meant to scroll the form


class TextEdit(QLineEdit):
    """A line of text; with ``optional`` an empty line is None."""

    changed = Signal()

    def __init__(self, *, optional: bool = False) -> None:
        super().__init__()
        self._optional = optional
        self.editingFinished.connect(self.changed)

    def value(self) -> str | None:
        """Return the text."""
        text: str = self.text()
        return None if self._optional and not text.strip() else text

    def set_value(self, value: str | None) -> None:
        """Show a value without a signal."""
        with QSignalBlocker(self):
            self.setText(value or "")


class ListEdit(QLineEdit):
    """Values with commas between them: "vesicle, tube", "40, 20, 20".

    Parameters
    ----------
    alone
        Whether a single value stands for itself and not for a list of one.
    optional
        Whether an empty line is None; else it is an empty list.
    """

    changed = Signal()

    def __init__(self, *, alone: bool = False, optional: bool = False) -> None:
        super().__init__()
        self._alone, self._optional = alone, optional
        if optional:
            self.setPlaceholderText("automatic")
        self.editingFinished.connect(self.changed)

    def value(self) -> Any:
        """Return the values, numbers as numbers; the form checks what they are."""
        values = tuple(_number(word.strip()) for word in self.text().split(",") if word.strip())
        if self._optional and not values:
            return None
        return values[0] if self._alone and len(values) == 1 else values

    def set_value(self, value: Any) -> None:
        """Show values without a signal."""
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        with QSignalBlocker(self):
            self.setText(", ".join(_shown(v) if isinstance(v, float) else str(v) for v in values))


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return word


class PathEdit(QWidget):
    """A file, typed or chosen; an empty line is None."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._line = QLineEdit()
        self._line.setPlaceholderText("none")
        self._line.editingFinished.connect(self.changed)
        choose = QToolButton()
        choose.setText("…")
        choose.setToolTip("Choose a file")
        choose.clicked.connect(self._choose)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line, 1)
        row.addWidget(choose)

    def value(self) -> Path | None:
        """Return the path."""
        text = self._line.text().strip()
        return Path(text) if text else None

    def set_value(self, value: Path | None) -> None:
        """Show a path without a signal."""
        with QSignalBlocker(self._line):
            self._line.setText("" if value is None else str(value))

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a file")
        if path:
            self.set_value(Path(path))
            self.changed.emit()


class RangeEdit(QWidget):
    """Several numbers in a row, such as the two ends of a range."""

    changed = Signal()

    def __init__(self, count: int) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._edits = [FloatEdit() for _ in range(count)]
        for edit in self._edits:
            row.addWidget(edit)
            edit.changed.connect(self.changed)

    def value(self) -> tuple[float | None, ...]:
        """Return the numbers."""
        return tuple(edit.value() for edit in self._edits)

    def set_value(self, value: Sequence[float]) -> None:
        """Show values without a signal."""
        for edit, number in zip(self._edits, value, strict=True):
            edit.set_value(number)
