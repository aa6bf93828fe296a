"""What to predict with: the embedding that comes with the program, or an earlier training."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.project import Project

_PATH = Qt.ItemDataRole.UserRole
_ROWS = 4


def runs_folder(project: Project | None) -> Path | None:
    """Return where a project keeps its trainings."""
    return None if project is None else project.folder / "checkpoints"


def unadapted(folder: Path | None, checkpoint: Checkpoint) -> Path | None:
    """Return the file of a model as it was before it adapted, or None where there is none."""
    file = None if folder is None else folder / f"{checkpoint.digest}.unadapted"
    return file if file is not None and file.exists() else None


def keep_run(folder: Path, checkpoint: Checkpoint, before: Path | None = None) -> None:
    """Keep a training that has ended and, if the file is there, what it was before it adapted."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{checkpoint.method}.safetensors"
    checkpoint.save(folder / name)
    if before is not None and before.exists():
        before.replace(folder / f"{checkpoint.digest}.unadapted")


def read_runs(folder: Path | None) -> dict[str, Checkpoint]:
    """Read the trainings of a project: title → model, the newest first.

    Files that cannot be used are left out.
    """
    files = [] if folder is None else list(folder.glob("*.safetensors"))
    found = {}
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        with contextlib.suppress(ValueError):
            checkpoint = Checkpoint.load(file)
            when = datetime.fromtimestamp(file.stat().st_mtime)
            found[f"{METHODS[checkpoint.method].title}, {when:%d %b %H:%M:%S}"] = checkpoint
    return found


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
        self._known: dict[tuple[Path, float], tuple[str, str]] = {}
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setToolTip("A click goes back to an earlier training.")
        self.itemClicked.connect(lambda item: self.chosen.emit(item.data(_PATH)))

    def show_runs(self, folder: Path | None, used: Checkpoint | None) -> None:
        """List the checkpoints in a folder; ``used`` is the one that predicts now."""
        self.clear()
        self.addItem(QListWidgetItem("the embedding that comes with the program"))
        self.setCurrentRow(0)
        digest = "" if used is None else used.digest
        files = [] if folder is None else list(folder.glob("*.safetensors"))
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            found = self._list(file, digest)
            before = file.with_name(f"{found}.unadapted")
            if found and before.exists():
                self._list(before, digest)
        self.setFixedHeight(min(self.count(), _ROWS) * max(self.sizeHintForRow(0), 20) + 6)

    def _list(self, file: Path, used: str) -> str:
        """Add a run; return its digest, or "" if it cannot be used."""
        item = QListWidgetItem()
        self.addItem(item)
        try:
            title, digest = self._read(file)
        except ValueError as error:  # stays in the list, and says why it cannot be used
            item.setText(f"{file.name}: cannot be used")
            item.setToolTip(str(error))
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            return ""
        item.setData(_PATH, file)
        item.setText(title)
        item.setToolTip(title)
        if digest == used:
            self.setCurrentItem(item)
        return digest

    def _read(self, file: Path) -> tuple[str, str]:
        """Return title and digest; weights are read once, as they may be many."""
        written = file.stat().st_mtime
        if (file, written) not in self._known:
            checkpoint = Checkpoint.load(file)
            title = _title(checkpoint, datetime.fromtimestamp(written))
            self._known[file, written] = title, checkpoint.digest
        return self._known[file, written]


def _title(checkpoint: Checkpoint, when: datetime) -> str:
    """Say when and how a model was trained, and its last figures."""
    if "stage" in checkpoint.card:
        return f"{when:%d %b %H:%M}  {METHODS[checkpoint.method].title}, {checkpoint.card['stage']}"
    figures = [f"{name} {value:.2f}" for name, value in checkpoint.card.get("figures", {}).items()]
    return f"{when:%d %b %H:%M}  {METHODS[checkpoint.method].title}  {', '.join(figures)}"
