"""Export: the list for the next program, checked by reading it back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase, QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QSizePolicy,
    QSpinBox,
)

from napari_cryoshift.core.formats import FORMATS, ListContext
from napari_cryoshift.core.formats.base import spoken_class
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import OTHER, Particles

from .classes import dot
from .job import start
from .list_fields import TO_WRITE, ListFields
from .panel import Panel, button, wrapped
from .style import title_of
from .written import Written, first_rows, how_far_off, read_back, write_list

if TYPE_CHECKING:
    import napari

_NAME = Qt.ItemDataRole.UserRole
_COLUMNS = ("class", "score", "confidence", "orientation", "tomogram")
"""What people ask of a format, of all that `Format.holds` may name."""


class ExportPanel(Panel):
    """Program first, then only what that program needs; a preview; and the way back."""

    title = "Export"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.written: Written | None = None
        self._make_format()
        self._make_choice()
        self._make_writing()
        self.listen(self.session.classes_changed, self._show_classes)
        self.listen(self.session.particles_changed, self._show_counts)
        self.listen(self.session.threshold_changed, self._show_counts)
        self.listen(self.session.tomogram_changed, self._prefill)
        self.listen(self.session.diameter_changed, self._prefill)
        self._show_format()
        self._show_classes()

    def advice(self) -> str:  # noqa: D102
        if self.session.tomogram is None:
            return "Open a tomogram, or try the sample."
        if self.written is not None:
            name = self.written.path.name
            return f"{name} is written. “Show re-imported” lays what it says over the volume."
        count = len(self.chosen())
        if not count:
            return "Nothing to write: tick a kind above, or label some particles first."
        return f"{count:,} particles are chosen. Write the list for {self._format.currentText()}."

    # --- what the program needs ---

    def _make_format(self) -> None:
        self._format = QComboBox()
        self._format.setObjectName("format")
        for name, entry in FORMATS.items():
            self._format.addItem(entry.title, name)
        self._format.currentIndexChanged.connect(lambda _: self._show_format())
        self.fields = ListFields(TO_WRITE)
        self.fields.changed.connect(self._show_counts)
        self._notes = wrapped("")
        self._notes.setTextFormat(Qt.TextFormat.PlainText)  # notes may say <tomogram>
        form = QFormLayout()
        form.addRow("Program", self._format)
        self.body.addLayout(form)
        self.body.addWidget(self._notes)
        self.body.addWidget(self.fields)

    def _show_format(self) -> None:
        entry = FORMATS[self._format.currentData()]
        kept = [column for column in _COLUMNS if column in entry.holds]
        lost = [column for column in _COLUMNS if column not in entry.holds]
        lines = [f"Keeps position{''.join(f', {column}' for column in kept)}."]
        if lost:
            lines.append(f"Loses {', '.join(lost)}.")
        self._notes.setText(f"{' '.join(lines)}\n{entry.notes}")
        self.fields.show_format(entry.name)
        self._prefill()

    def _prefill(self) -> None:
        tomogram = self.session.tomogram
        if tomogram is not None:
            self.fields.prefill(
                voxel_size=tomogram.voxel_size,
                shape=tomogram.shape,
                diameter=self.session.diameter,
            )
        self._show_counts()

    def _context(self) -> ListContext:
        if self.session.tomogram is None:
            raise ValueError("no tomogram is open; open one, or try the sample")
        return self.fields.complete(ListContext.of(self.session.tomogram))

    # --- which particles ---

    def _make_choice(self) -> None:
        self._kinds = QListWidget()
        self._kinds.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self._kinds.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._kinds.itemChanged.connect(lambda _: self._show_counts())
        self.body.addWidget(self._kinds)
        self._cut = QSpinBox()
        self._cut.setRange(0, 100)
        self._cut.setSingleStep(5)
        self._cut.setSuffix(" %")
        self._cut.setToolTip("How sure the prediction has to be; your own labels always count.")
        self._cut.valueChanged.connect(lambda _: self._show_counts())
        self._total = QLabel("")
        row = QHBoxLayout()
        row.addWidget(QLabel("Sure by at least"))
        row.addWidget(self._cut)
        row.addStretch(1)
        row.addWidget(self._total)
        self.body.addLayout(row)

    def _show_classes(self) -> None:
        unticked = {
            item.data(_NAME) for item in self._items() if item.checkState() != Qt.CheckState.Checked
        }
        self._kinds.blockSignals(True)
        self._kinds.clear()
        for known in self.session.classes:
            item = QListWidgetItem(dot(known.color), "")
            item.setData(_NAME, known.name)
            ticked = known.name not in (unticked or {OTHER})
            item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
            self._kinds.addItem(item)
        rows = min(max(self._kinds.count(), 1), 6)
        self._kinds.setFixedHeight(rows * max(self._kinds.sizeHintForRow(0), 16) + 6)
        self._kinds.blockSignals(False)
        self._show_counts()

    def _items(self) -> list[QListWidgetItem]:
        return [self._kinds.item(row) for row in range(self._kinds.count())]

    def _sure(self) -> Particles:
        """Return what is shown, said to be something, and sure enough."""
        table = self.session.particles
        labelled = table.label != ""
        sure = labelled | (np.nan_to_num(table.confidence, nan=-1.0) >= self._cut.value() / 100)
        return table.take(self.session.shown & sure & (spoken_class(table) != ""))

    def chosen(self) -> Particles:
        """Return the particles that would be written."""
        ticked = [
            item.data(_NAME) for item in self._items() if item.checkState() == Qt.CheckState.Checked
        ]
        sure = self._sure()
        return sure.take(np.isin(spoken_class(sure).astype(str), ticked))

    def _show_counts(self) -> None:
        if not self.isVisible():
            return  # a click under Label is not to wait for what nobody sees
        said = spoken_class(self._sure())
        self._kinds.blockSignals(True)
        for item in self._items():
            name = item.data(_NAME)
            item.setText(f"{title_of(name)}: {int((said == name).sum()):,}")
        self._kinds.blockSignals(False)
        chosen = self.chosen()
        self._total.setText(f"<b>{len(chosen):,}</b> particles")
        self._write.setEnabled(bool(len(chosen)))
        self.written = None
        self._show.setEnabled(False)
        self._said.clear()
        self._show_preview(chosen)
        self.show_advice()

    # --- writing ---

    def _make_writing(self) -> None:
        self._preview = QPlainTextEdit()
        self._preview.setReadOnly(True)
        self._preview.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._preview.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        # STAR files have tabs between numbers of a dozen digits.
        self._preview.setTabStopDistance(14 * self._preview.fontMetrics().horizontalAdvance("0"))
        self._preview.setCenterOnScroll(True)  # so that the first row can be at the top
        self._preview.setMinimumHeight(84)
        # It takes what the others leave, so that all of the panel is seen.
        self._preview.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self._preview.setToolTip("The first rows, as they will be written")
        self._preview.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.body.addWidget(self._preview, 1)
        self._write = button("Write the list …", self._ask_write)
        self._show = button(
            "Show re-imported", self.show_written, "Read it back and lay it over the volume"
        )
        row = QHBoxLayout()
        row.addWidget(self._write, 1)
        row.addWidget(self._show)
        self.body.addLayout(row)
        self._said = wrapped("")
        self.body.addWidget(self._said)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: D102
        super().showEvent(event)
        self._show_counts()

    def _show_preview(self, chosen: Particles) -> None:
        self._preview.clear()
        if len(chosen):
            with self.attempt():
                text = first_rows(chosen, self._format.currentData(), self._context())
                self._preview.setPlainText(text)
                # The rows of a STAR file come after the names of its columns.
                self._preview.verticalScrollBar().setValue(_first_row(text))

    def _ask_write(self) -> None:
        entry = FORMATS[self._format.currentData()]
        tomogram = self.session.tomogram
        name = f"{tomogram.name if tomogram else 'particles'}_particles{entry.suffix}"
        path, _ = QFileDialog.getSaveFileName(
            self, "Write the list", name, f"{entry.title} (*{entry.suffix})"
        )
        if path:
            self.write(Path(path))

    def write(self, path: Path) -> None:
        """Write the chosen particles, in the background."""
        with self.attempt():
            job = write_list(path, self.chosen(), self._format.currentData(), self._context())
            self._start(job, f"Writing {path.name}", self._take_written)

    def _take_written(self, written: Written) -> None:
        self.written = written
        count = sum(len(rows) for rows in written.files.values())
        self._say(f"{count:,} particles are in {written.path.name}.", *written.said)
        self.session.mark("Export")
        self._show.setEnabled(True)
        self.show_advice()

    def show_written(self) -> None:
        """Read the last list back, lay it over the volume, and say how far it is off."""
        if self.written is not None:
            self._start(read_back(self.written), "Reading it back", self._take_read_back)

    def _take_read_back(self, positions: npt.NDArray[np.float64]) -> None:
        if self.written is not None:
            self.layers.show_read_back(positions, self.written.path.name)
            self._say(how_far_off(positions, self.written), *self.written.said)

    def _start(self, job: Job[Any], title: str, done: Callable[[Any], None]) -> None:
        """Run a job beside what the session works on, e.g. training."""
        self._write.setEnabled(False)
        running = start(job, title, done=done, failed=self.show_error)
        self._bar.follow(running)
        running.ended.connect(self._on_end)  # after the bar's own, to show what else runs

    def _on_end(self) -> None:
        self._write.setEnabled(bool(len(self.chosen())))
        self._follow_job()

    def _say(self, *sentences: str) -> None:
        self._said.setText("\n".join(sentences))
        self._said.setToolTip("" if self.written is None else str(self.written.path))


def _first_row(text: str) -> int:
    """Return the first line that begins with a number, or 0 where none does."""
    lines = enumerate(text.splitlines())
    return next((k for k, line in lines if re.match(r"\s*[-+]?\d[\d.]*\s", line)), 0)
