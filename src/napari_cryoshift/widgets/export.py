"""Export: the list for the next program, checked by reading it back; and import of lists."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase, QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QSizePolicy,
    QSpinBox,
)

from napari_cryoshift.core.formats import FORMATS, ListContext, read_particles, write_particles
from napari_cryoshift.core.formats.base import spoken_class
from napari_cryoshift.core.types import OTHER, Particles

from .classes import dot
from .panel import Panel, button, wrapped
from .style import title_of

if TYPE_CHECKING:
    import napari

_ROWS = 5
_UNBINNED = {"relion4", "relion5"}
"""Formats that count in pixels of the tilt series, so that the binning matters."""

_STAR = "STAR files (*.star)"
_NAME = Qt.ItemDataRole.UserRole


class ExportPanel(Panel):
    """Program first, then only what that program needs; a preview; and the way back."""

    title = "Export"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self._written: Path | None = None
        self._make_format()
        self._make_choice()
        self._make_writing()
        self._make_import()
        self.listen(self.session.classes_changed, self._show_classes)
        self.listen(self.session.particles_changed, self._show_counts)
        self.listen(self.session.threshold_changed, self._show_counts)
        self.listen(self.session.tomogram_changed, self._show_counts)
        self._show_format()
        self._show_classes()

    def advice(self) -> str:  # noqa: D102
        if self.session.tomogram is None:
            return "Open a tomogram, or try the sample."
        if self._written is not None:
            return f"{self._written.name} is written. “Show it” lays what it says over the volume."
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
        self._binning = QDoubleSpinBox()
        self._binning.setRange(1, 64)
        self._binning.setDecimals(2)
        self._binning.setToolTip(
            "Edge of a voxel of this tomogram, in pixels of the tilt series: 4 for bin 4."
        )
        self._binning.valueChanged.connect(lambda _: self._show_counts())
        self._star = QLabel("")
        row = QHBoxLayout()
        row.addWidget(self._star, 1)
        row.addWidget(
            button("Choose …", self._ask_star, "RELION's tomograms.star, if there is one")
        )
        self._tomograms_star: Path | None = None
        form = QFormLayout()
        form.addRow("Program", self._format)
        form.addRow("Binning", self._binning)
        form.addRow("tomograms.star", row)
        self._rows = form
        self._star_row = row
        self._notes = wrapped("")
        self.body.addLayout(form)
        self.body.addWidget(self._notes)

    def _show_format(self) -> None:
        name = self._format.currentData()
        unbinned = name in _UNBINNED
        self._rows.setRowVisible(self._binning, unbinned)
        self._rows.setRowVisible(self._star_row, unbinned)
        self._star.setText(self._tomograms_star.name if self._tomograms_star else "none")
        self._notes.setText(FORMATS[name].notes)
        self._show_counts()

    def _ask_star(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "tomograms.star", "", _STAR)
        self._tomograms_star = Path(path) if path else None
        self._show_format()

    def _context(self) -> ListContext:
        if self.session.tomogram is None:
            raise ValueError("no tomogram is open; open one, or try the sample")
        return ListContext.of(
            self.session.tomogram,
            binning=self._binning.value(),
            tomograms_star=self._tomograms_star,
        )

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
        self._written = None
        self._show_preview(chosen)
        self.show_advice()

    # --- writing ---

    def _make_writing(self) -> None:
        self._preview = QPlainTextEdit()
        self._preview.setReadOnly(True)
        self._preview.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._preview.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._preview.setMinimumHeight(84)
        # It takes what the others leave, so that all of the panel is seen.
        self._preview.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self._preview.setToolTip("The first rows, as they will be written")
        self._preview.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.body.addWidget(self._preview, 1)
        self._write = button("Write the list …", self._ask_write)
        self._show = button("Show it", self.show_written, "Read it back and lay it over the volume")
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
        """Write the first rows to a scratch folder and show that very text."""
        if not len(chosen):
            self._preview.clear()
            return
        name = self._format.currentData()
        with self.attempt(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"preview{FORMATS[name].suffix}"
            write_particles(
                path, chosen.take(np.arange(min(_ROWS, len(chosen)))), name, context=self._context()
            )
            lines = path.read_text(encoding="utf-8").splitlines()
            self._preview.setPlainText("\n".join(line for line in lines if line.strip()))
            bar = self._preview.verticalScrollBar()
            bar.setValue(bar.maximum())  # the rows come after the names of the columns

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
        """Write the chosen particles."""
        with self.attempt():
            chosen = self.chosen()
            said = write_particles(
                path, chosen, self._format.currentData(), context=self._context()
            )
            self._said.setText("\n".join([f"{len(chosen):,} particles are in {path.name}.", *said]))
            self._said.setToolTip(str(path))
            self.session.mark("Export")
            self._written = path
            self.show_advice()

    def show_written(self) -> None:
        """Read the last list back, and lay it over the volume."""
        with self.attempt():
            if self._written is None:
                raise ValueError("no list is written yet; write one first")
            back = read_particles(
                self._written, self._format.currentData(), context=self._context()
            )
            self.layers.show_read_back(back.positions, self._written.name)

    # --- import ---

    def _make_import(self) -> None:
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        self.body.addWidget(line)
        self._as_labels = QCheckBox("its classes are my labels")
        self._as_labels.setToolTip("For a list that a person made or checked")
        self._as_labels.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        row = QHBoxLayout()
        row.addWidget(button("Import a list …", self._ask_import))
        row.addWidget(self._as_labels)
        row.addStretch(1)
        self.body.addLayout(row)

    def _ask_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Import a list", "", "Particle lists (*.star *.csv *.tsv *.txt);;All files (*)"
        )
        if path:
            self.read(Path(path))

    def read(self, path: Path) -> None:
        """Add the particles of a list to the project."""
        with self.attempt():
            context = self._context()
            found = read_particles(
                path, context=context, as_label=self._as_labels.isChecked(), only=context.tomogram
            )
            self.session.import_particles(found)
            self._said.setText(f"{len(found):,} particles were imported from {path.name}.")
