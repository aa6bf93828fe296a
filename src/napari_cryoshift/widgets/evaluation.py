"""How right predictions are: kind by kind, which are taken for which, and run by run."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from scipy.stats import binomtest

from napari_cryoshift.core.metrics import ClassTable, class_table

from .classes import dot
from .panel import wrapped
from .predictions import Judged
from .rivals import Rivals
from .style import GREY, title_of

_FIGURES = ("Precision", "Recall", "F1", "Labels")
_TIPS = (
    "Of what is predicted as this kind, the share that you labelled so",
    "Of what you labelled as this kind, the share that is predicted so",
    "Harmonic mean of the two",
    "How many labels it is judged by",
)
_RIGHT, _WRONG = "#009e73", "#d55e00"
_ROWS = 9
"""Rows of a table, at most, that are seen without scrolling."""


class Evaluation(QWidget):
    """Precision, recall and F1 of each kind, and the confusion matrix, by labels.

    Signals
    -------
    seen
        Whether a person can see it now.
    """

    seen = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._summary = wrapped("")
        self._table, self._confusion = _table(), _table()
        self._table.setColumnCount(1 + len(_FIGURES))
        self._table.setHorizontalHeaderLabels(("", *_FIGURES))
        for column, tip in enumerate(_TIPS, start=1):
            self._table.horizontalHeaderItem(column).setToolTip(tip)
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._which = wrapped("A row is what you said, a column what is predicted.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self._summary, self._table, self._which, self._confusion):
            column.addWidget(widget)
        self.show_judged(None, {})

    def showEvent(self, event: QShowEvent) -> None:  # noqa: D102
        super().showEvent(event)
        self.seen.emit(True)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: D102
        super().hideEvent(event)
        self.seen.emit(False)

    def show_judged(self, judged: Judged | None, colours: Mapping[str, str]) -> None:
        """Show how labels and predictions agree; None, or no label, for that nobody can say.

        Parameters
        ----------
        judged
            Labels and predictions.
        colours
            "#rrggbb" of each kind.
        """
        there = judged is not None and len(judged.labels) > 0
        for widget in (self._table, self._which, self._confusion):
            widget.setVisible(there)
        if judged is None or not there:
            self._summary.setText("Label some particles, and it is said here how right it is.")
            return
        table = class_table(list(judged.labels), list(judged.answers))
        self._summary.setText(_sentence(table, judged.how))
        self._fill_table(table, colours)
        self._fill_confusion(table, colours)

    def _fill_table(self, table: ClassTable, colours: Mapping[str, str]) -> None:
        k = len(table.classes)
        self._table.setRowCount(k + 2)
        said, right = table.confusion.sum(0), table.confusion.diagonal()
        for row, name in enumerate(table.classes):
            self._table.setItem(row, 0, _named(name, colours))
            for column, (figures, of) in enumerate(
                ((table.precision, said), (table.recall, table.support)), start=1
            ):
                cell = _cell(f"{figures[row]:.2f}" if of[row] else "–")
                if of[row]:
                    cell.setToolTip(_interval(int(right[row]), int(of[row])))
                self._table.setItem(row, column, cell)
            support = int(table.support[row])
            self._table.setItem(row, 3, _cell(f"{table.f1[row]:.2f}" if support else "–"))
            self._table.setItem(row, 4, _cell(f"{support:,}"))
        means = (
            ("mean", "Of the kinds that you labelled", table.macro),
            ("weighted mean", "Each kind weighted by its number of labels", table.weighted),
        )
        for row, (name, tip, averages) in enumerate(means, start=k):
            head = QTableWidgetItem(name)
            head.setToolTip(tip)
            self._table.setItem(row, 0, head)
            for column, figure in enumerate(averages, start=1):
                self._table.setItem(row, column, _cell(f"{figure:.2f}"))
            self._table.setItem(row, 4, _cell(f"{table.support.sum():,}"))
        _fit(self._table)

    def _fill_confusion(self, table: ClassTable, colours: Mapping[str, str]) -> None:
        k = len(table.classes)
        self._confusion.setRowCount(k)
        self._confusion.setColumnCount(1 + k)
        self._confusion.setHorizontalHeaderItem(0, QTableWidgetItem(""))
        for row, name in enumerate(table.classes):
            self._confusion.setItem(row, 0, _named(name, colours))
            self._confusion.setHorizontalHeaderItem(1 + row, _named(name, colours))
            for column, other in enumerate(table.classes):
                count = int(table.confusion[row, column])
                cell = _cell(f"{count:,}" if count else "")
                shade = QColor(_RIGHT if row == column else _WRONG)
                shade.setAlphaF(0.8 * count / max(int(table.support[row]), 1))
                cell.setBackground(QBrush(shade))
                cell.setToolTip(
                    f"{count} that you called {title_of(name)} are predicted {title_of(other)}"
                )
                self._confusion.setItem(row, 1 + column, cell)
        header = self._confusion.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(0, 96)
        _fit(self._confusion)


class RunTable(QWidget):
    """Accuracy and F1 of several models on the same labels."""

    def __init__(self) -> None:
        super().__init__()
        self._summary, self._table = wrapped(""), _table()
        self._table.setColumnCount(3)
        self._table.setHorizontalHeaderLabels(("", "Accuracy", "F1"))
        tips = ("Share of the labels that are right", "Mean over the kinds that you labelled")
        for column, tip in enumerate(tips, start=1):
            self._table.horizontalHeaderItem(column).setToolTip(tip)
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._summary)
        column.addWidget(self._table)
        self.show_rivals(None)

    def show_rivals(self, rivals: Rivals | None) -> None:
        """Show a row a model, the best first; None for none."""
        self._table.setVisible(rivals is not None)
        if rivals is None:
            self._summary.setText("")
            return
        n = rivals.labels
        self._summary.setText(f"On {n:,} label{'' if n == 1 else 's'} that none has learnt from:")
        best_first = sorted(rivals.tables.items(), key=lambda item: -item[1].accuracy)
        self._table.setRowCount(len(best_first))
        for row, (name, table) in enumerate(best_first):
            head, accuracy = QTableWidgetItem(name), _cell(f"{table.accuracy:.2f}")
            head.setToolTip(name)
            accuracy.setToolTip(_interval(int(table.confusion.trace()), n))
            for column, item in enumerate((head, accuracy, _cell(f"{table.macro[2]:.2f}"))):
                self._table.setItem(row, column, item)
        _fit(self._table)


def _table() -> QTableWidget:
    made = QTableWidget()
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.setIconSize(QSize(12, 12))
    made.verticalHeader().hide()
    made.verticalHeader().setDefaultSectionSize(22)
    header = made.horizontalHeader()
    header.setMinimumSectionSize(24)
    header.setTextElideMode(Qt.TextElideMode.ElideRight)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    made.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return made


def _named(name: str, colours: Mapping[str, str]) -> QTableWidgetItem:
    item = QTableWidgetItem(dot(colours.get(name, GREY)), title_of(name))
    item.setToolTip(title_of(name))
    return item


def _cell(text: str) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
    return item


def _fit(table: QTableWidget) -> None:
    """Make a table as high as its rows, so that the panel scrolls and not the table."""
    rows = min(table.rowCount(), _ROWS)
    header = table.horizontalHeader().sizeHint().height()
    table.setFixedHeight(header + rows * table.verticalHeader().defaultSectionSize() + 4)


def _sentence(table: ClassTable, how: str) -> str:
    n, right = int(table.support.sum()), int(table.confusion.trace())
    return f"Of {n:,} label{'' if n == 1 else 's'} {how}, {_interval(right, n)} are right."


def _interval(right: int, of: int) -> str:
    """Say a share with its 95 % interval (Wilson 1927)."""
    interval = binomtest(right, of).proportion_ci(method="wilson")
    return f"{right / of:.2f} ({interval.low:.2f} to {interval.high:.2f})"
