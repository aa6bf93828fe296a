"""The two tables of a particle list that is to be imported: its tomograms, and its first rows."""

from __future__ import annotations

from functools import partial

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QComboBox, QHeaderView, QTableWidget, QTableWidgetItem

from napari_cryoshift.core.formats.base import spoken_class

from .listing import ROWS, Listing
from .style import title_of

_EDGE = 2  # pixels
_MOST_PAIRS = 4
"""Rows that are seen without scrolling."""
_ABSENT = "not in this list"


class _Table(QTableWidget):
    """A table to look at."""

    def __init__(self, titles: list[str]) -> None:
        super().__init__(0, len(titles))
        self.setHorizontalHeaderLabels(titles)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def fit(self, rows: int) -> None:
        """Be as high as so many rows."""
        each = self.rowHeight(0) if self.rowCount() else 0
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows * each + 2 * _EDGE)


class PairTable(_Table):
    """Which tomogram of a list each one of the project is.

    Signals
    -------
    chosen
        A person chose for a tomogram of the project (first) the name in the list (second), or "".
    """

    chosen = Signal(str, str)

    def __init__(self) -> None:
        super().__init__(["tomogram here", "in the list"])
        self.setToolTip("Which tomogram of the list is which; correct it where it is not")
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.hide()

    def show_pairs(self, listing: Listing) -> None:
        """Show the pairs of a list, where there is anything to choose."""
        pairs = listing.pairs
        settled = len(pairs) == 1 and len(listing.counts) == 1 and all(pairs.values())
        self.setVisible(not settled)
        self.setRowCount(len(pairs))
        for row, (name, named) in enumerate(pairs.items()):
            here = QTableWidgetItem(name)
            here.setToolTip(name)
            self.setItem(row, 0, here)
            choice = QComboBox()
            choice.addItem(_ABSENT, "")
            for other, count in listing.counts.items():
                choice.addItem(f"{other} ({count:,})", other)
            choice.setCurrentIndex(choice.findData(named))
            choice.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            choice.activated.connect(partial(self._choose, name, choice))
            self.setCellWidget(row, 1, choice)
        self.fit(min(len(pairs), _MOST_PAIRS))

    def _choose(self, name: str, choice: QComboBox, _: int) -> None:
        self.chosen.emit(name, choice.currentData())


class RowTable(_Table):
    """The first rows of a list, in voxels of the tomogram."""

    def __init__(self) -> None:
        super().__init__(["x", "y", "z", "class", "score"])
        self.setToolTip("The first rows, in voxels of the tomogram, counted from 0")
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setRowCount(ROWS)
        self.fit(ROWS)  # it keeps its size while lists come and go

    def show_rows(self, listing: Listing) -> None:
        """Show the first particles of a list, wherever they lie."""
        self.clearContents()
        first = listing.first
        for row, (zyx, name, score) in enumerate(
            zip(first.positions, spoken_class(first), first.score, strict=True)
        ):
            cells = [f"{value:.1f}" for value in zyx[::-1]]
            cells += [title_of(name), f"{score:.3g}" if np.isfinite(score) else ""]
            for column, text in enumerate(cells):
                self.setItem(row, column, QTableWidgetItem(text))
