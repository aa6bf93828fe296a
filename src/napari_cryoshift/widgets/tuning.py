"""The embedding that is in use, trained on for the tomogram that is open."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.embeddings import fingerprint
from napari_cryoshift.core.fine_tuning import TuneParams, look_at, tunable, tune
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.workflows import shipped_checkpoint

from .form import Form
from .panel import Folded, Panel, button, wrapped
from .runs import keep_run, runs_folder

_FIELDS = ("defocus", "shift", "tasks", "learning_rate", "seed")


class Tuning(QWidget):
    """A button that tunes the embedding, and what was seen of the tomogram it is tuned to.

    Parameters
    ----------
    panel
        Where it stands: errors are shown and the job runs there.
    """

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel, self._session = panel, panel.session
        self._form = Form(TuneParams, _FIELDS)
        self._start = button(
            "Tune the embedding to this tomogram",
            self.start,
            "Known structures are simulated as this tomogram was taken, in boxes of its own "
            "background, and learnt to be told apart; no label is needed. Some five minutes on two "
            "cores.",
        )
        self._seen = wrapped("")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._start)
        column.addWidget(self._seen)
        column.addWidget(Folded("Settings of the tuning", self._form))
        panel.listen(self._session.checkpoint_changed, self._show_seen)
        self._show_seen()

    def start(self) -> None:
        """Tune in the background; the result is used at once."""
        session = self._session
        with self._panel.attempt():
            if session.tomogram is None:
                raise ValueError("no tomogram is open; open one, or try the sample")
            picks = session.particles.take(session.shown)
            job = _tuning(
                session.tomogram,
                picks,
                _base(session.checkpoint),
                self._form.params(diameter=session.diameter),
                runs_folder(session.project),
            )
            session.work.run(job, "Tuning", done=session.use)

    def _show_seen(self) -> None:
        """Say what the embedding in use is tuned to."""
        checkpoint = self._session.checkpoint
        tuned = None if checkpoint is None else checkpoint.card.get("tuned")
        self._seen.setVisible(tuned is not None)
        if tuned is not None:
            rows = [f"{name}: {value}" for name, value in tuned["estimate"].items()]
            text = [f"In use is one that is tuned to {tuned['tomogram']}.", "; ".join(rows) + "."]
            self._seen.setText(" ".join([*text, *tuned["doubts"]]))


def _base(used: Checkpoint | None) -> Checkpoint:
    """Return what to go on from: the embedding in use, unless it is one of a tomogram already."""
    own = used is not None and tunable(used) and "tuned" not in used.card
    return used if used is not None and own else shipped_checkpoint()


def _tuning(
    tomogram: Tomogram,
    picks: Particles,
    base: Checkpoint,
    params: TuneParams,
    folder: Path | None,
) -> Job[Checkpoint]:
    """Look at the tomogram, then tune; in the folder is kept how far it is, and the result."""
    found = yield from look_at(tomogram, picks, base, params)
    if folder is None:
        return (yield from tune(tomogram, found, base, params))
    folder.mkdir(parents=True, exist_ok=True)
    about = [fingerprint(tomogram), base.digest, params.model_dump(mode="json")]
    content = hashlib.sha256(json.dumps(about).encode() + picks.positions.tobytes())
    resume = folder / f"{content.hexdigest()[:16]}.run"
    checkpoint = yield from tune(tomogram, found, base, params, resume)
    keep_run(folder, checkpoint)
    return checkpoint
