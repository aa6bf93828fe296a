"""Import of a particle list: looked at first, put right where need be, then taken over."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_cryoshift.core.formats import FORMATS, ListContext, guess_format
from napari_cryoshift.core.types import OTHER, Particles

from .job import JobBar, Running, sentence, start
from .list_fields import TO_READ, ListFields
from .list_tables import PairTable, RowTable
from .listing import Listing, import_listing, read_listing
from .panel import RED, button, wrapped
from .session import Session

LIST_FILES = "Particle lists ({} *.txt *.tsv);;All files (*)".format(
    " ".join(sorted({f"*{entry.suffix}" for entry in FORMATS.values()}))
)
"""For file dialogs."""

_PAUSE = 250
"""Milliseconds after a key until the list is read again."""


class Importer(QWidget):
    """A list that is about to be imported; nothing is changed before a person says so.

    Signals
    -------
    imported
        A sentence that says what was taken over.
    closed
        It is over, whichever way.

    Parameters
    ----------
    session
        What a person is working on.
    bar
        Where it shows that a long list is being read.
    """

    imported = Signal(str)
    closed = Signal()

    def __init__(self, session: Session, bar: JobBar) -> None:
        super().__init__()
        self.session, self._bar = session, bar
        self.listing: Listing | None = None
        self._path: Path | None = None
        self._pairs: dict[str, str] | None = None
        self._running: Running | None = None
        self._again = False
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE)
        self._pause.timeout.connect(self._read)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self._matches, self._rows = PairTable(), RowTable()
        self._matches.chosen.connect(self._choose_pair)
        parts = (self._make_head(), self._matches, self._rows, self._make_choice())
        for part in (*parts, self._make_end()):
            column.addWidget(part)
        self.hide()

    def open(self, path: Path) -> None:
        """Show what a list says.

        Raises
        ------
        ValueError, OSError
            If it is none, or cannot be read.
        """
        name = guess_format(path)
        self._path, self._pairs = path, None
        self._title.setText(f"Import {path.name}")
        self._title.setToolTip(str(path))
        with QSignalBlocker(self._format):
            self._format.setCurrentIndex(self._format.findData(name))
        self.fields.reset()
        self._show_nothing(f"Reading {path.name} …", wrong=False)
        self.show()
        self._show_format()

    def close_list(self) -> None:
        """Leave the list; nothing is imported."""
        self._path = self.listing = None
        self._pause.stop()
        if self._running is not None:
            self._running.stop()
        self.hide()
        self.closed.emit()

    def follow_tomogram(self) -> None:
        """Look again, as another tomogram was opened or its voxel size was corrected."""
        if self._path is not None:
            self._pairs = None
            self._read_soon()

    # --- what it is made of ---

    def _make_head(self) -> QWidget:
        self._title = QElidingLabel("")  # names of files may be long, and have no spaces
        self._format = QComboBox()
        self._format.setObjectName("list_format")
        self._format.setToolTip("Guessed by what the file holds")
        for name, entry in FORMATS.items():
            self._format.addItem(entry.title, name)
        self._format.currentIndexChanged.connect(lambda _: self._show_format())
        self.fields = ListFields(TO_READ)
        self.fields.changed.connect(self._read_soon)
        head = QWidget()
        column = QVBoxLayout(head)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._title)
        form = QFormLayout()
        form.addRow("Format", self._format)
        column.addLayout(form)
        column.addWidget(self.fields)
        return head

    def _make_choice(self) -> QWidget:
        self._inside = wrapped("")
        self._inside.setMinimumHeight(3 * self._inside.fontMetrics().lineSpacing())
        self._as_candidates = QRadioButton("Take them as candidates, to be labelled here")
        self._as_labels = QRadioButton("Their classes are my labels")
        self._as_labels.setToolTip("For a list that a person made or checked")
        self._as_candidates.setChecked(True)
        self._class = QComboBox()
        self._class.setEditable(True)
        self._class.setObjectName("class_of_all")
        self._class.setToolTip("The list names no class: this is that of all its particles")
        self._classes = wrapped("")
        self._class.currentTextChanged.connect(lambda _: self._show_choice())
        for choice in (self._as_candidates, self._as_labels):
            choice.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._as_labels.toggled.connect(lambda _: self._show_choice())
        made = QWidget()
        column = QVBoxLayout(made)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self._inside)
        column.addWidget(self._as_candidates)
        column.addWidget(self._as_labels)
        self._class_row = QWidget()
        row = QHBoxLayout(self._class_row)
        row.setContentsMargins(20, 0, 0, 0)
        row.addWidget(QLabel("All are"))
        row.addWidget(self._class, 1)
        column.addWidget(self._class_row)
        column.addWidget(self._classes)
        return made

    def _make_end(self) -> QWidget:
        self._import = button("Import", self._start_import)
        made = QWidget()
        row = QHBoxLayout(made)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._import, 1)
        row.addWidget(button("Cancel", self.close_list, "Leave the list; nothing is imported"))
        return made

    # --- reading ---

    def _show_format(self) -> None:
        self.fields.show_format(self._format.currentData())
        self._pairs = None
        self._read()

    def _read_soon(self) -> None:
        """Read when a person has stopped typing; until then nothing can be imported."""
        self.listing = None
        self._import.setEnabled(False)
        self._pause.start()

    def _read(self) -> None:
        """Read the list, or once more if it is being read with what was given before."""
        self.listing = None
        self._import.setEnabled(False)
        tomogram, project = self.session.tomogram, self.session.project
        if self._path is None:
            return
        if tomogram is None or project is None:
            self._show_nothing(
                "Open the tomogram of this list first; the list waits here.", wrong=False
            )
            return
        if self._running is not None:
            self._again = True
            self._running.stop()
            return
        self.fields.prefill(voxel_size=tomogram.voxel_size, shape=tomogram.shape)
        opened = ListContext.of(tomogram)
        try:
            contexts = {tomogram.name: self.fields.complete(opened)}
            for record in project.tomograms():
                context = replace(opened, voxel_size=record.voxel_size, shape=record.shape)
                contexts.setdefault(record.name, self.fields.complete(context))
        except ValueError as error:
            self._show_nothing(sentence(error))
            return
        job = read_listing(self._path, self._format.currentData(), contexts, self._pairs)
        title = f"Reading {self._path.name}"
        self._running = start(job, title, done=self._take, failed=self._show_nothing)
        self._running.ended.connect(self._on_end)
        self._bar.follow(self._running)

    def _on_end(self) -> None:
        stopped = self._running is not None and self._running.stopped
        self._running = None
        if self._again:
            self._again = False
            self._read()
        elif stopped and self._path is not None:
            self._show_nothing("Reading was stopped. Change a field to go on, or cancel.")

    def _take(self, listing: Listing) -> None:
        if self._path is None or self._again:
            return
        self.listing = listing
        self._pairs = dict(listing.pairs)
        self._matches.show_pairs(listing)
        self._rows.show_rows(listing)
        self._say(listing.verdict, wrong=listing.wrong)
        self._show_choice()

    def _say(self, text: str, *, wrong: bool) -> None:
        # As rich text, for napari's style sheet overrules the palette of a label.
        coloured = f'<span style="color: {RED.name()}">{escape(text)}</span>'
        self._inside.setText(coloured if wrong else escape(text))

    def _show_nothing(self, why: str, *, wrong: bool = True) -> None:
        self.listing = None
        self._matches.hide()
        self._rows.clearContents()
        self._say(why, wrong=wrong)
        self._show_choice()

    def _choose_pair(self, tomogram: str, named: str) -> None:
        self._pairs = {**(self._pairs or {}), tomogram: named}
        self._read()

    # --- taking over ---

    def _show_choice(self) -> None:
        listing, as_labels = self.listing, self._as_labels.isChecked()
        if listing is None:
            self._class_row.hide()
            self._classes.clear()
            self._import.setEnabled(False)
            return
        self._class_row.setVisible(as_labels and not listing.classes)
        if as_labels and not self._class.count():
            with QSignalBlocker(self._class):
                self._class.addItems(
                    [one.name for one in self.session.classes if one.name != OTHER]
                )
        count = sum(len(rows) for rows in listing.inside.values())
        self._import.setText(f"Import {count:,} particle{'' if count == 1 else 's'}")
        self._import.setEnabled(bool(count))
        self._classes.setText(self._about_classes(listing))

    def _about_classes(self, listing: Listing) -> str:
        if not self._as_labels.isChecked():
            return "The classes of the list are not taken over." if listing.classes else ""
        names = self._names(listing)
        if not names:
            return "Name the class of the particles, and they are labelled with it."
        new = self._new_classes(listing)
        return f"New classes: {', '.join(new)}." if new else f"Classes: {', '.join(names)}."

    def _names(self, listing: Listing) -> tuple[str, ...]:
        """Return the classes that become labels."""
        if not self._as_labels.isChecked():
            return ()
        given = self._class.currentText().strip()
        return listing.classes or ((given,) if given else ())

    def _new_classes(self, listing: Listing) -> list[str]:
        known = {one.name for one in self.session.classes}
        return [name for name in self._names(listing) if name not in known]

    def _start_import(self) -> None:
        listing, project, tomogram = self.listing, self.session.project, self.session.tomogram
        if listing is None or project is None or tomogram is None:
            return
        names, opened = self._names(listing), tomogram.name
        label = "" if not names else None if listing.classes else names[0]

        def done(table: Particles) -> None:
            if self.session.tomogram is not None and self.session.tomogram.name == opened:
                self.session.read_classes()
                self.session.take(table)
            count = sum(len(rows) for rows in listing.inside.values())
            self.imported.emit(f"{count:,} particles were imported from {listing.path.name}.")
            self.close_list()

        try:
            job = import_listing(listing, project, opened, label=label)
            self.session.work.run(job, "Importing", done=done)
        except (ValueError, OSError) as error:
            self._say(sentence(error), wrong=True)
