"""Review: look at what the model says, the doubtful first; a correction is a label at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtGui import QHideEvent, QKeySequence, QPixmap, QShortcut, QShowEvent
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel
from scipy.stats import binomtest

from napari_cryoshift.core.open_set import is_unknown
from napari_cryoshift.core.types import OTHER, Particles

from .gallery import PICTURE, Gallery, Tile
from .live import Live
from .panel import Panel, button, wrapped
from .pictures import box_at, pixmap, sections
from .predictions import Judged
from .queue import margin
from .style import colour_of, prediction, sureness, title_of
from .unknown import SureEnough

if TYPE_CHECKING:
    import napari

_PAGE = 40
_WHAT = {
    "least certain": "the unknown, then where the two best classes are closest to each other",
    "unknown": "no prediction is sure enough: they may be of a kind that you have not named",
    "disagreements": "your label and the model differ, each label left out in turn",
    "of one kind": "everything predicted as one kind, the surest first",
    "labelled by me": "to look at your own labels again",
}


class ReviewPanel(Panel):
    """A queue, shown as a gallery, with the keys of Label."""

    title = "Review"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self._judged: Judged | None = None
        self._sure_enough = SureEnough()
        self._sure_enough.moved.connect(self._choose_threshold)
        self.body.addWidget(self._sure_enough)
        self._make_queue()
        self._gallery = Gallery()
        self._gallery.setMinimumHeight(2 * (PICTURE + 24))
        self._gallery.current_changed.connect(self.session.select)
        self.body.addWidget(self._gallery, 1)
        self._make_actions()
        self._make_keys()
        self._estimate = wrapped("")
        self._estimate.setToolTip(
            "Each label is left out in turn and predicted from the others; of a model that answers "
            "by itself, those labels count that it has not seen. Labels of doubtful particles "
            "make this figure worse than the truth."
        )
        self.body.addWidget(self._estimate)
        # Leaving out each label takes a moment: only while a person looks.
        self._judging = Live(self.session.judge, "Leaving out each label", self)
        self._judging.made.connect(self._show_judged)
        self.listen(self.session.particles_changed, self._on_particles)
        self.listen(self.session.classes_changed, self._list_kinds)
        self._list_kinds()

    def advice(self) -> str:  # noqa: D102
        session = self.session
        table = session.particles
        if not np.isfinite(table.confidence).any():
            return "Nothing is predicted yet: label particles of two kinds under Label."
        reviewed, shown = int((table.label != "").sum()), int(session.shown.sum())
        if unknown := int((is_unknown(table) & (table.label == "") & session.shown).sum()):
            return (
                f"{reviewed:,} of {shown:,} reviewed, {unknown:,} unknown. A digit says what they "
                "are; a name for a new kind is given under Label."
            )
        return (
            f"{reviewed:,} of {shown:,} reviewed. Enter accepts, a digit corrects, Shift chooses "
            "a range. Next: Export."
        )

    def showEvent(self, event: QShowEvent) -> None:  # noqa: D102
        super().showEvent(event)
        self._show_threshold()
        self.refill()
        self._judging.renew()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: D102
        super().hideEvent(event)
        self._judging.rest()

    # --- the queue ---

    def _make_queue(self) -> None:
        self._what = QComboBox()
        for name, tip in _WHAT.items():
            self._what.addItem(name)
            self._what.setItemData(self._what.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._kind = QComboBox()
        for box in (self._what, self._kind):
            box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            box.activated.connect(lambda _: self.refill())
        row = QHBoxLayout()
        row.addWidget(QLabel("Show"))
        row.addWidget(self._what, 1)
        row.addWidget(self._kind, 1)
        self.body.addLayout(row)

    def _list_kinds(self) -> None:
        chosen = self._kind.currentData()
        self._kind.clear()
        for known in self.session.classes:
            self._kind.addItem(title_of(known.name), known.name)
        self._kind.setCurrentIndex(max(self._kind.findData(chosen), 0))

    def refill(self) -> None:
        """Fill the gallery anew from the queue; it never changes by itself."""
        what, table = self._what.currentText(), self.session.particles
        self._kind.setVisible(what == "of one kind")
        wanted, due = self._queue(what, table)
        order = np.argsort(-np.where(wanted, due, -np.inf), kind="stable")
        self._fill([int(i) for i in table.id[order[: min(_PAGE, int(wanted.sum()))]]])

    def _queue(
        self, what: str, table: Particles
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Return (n,) whether a particle is in the queue, and (n,) how soon it is due."""
        unknown = is_unknown(table)
        doubt = 1 - np.nan_to_num(margin(table)) + unknown
        unlabelled = table.label == ""
        if what == "disagreements":
            wrong = () if self._judged is None else self._judged.wrong
            return np.isin(table.id, wrong), doubt
        if what == "of one kind":
            mine = table.predicted == self._kind.currentData()
            return mine & unlabelled & self.session.shown, np.nan_to_num(table.confidence)
        if what == "labelled by me":
            return ~unlabelled, doubt
        looked_at = unknown if what == "unknown" else np.isfinite(table.confidence)
        return looked_at & unlabelled & self.session.shown, doubt

    def _fill(self, ids: list[int]) -> None:
        tomogram, table = self.session.tomogram, self.session.particles
        if tomogram is None:
            self._gallery.clear()
            return
        rows = {int(particle): row for row, particle in enumerate(table.id)}
        colours = colour_of(self.session.classes)
        side = max(round(1.5 * self.session.diameter / tomogram.voxel_size), 8)

        def picture(particle: int) -> QPixmap:
            cut, _, _ = sections(box_at(tomogram, table.positions[rows[particle]], side))
            return pixmap(cut, PICTURE)

        tiles = [_tile(table, rows[particle], colours) for particle in ids if particle in rows]
        self._gallery.show_tiles(tiles, picture)

    def _on_particles(self) -> None:
        if self.isVisible():
            self._show_threshold()
            if self._gallery.count():
                self._fill(self._gallery.ids)
            else:
                self.refill()
            self._judging.renew()

    # --- how sure it has to be ---

    def _show_threshold(self) -> None:
        shown = self.session.particles.take(self.session.shown)
        self._sure_enough.show_particles(shown, self.session.sure_enough)

    def _choose_threshold(self, threshold: float) -> None:
        self.session.predict_from(threshold)
        self._show_estimate()
        self.refill()

    # --- accept and correct ---

    def _make_actions(self) -> None:
        row = QHBoxLayout()
        row.addWidget(button("Accept", self.accept, "Enter: what is predicted becomes the label"))
        row.addWidget(button("Undo", self.layers.gestures.undo, "Control-Z"))
        row.addStretch(1)
        row.addWidget(button("Next page ▸", self.refill, "Fill the gallery anew from the queue"))
        self.body.addLayout(row)

    def _make_keys(self) -> None:
        keys: dict[str, Callable[[], None]] = {
            "Return": self.accept,
            "Enter": self.accept,
            "Backspace": partial(self._give, ""),
            "Ctrl+Z": self.layers.gestures.undo,
            "Ctrl+Shift+Z": self.layers.gestures.redo,
        }
        keys |= {digit: partial(self._correct, digit) for digit in "0123456789"}
        for key, action in keys.items():
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def accept(self) -> None:
        """Take the predictions of the chosen particles as labels."""
        table, chosen = self.session.particles, self._gallery.chosen()
        with self.attempt():
            if chosen and is_unknown(table)[np.isin(table.id, chosen)].all():
                raise ValueError("nothing is predicted of what is unknown; press the digit it is")
            for name in sorted(set(table.predicted[np.isin(table.id, chosen)]) - {""}):
                alike = np.isin(table.id, chosen) & (table.predicted == name)
                self.session.label(table.id[alike].tolist(), name)
            self._done()

    def _correct(self, key: str) -> None:
        for known in self.session.classes:
            if known.key == key:
                self._give(known.name)

    def _give(self, name: str) -> None:
        chosen = self._gallery.chosen()
        if chosen:
            with self.attempt():
                self.session.label(chosen, name)
                self._done()

    def _done(self) -> None:
        self.session.mark("Review")
        self._gallery.advance()

    # --- how good is it ---

    def _show_judged(self, judged: Judged) -> None:
        self._judged = judged
        self._sure_enough.show_judged(judged)
        self._show_estimate()
        if self._what.currentText() == "disagreements" and not self._gallery.count():
            self.refill()

    def _show_estimate(self) -> None:
        if self._judged is not None:
            self._estimate.setText(estimate(self._judged, self.session.sure_enough))


def _tile(table: Particles, row: int, colours: dict[str, str]) -> Tile:
    label, predicted = str(table.label[row]), str(table.predicted[row])
    said = f"you said {title_of(label)}" if label else "no label yet"
    return Tile(
        id=int(table.id[row]),
        colour=colours.get(label or predicted, colours[""]),
        labelled=bool(label),
        text="✓" if label else sureness(table, row),
        tip=f"particle {table.id[row]}: {said}; {prediction(table, row)}",
    )


def estimate(judged: Judged, threshold: float = 0.0) -> str:
    """Say precision and recall of predictions that are sure enough, with 95 % intervals.

    The intervals are those of Wilson 1927.
    """
    right = judged.answers == judged.labels
    found, real = judged.answers != OTHER, judged.labels != OTHER
    if len(judged.sure):
        enough = judged.sure >= threshold
        right, found = right & enough, found & enough
    if not found.any() or not real.any():
        return "Precision and recall come with more labels."
    figures = []
    for name, rows in (("precision", found), ("recall", real)):
        interval = binomtest(int(right[rows].sum()), int(rows.sum())).proportion_ci(method="wilson")
        figures.append(
            f"{name} {right[rows].mean():.2f} ({interval.low:.2f} to {interval.high:.2f})"
        )
    return f"Estimated {' and '.join(figures)}, from {len(right)} labels {judged.how}."
