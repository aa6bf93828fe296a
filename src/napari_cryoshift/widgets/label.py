"""Label: say what a few particles are, and the rest follows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QHideEvent, QKeySequence, QShortcut, QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QLineEdit
from superqt import QElidingLabel

from napari_cryoshift.core.types import OTHER

from .classes import ENOUGH, ClassTable
from .editors import ChoiceEdit
from .gestures import KEYS
from .history import HistoryBar
from .panel import Folded, Panel, button, tick, wrapped
from .queue import EXPLAINED, ORDERS
from .slices import Slices
from .style import colour_of, prediction, title_of

if TYPE_CHECKING:
    import napari


class LabelPanel(Panel):
    """The classes, the current particle, and steps from one particle to the next."""

    title = "Label"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.gestures = self.layers.gestures
        self._make_classes()
        self._make_particle()
        self._history = HistoryBar(self.gestures)
        self.body.addWidget(self._history)
        self.body.addStretch(1)
        self._make_keys()

        session = self.session
        self.listen(session.classes_changed, self._show_classes)
        self.listen(session.particles_changed, self._show_all)
        self.listen(session.current_changed, self._show_current)
        self.listen(session.diameter_changed, self._show_current)
        self._show_all()

    def advice(self) -> str:  # noqa: D102
        session = self.session
        if session.tomogram is None:
            return "Open a tomogram, or try the sample."
        if session.answers is not None:
            return "The model names the kinds that it learnt; your labels say how right it is."
        kinds = [known for known in session.classes if known.name != OTHER]
        if not kinds:
            return "Type the name of a kind of particle above, e.g. ribosome."
        counts = self._counts()
        for known in kinds:
            if not counts[known.name]:
                return f"Click a {known.name} in the volume and press {known.key or 'its row'}."
        if len(kinds) == 1 and not counts[OTHER]:
            return "Click something that is not a particle and press 0, or name a second kind."
        if not (session.particles.predicted != "").any():
            return "Predictions come as soon as the particles have been looked at."
        least = min(kinds, key=lambda known: counts[known.name])
        missing = ENOUGH - counts[least.name]
        if missing > 0:
            return f"Predictions are live. {missing} more of {least.name} and they get steadier."
        return "Predictions are live. Next: Review the least certain, which says how good they are."

    def showEvent(self, event: QShowEvent) -> None:  # noqa: D102
        super().showEvent(event)
        self._choose(self._table.current_name())

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: D102
        super().hideEvent(event)
        self.gestures.brush = ""  # elsewhere a click only selects

    # --- classes ---

    def _make_classes(self) -> None:
        self._table = ClassTable()
        self._table.renamed.connect(self._rename)
        self._table.removed.connect(self._remove)
        self._table.chosen.connect(self._choose)
        self.body.addWidget(self._table)
        row = QHBoxLayout()
        self._name = QLineEdit()
        self._name.setObjectName("class_name")
        self._name.setPlaceholderText("new kind of particle, e.g. ribosome")
        self._name.returnPressed.connect(self._add)
        row.addWidget(self._name, 1)
        row.addWidget(button("Add", self._add, "Add a kind of particle"))
        self.body.addLayout(row)
        self._brush = tick(
            "A click labels as the kind chosen above",
            "A click where no candidate is adds a particle there.",
        )
        self._brush.toggled.connect(lambda _: self._choose(self._table.current_name()))
        self.body.addWidget(self._brush)
        self._compare = tick(
            "Also compare with known structures",
            "Predictions then also go by how well a particle fits each structure of the library, "
            "in all orientations. Takes a few seconds for a thousand particles, once.",
        )
        self._compare.clicked.connect(self._set_compare)
        self.body.addWidget(self._compare)

    def _set_compare(self, on: bool) -> None:
        with self.attempt():
            self.session.compare_with_structures(on)

    def _add(self) -> None:
        with self.attempt():
            self.session.add_class(self._name.text())
            self._name.clear()

    def _rename(self, old: str, new: str) -> None:
        with self.attempt():
            self.session.rename_class(old, new)

    def _remove(self, name: str) -> None:
        with self.attempt():
            self.session.remove_class(name)

    def _choose(self, name: str) -> None:
        self.gestures.brush = name if self._brush.isChecked() else ""

    def _counts(self) -> Counter[str]:
        return Counter(self.session.particles.label.tolist())

    def _show_classes(self) -> None:
        self._compare.setEnabled(self.session.tomogram is not None)
        self._compare.setChecked(self.session.compares)
        self._table.show_classes(self.session.classes, self._counts())
        names = [known.name for known in self.session.classes]
        if self.gestures.brush and self.gestures.brush not in names:
            self.gestures.brush = ""

    # --- the current particle ---

    def _make_particle(self) -> None:
        self._slices = Slices()
        self.body.addWidget(self._slices)
        self._which, self._what = QElidingLabel(""), QElidingLabel("")
        self.body.addWidget(self._which)
        self.body.addWidget(self._what)
        row = QHBoxLayout()
        row.addWidget(button("◂ Previous", self.gestures.previous, "Shift-Space"))
        row.addWidget(button("Next ▸", self.gestures.next, "Space"))
        self._order = ChoiceEdit(ORDERS)
        for index, order in enumerate(ORDERS):
            self._order.setItemData(index, EXPLAINED[order], Qt.ItemDataRole.ToolTipRole)
        self._order.setToolTip("What comes next")
        self._order.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._order.changed.connect(self._set_order)
        row.addWidget(self._order, 1)
        self.body.addLayout(row)

    def _set_order(self) -> None:
        self.gestures.order = self._order.value()

    def _show_current(self) -> None:
        session, row = self.session, self.session.row
        if row is None or session.tomogram is None:
            self._slices.clear()
            self._which.setText("no particle is chosen: click one, or press Space")
            self._what.setText("")
            return
        table = session.particles
        label, predicted = str(table.label[row]), str(table.predicted[row])
        colours = colour_of(session.classes)
        self._slices.show_particle(
            session.tomogram,
            table.positions[row],
            session.diameter,
            colours.get(label or predicted, colours[""]),
        )
        score = "" if np.isnan(table.score[row]) else f" · score {table.score[row]:.3g}"
        edge = " · at the edge" if table.edge[row] else ""
        self._which.setText(
            f"particle {table.id[row]}{score}{edge} · {session.shown.sum():,} on show"
        )
        said = f"you said {title_of(label)}" if label else "no label yet"
        if np.isfinite(table.confidence[row]):
            said += f" · {prediction(table, row)}"
        self._what.setText(said)

    # --- keys ---

    def _make_keys(self) -> None:
        words = {"1 … 9": "label as the class with that key", "0": "not a particle"}
        words |= {key: text for key, (_, text) in KEYS.items()}
        lines = "".join(
            f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{text}</td></tr>"
            for key, text in words.items()
        )
        self._keys = Folded("Keys (?)", wrapped(f"<table>{lines}</table>"))
        self.body.addWidget(self._keys)
        self.gestures.bind_panel(self)
        shortcut = QShortcut(QKeySequence("?"), self)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)  # the volume has the focus mostly
        shortcut.activated.connect(self._toggle_keys)

    def _toggle_keys(self) -> None:
        self._keys.toggle()
        self.bring_into_view(self._keys)

    def _show_all(self) -> None:
        self._show_classes()
        self._show_current()
        self._history.show_history(self.session.project)
        self.show_advice()
