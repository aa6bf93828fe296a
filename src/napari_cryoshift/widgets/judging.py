"""How good the model is that predicts: by labels, by examples, and by a map of what it sees."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.domain_views import (
    Examples,
    FeatureMaps,
    examples,
    feature_maps,
    source_of,
)
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.workflows import crop_for

from .answers import answers_by_itself
from .evaluation import Evaluation, RunTable
from .feature_map import Dots, Maps
from .live import Live
from .panel import Folded, Panel, button, wrapped
from .predictions import Judged
from .rivals import compare_runs
from .runs import read_runs, runs_folder, unadapted
from .side_by_side import SideBySide
from .style import GREY, colour_of, title_of

_SIMULATED, _PICKED = "#56b4e9", "#e69f00"
_MIXING = (
    "How well simulated and picked particles mix in what the model sees, from the nearest "
    "neighbours of each: 0 if they lie apart, 1 if they cannot be told from each other."
)


class Judging(QWidget):
    """Four sections that unfold, about the model of the session and those before it.

    Parameters
    ----------
    panel
        Where it stands: errors are shown and jobs run there.
    """

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel, self._session = panel, panel.session
        self._checkpoint: Checkpoint | None = None
        self._drawn: tuple[FeatureMaps, npt.NDArray[np.int64]] | None = None
        self._evaluation = Evaluation()
        self._judge = Live(self._session.judge, "Comparing with labels", self)
        self._judge.made.connect(self._show_judged)
        self._evaluation.seen.connect(self._on_seen)
        self._examples = SideBySide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(Folded("How right it is, kind by kind", self._evaluation))
        self._runs = RunTable()
        column.addWidget(
            Folded(
                "Trainings beside each other",
                button("Compare", self.compare, "By the labels that none has learnt from"),
                self._runs,
            )
        )
        column.addWidget(
            Folded(
                "Simulated beside picked particles",
                button("Show some", self.show_examples, "The surest of each kind"),
                self._examples,
            )
        )
        column.addWidget(Folded("Map of what it sees", self._make_map()))
        panel.listen(self._session.particles_changed, self._on_particles)
        panel.listen(self._session.checkpoint_changed, self._on_checkpoint)

    # --- labels ---

    def _on_seen(self, seen: bool) -> None:
        if seen:
            self._judge.renew()
        else:
            self._judge.rest()

    def _on_particles(self) -> None:
        if self._evaluation.isVisible():
            self._judge.renew()
        if self._maps.isVisible():
            self._dress()

    def _show_judged(self, judged: Judged) -> None:
        self._evaluation.show_judged(judged, colour_of(self._session.classes))

    def compare(self) -> None:
        """Show how right all trainings of the project are on the same labels."""
        with self._panel.attempt():
            tomogram, _, _ = self._what_there_is()
            session = self._session
            runs = {
                title: (checkpoint, session.answers_of(checkpoint))
                for title, checkpoint in read_runs(runs_folder(session.project)).items()
                if answers_by_itself(checkpoint)
            }
            job = compare_runs(tomogram, session.particles, runs)
            session.work.run(job, "Comparing trainings", done=self._runs.show_rivals)

    # --- examples ---

    def show_examples(self) -> None:
        """Show simulated and picked particles of each kind, and what the model makes of them."""
        with self._panel.attempt():
            job = _examples(*self._what_there_is())
            self._session.work.run(job, "Looking for examples", done=self._examples.show_examples)

    def _what_there_is(self) -> tuple[Tomogram, Particles, Checkpoint]:
        session = self._session
        if session.tomogram is None or session.checkpoint is None:
            raise ValueError("nothing is picked yet; open a tomogram and pick particles first")
        return session.tomogram, session.particles.take(session.shown), session.checkpoint

    def _on_checkpoint(self) -> None:
        """What is shown of another model goes."""
        if self._session.checkpoint is not self._checkpoint:
            self._checkpoint = self._session.checkpoint
            self._examples.show_examples(Examples((), {}))
            self._drawn = None
            self._maps.show_maps({})
            self._legend.setText("")

    # --- the map ---

    def _make_map(self) -> QWidget:
        self._maps = Maps()
        self._maps.setToolTip(_MIXING)
        self._maps.clicked.connect(self._session.select)
        self._legend = wrapped("")
        self._colour = QComboBox()
        self._colour.addItems(["coloured by origin", "coloured by kind"])
        self._colour.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._colour.currentIndexChanged.connect(lambda _: self._dress())
        row = QHBoxLayout()
        row.addWidget(button("Draw the map", self.draw_map, "Of what it sees, by t-SNE"))
        row.addWidget(self._colour, 1)
        whole = QWidget()
        column = QVBoxLayout(whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self._maps)
        column.addWidget(self._legend)
        return whole

    def draw_map(self) -> None:
        """Lay out simulated and picked particles by what the model sees, before and after."""
        with self._panel.attempt():
            tomogram, particles, checkpoint = self._what_there_is()
            folder = runs_folder(self._session.project)
            job = _maps(tomogram, particles, checkpoint, unadapted(folder, checkpoint))
            done = partial(self._show_map, particles.id)
            self._session.work.run(job, "Drawing the map", done=done)

    def _show_map(self, ids: npt.NDArray[np.int64], drawn: FeatureMaps) -> None:
        self._drawn = drawn, ids[drawn.target]
        lines = {
            f"{name}: mixing {drawn.mixing[name]:.2f}": drawn.points[name] for name in drawn.points
        }
        self._maps.show_maps(lines)
        self._dress()

    def _dress(self) -> None:
        """Colour the map by what is known of the particles now."""
        if self._drawn is None:
            return
        drawn, ids = self._drawn
        picked = np.arange(len(drawn.names) + len(ids)) >= len(drawn.names)
        if self._colour.currentIndex() == 0:
            colours = np.where(picked, _PICKED, _SIMULATED).astype(object)
            legend = [_square("simulated", _SIMULATED), _square("picked", _PICKED)]
        else:
            known = colour_of(self._session.classes)
            kinds = np.concatenate([self._kinds(drawn.names), self._said(ids)])
            colours = np.array([known.get(kind, GREY) for kind in kinds], dtype=object)
            legend = [_square(kind, known.get(kind, GREY)) for kind in sorted(set(kinds))]
            legend += ["○&nbsp;simulated", "●&nbsp;picked"]
        gone_to = np.concatenate([np.full(len(drawn.names), -1), ids])
        self._maps.dress(Dots(colours, picked, gone_to))
        self._legend.setText(" &nbsp; ".join(legend))

    def _kinds(self, names: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
        """What a person calls classes of the model."""
        answers = self._session.answers
        called = {} if answers is None else answers.kinds
        return np.array([called.get(name, name) for name in names], dtype=object)

    def _said(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        """Label of these particles, or what is predicted; "" for one that is there no more."""
        table = self._session.particles
        said = np.where(table.label != "", table.label, table.predicted)
        known = dict(zip(table.id.tolist(), said, strict=True))
        return np.array([known.get(int(i), "") for i in ids], dtype=object)


def _square(kind: str, colour: str) -> str:
    """Return an entry of a legend, as rich text."""
    return f'<span style="color: {colour}">■</span>&nbsp;{escape(title_of(kind) or "not known")}'


def _examples(tomogram: Tomogram, particles: Particles, checkpoint: Checkpoint) -> Job[Examples]:
    yield Progress("simulating particles", 0, 0)
    source = source_of(checkpoint)
    return (yield from examples(checkpoint, source, crop_for(tomogram, particles, checkpoint)))


def _maps(
    tomogram: Tomogram, particles: Particles, checkpoint: Checkpoint, before: Path | None
) -> Job[FeatureMaps]:
    yield Progress("simulating particles", 0, 0)
    models = {"now": checkpoint}
    if before is not None:
        models = {"before adapting": Checkpoint.load(before), "after": checkpoint}
    source = source_of(checkpoint)
    return (yield from feature_maps(models, source, crop_for(tomogram, particles, checkpoint)))
