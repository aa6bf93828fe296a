"""What to predict with: the embedding that comes with the program, or an earlier training."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods import METHODS

_PATH = Qt.ItemDataRole.UserRole
_ROWS = 4


class RunList(QListWidget):
    """Trainings of a project, the newest first; the one in use is highlighted.

    Signals
    -------
    chosen
        The file of the run that was clicked, or None for what comes with the program.
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setToolTip("A click goes back to an earlier training.")
        self.itemClicked.connect(lambda item: self.chosen.emit(item.data(_PATH)))

    def show_runs(self, folder: Path | None, used: Checkpoint | None) -> None:
        """List the checkpoints in a folder; ``used`` is the one that predicts now."""
        self.clear()
        self.addItem(QListWidgetItem("the embedding that comes with the program"))
        self.setCurrentRow(0)
        files = [] if folder is None else list(folder.glob("*.safetensors"))
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            item = QListWidgetItem()
            self.addItem(item)
            try:
                checkpoint = Checkpoint.load(file)
            except ValueError as error:  # stays in the list, and says why it cannot be used
                item.setText(f"{file.name}: cannot be used")
                item.setToolTip(str(error))
                item.setFlags(Qt.ItemFlag.NoItemFlags)
                continue
            item.setData(_PATH, file)
            item.setText(_title(checkpoint, datetime.fromtimestamp(file.stat().st_mtime)))
            if used is not None and used.digest == checkpoint.digest:
                self.setCurrentItem(item)
        self.setFixedHeight(min(self.count(), _ROWS) * max(self.sizeHintForRow(0), 16) + 6)


def _title(checkpoint: Checkpoint, when: datetime) -> str:
    """Say when and how a model was trained, and its last figures."""
    figures = [f"{name} {value:.2f}" for name, value in checkpoint.card.get("figures", {}).items()]
    return f"{when:%d %b %H:%M}  {METHODS[checkpoint.method].title}  {', '.join(figures)}"
