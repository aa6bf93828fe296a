"""Simulated volumes, what a model makes of them, and picked particles, side by side."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget
from superqt import QElidingLabel

from napari_cryoshift.core.domain_views import Examples

from .panel import wrapped
from .pictures import pixmap, sections
from .style import title_of

_SIDE = 76
"""Pixels: four beside each other fit into the narrowest panel."""


class SideBySide(QWidget):
    """A row a class: the xy section through the middle of each volume."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(3)
        self._grid.setColumnStretch(99, 1)

    def show_examples(self, shown: Examples) -> None:
        """Show these volumes in place of what is there."""
        while (item := self._grid.takeAt(0)) is not None:
            if item.widget() is not None:
                item.widget().deleteLater()
        titles = list(shown.columns)
        for column, title in enumerate(titles):
            head = wrapped(title)
            head.setFixedWidth(_SIDE)
            head.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom)
            self._grid.addWidget(head, 0, column)
        for row, name in enumerate(shown.classes):
            below = QElidingLabel(title_of(name))
            below.setToolTip(title_of(name))
            self._grid.addWidget(below, 2 * row + 1, 0, 1, len(titles))
            for column, (title, volumes) in enumerate(shown.columns.items()):
                picture, volume = QLabel(), volumes[row].numpy()
                picture.setPixmap(pixmap(sections(volume)[0], _SIDE))
                # Volumes have mean 0 and deviation 1, so this says how large a difference is.
                picture.setToolTip(f"{title}: root mean square {np.sqrt((volume**2).mean()):.2f}")
                self._grid.addWidget(picture, 2 * row + 2, column)
