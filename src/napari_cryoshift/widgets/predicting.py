"""What predicts: which model, and whether it names its own kinds or follows a person's labels."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import shipped_checkpoint

from .answers import answers_by_itself
from .panel import Folded, Panel, wrapped
from .runs import RunList, runs_folder
from .style import title_of


class Predicting(QWidget):
    """The list of models and, for one that knows kinds of its own, what is made of them.

    Parameters
    ----------
    panel
        Where it stands.
    """

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel, self._session = panel, panel.session
        self._runs = RunList()
        self._runs.chosen.connect(self._use)
        self._own, self._by_labels = QRadioButton("its own kinds"), QRadioButton("my labels")
        self._own.setToolTip("It names the kinds that it learnt; labels only say how right it is.")
        self._by_labels.setToolTip("Labels decide, by what the model sees in the particles.")
        both = QButtonGroup(self)
        row = QHBoxLayout()
        row.addWidget(wrapped("From"))
        for choice in (self._own, self._by_labels):
            choice.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            both.addButton(choice)
            row.addWidget(choice)
        row.addStretch(1)
        both.buttonClicked.connect(lambda _: self._choose())
        self._how = wrapped("")
        self._names = QFormLayout()
        self._names.setContentsMargins(0, 0, 0, 0)
        called = QWidget()
        called.setLayout(self._names)
        self._called = Folded("What its kinds are called here", called)
        self._choice = QWidget()
        inside = QVBoxLayout(self._choice)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addLayout(row)
        inside.addWidget(self._how)
        inside.addWidget(self._called)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._runs)
        column.addWidget(self._choice)
        panel.listen(self._session.tomogram_changed, self._show_runs)
        panel.listen(self._session.checkpoint_changed, self._on_checkpoint)
        panel.listen(self._session.work.changed, self._show_runs)
        panel.listen(self._session.classes_changed, self._show_choice)
        panel.listen(self._session.particles_changed, self._show_how)
        self._on_checkpoint()

    # --- which model ---

    def _on_checkpoint(self) -> None:
        self._show_runs()
        self._show_choice()

    def _show_runs(self) -> None:
        self._runs.show_runs(runs_folder(self._session.project), self._session.checkpoint)

    def _use(self, file: Path | None) -> None:
        with self._panel.attempt():
            self._session.use(shipped_checkpoint() if file is None else Checkpoint.load(file))

    # --- its own kinds, or labels ---

    def _choose(self) -> None:
        self._session.answer_by_itself(self._own.isChecked())

    def _show_choice(self) -> None:
        checkpoint, answers = self._session.checkpoint, self._session.answers
        self._choice.setVisible(checkpoint is not None and answers_by_itself(checkpoint))
        (self._by_labels if answers is None else self._own).setChecked(True)
        self._called.setVisible(answers is not None)
        while self._names.rowCount():  # not removed at once: one of them may have been clicked
            gone = self._names.takeRow(0)
            for item in (gone.labelItem, gone.fieldItem):
                item.widget().hide()
                item.widget().deleteLater()
        if answers is not None:
            kinds = [known.name for known in self._session.classes]
            for name, kind in answers.kinds.items():
                self._names.addRow(_label(name), self._combo(name, kind, kinds))
        self._show_how()

    def _show_how(self) -> None:
        answers, table = self._session.answers, self._session.particles
        labels = int((table.label != "").sum())
        if answers is None:
            text = f"{labels:,} labels decide, by what it sees in the particles."
        else:
            count = len(set(answers.kinds.values()) - {OTHER})
            text = f"It names {count} kinds by itself; labels it has not seen say how right it is."
        self._how.setText(text)

    def _combo(self, name: str, kind: str, kinds: list[str]) -> QComboBox:
        """Return the choice of a kind for a class of the model."""
        box = QComboBox()
        box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(10)
        for known in dict.fromkeys([*kinds, kind, name]):
            box.addItem(title_of(known), known)
        box.setCurrentIndex(box.findData(kind))
        box.activated.connect(lambda _: self._call(name, str(box.currentData())))
        return box

    def _call(self, name: str, kind: str) -> None:
        answers = self._session.answers
        if answers is not None:
            with self._panel.attempt():
                self._session.call({**answers.kinds, name: kind})


def _label(name: str) -> QElidingLabel:
    label = QElidingLabel(title_of(name))
    label.setToolTip(title_of(name))
    label.setMinimumWidth(130)
    return label
