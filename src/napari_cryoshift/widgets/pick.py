"""Pick: find candidates by their size, and choose how many of them to look at."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import OTHER, Particles, Tomogram
from napari_cryoshift.core.workflows import PickParams, RecentreParams, pick, recentre

from .editors import FloatEdit, IntEdit
from .form import Form
from .histogram import Histogram
from .panel import Folded, Panel, button

if TYPE_CHECKING:
    import napari

_NO_MASK = "the whole tomogram"
_ALL_SHOWN = "all that are shown"
_MORE = 100


class PickPanel(Panel):
    """One number, one button; then a threshold that costs nothing to move."""

    title = "Pick"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self._make_diameter()
        self._find = button("Find particles", self.find)
        self.body.addWidget(self._find)
        self.body.addWidget(self._make_threshold())
        self._make_more()
        self._make_recentring()
        self.body.addStretch(1)
        for event in ("inserted", "removed"):
            getattr(viewer.layers.events, event).connect(self._list_masks)
        self._list_masks()
        self.listen(self.session.tomogram_changed, self._show_tomogram)
        self.listen(self.session.particles_changed, self._show_scores)
        self.listen(self.session.threshold_changed, self._show_threshold)
        self.listen(self.session.classes_changed, self._list_kinds)
        self._list_kinds()
        self._show_tomogram()

    def advice(self) -> str:  # noqa: D102
        session = self.session
        if session.tomogram is None:
            return "Open a tomogram, or try the sample."
        if not len(session.particles):
            return "Type the diameter of the particle: the yellow circle should just hold one."
        return (
            f"{int(session.shown.sum()):,} of {len(session.particles):,} particles are shown. "
            "Move the line until few are missing. Next: Label."
        )

    # --- the one number ---

    def _make_diameter(self) -> None:
        self._diameter = FloatEdit(low=10, high=5000)
        self._diameter.setObjectName("diameter")
        self._diameter.setToolTip(
            "Largest extent of the particle in Å, e.g. 250 for a ribosome. "
            "The yellow circle in the volume shows it; select its layer to drag it."
        )
        self._diameter.changed.connect(self._take_diameter)
        row = QHBoxLayout()
        row.addWidget(QLabel("Particle diameter"))
        row.addWidget(self._diameter, 1)
        row.addWidget(QLabel("Å"))
        self.body.addLayout(row)

    def _take_diameter(self) -> None:
        self.session.set_diameter(float(self._diameter.value() or self.session.diameter))
        self.layers.show_ruler(True)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: D102
        super().showEvent(event)
        self._show_ruler()
        self._show_scores()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: D102
        super().hideEvent(event)
        if self.layers.is_open:
            self.layers.show_ruler(False)

    def _show_ruler(self) -> None:
        self.layers.show_ruler(self.isVisible() and not len(self.session.particles))

    # --- finding ---

    def find(self) -> None:
        """Pick with what the form says, in the background."""
        with self.attempt():
            self._take_diameter()
            project, tomogram = self.session.project, self.session.tomogram
            if project is None or tomogram is None:
                raise ValueError("no tomogram is open; open one, or try the sample")
            params = self._form.params().model_copy(update={"diameter": self.session.diameter})
            params = PickParams.model_validate(params.model_dump())
            self.session.remember("pick", params.model_dump(mode="json"))
            job = _picked(project, tomogram, params, self._mask())
            self.session.work.run(job, "Finding particles", done=self._take)

    def _take(self, picks: Particles) -> None:
        tomogram = self.session.tomogram
        if tomogram is not None and picks.tomogram[0] == tomogram.name:  # still the one open
            with self.attempt():
                self.layers.show_ruler(False)
                self.session.show_picks(picks)

    def _make_more(self) -> None:
        self._form: Form[PickParams] = Form(
            PickParams, [name for name in PickParams.model_fields if name != "diameter"]
        )
        self._masks = QComboBox()
        self._masks.setToolTip("Look only where this layer is not zero, e.g. inside the lamella.")
        row = QHBoxLayout()
        row.addWidget(QLabel("Look in"))
        row.addWidget(self._masks, 1)
        mask = QWidget()
        mask.setLayout(row)
        row.setContentsMargins(0, 0, 0, 0)
        self.body.addWidget(Folded("More", mask, self._form))

    def _list_masks(self, _: Any = None) -> None:
        chosen = self._masks.currentText()
        names = [
            layer.name
            for layer in self.layers.viewer.layers
            if isinstance(layer, (Labels, Image)) and layer is not self.layers.image
        ]
        self._masks.clear()
        self._masks.addItems([_NO_MASK, *names])
        self._masks.setCurrentIndex(max(self._masks.findText(chosen), 0))

    def _mask(self) -> npt.NDArray[np.bool_] | None:
        name = self._masks.currentText()
        return None if name == _NO_MASK else np.asarray(self.layers.viewer.layers[name].data) > 0

    # --- recentring ---

    def _make_recentring(self) -> None:
        self._kinds = QComboBox()
        self._kinds.setObjectName("kinds")
        self._kinds.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._kinds.setToolTip(
            "A kind of particle: those labelled or predicted as it are compared with the mean of "
            "the labelled ones. All that are shown: with their own mean, if they are of one kind."
        )
        self._centring: Form[RecentreParams] = Form(
            RecentreParams, ["largest"], folded=["resolution", "missing_wedge", "rounds"]
        )
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Move"))
        row.addWidget(self._kinds, 1)
        which = QWidget()
        which.setLayout(row)
        move = button(
            "Recentre particles",
            self.recentre,
            "Move particles onto what they were meant for. Undo takes all back at once.",
        )
        self.body.addWidget(Folded("Recentre", which, self._centring, move))

    def _list_kinds(self) -> None:
        chosen = self._kinds.currentData()
        self._kinds.clear()
        self._kinds.addItem(_ALL_SHOWN, "")
        for known in self.session.classes:
            if known.name != OTHER:
                self._kinds.addItem(known.name, known.name)
        self._kinds.setCurrentIndex(max(self._kinds.findData(chosen), 0))

    def recentre(self) -> None:
        """Recentre particles of the chosen kind, or all that are shown, in the background."""
        with self.attempt():
            session, kind = self.session, self._kinds.currentData()
            if session.project is None or session.tomogram is None:
                raise ValueError("no tomogram is open; open one, or try the sample")
            params = self._centring.params().model_copy(update={"diameter": session.diameter})
            shown = session.particles.take(session.shown)
            moved, examples = shown, shown
            if kind:
                said = np.where(shown.label == "", shown.predicted, shown.label)
                moved, examples = shown.take(said == kind), shown.take(shown.label == kind)
            if not len(examples):
                what = f"0 particles are labelled {kind}" if kind else "0 particles are shown"
                raise ValueError(f"{what}; {'label' if kind else 'find'} some first")
            job = _recentred(session.project, session.tomogram, moved, examples, params)
            session.work.run(job, "Recentring particles", done=self._take_moved)

    def _take_moved(self, tomogram: Tomogram) -> None:
        if tomogram is self.session.tomogram:
            with self.attempt():
                self.session.show_moved()

    # --- how many ---

    def _make_threshold(self) -> QWidget:
        self._scores = QWidget()
        column = QHBoxLayout()
        self._histogram = Histogram()
        self._histogram.moved.connect(self.session.show_from)
        self._histogram.settled.connect(self.session.set_threshold)
        self._count = IntEdit(0, 0)
        self._count.setObjectName("count")
        self._count.setButtonSymbols(IntEdit.ButtonSymbols.NoButtons)
        self._count.changed.connect(lambda: self._show_best(self._count.value()))
        self._of = QLabel("")
        column.addWidget(QLabel("Best"))
        column.addWidget(self._count)
        column.addWidget(self._of, 1)
        for sign, text in ((-1, "−100"), (1, "+100")):
            column.addWidget(
                button(
                    text,
                    partial(self._show_more, sign * _MORE),
                    "Walk along the cut, 100 particles at a time",
                )
            )
        box = QVBoxLayout(self._scores)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._histogram)
        box.addLayout(column)
        return self._scores

    def _show_more(self, count: int) -> None:
        self._show_best(self._count.value() + count)

    def _sorted(self) -> npt.NDArray[np.float64]:
        table = self.session.particles
        return np.sort(table.score[(table.source == "pick") & np.isfinite(table.score)])[::-1]

    def _show_best(self, count: int) -> None:
        scores = self._sorted()
        if len(scores):
            self.session.set_threshold(float(scores[int(np.clip(count, 1, len(scores))) - 1]))

    def _show_scores(self) -> None:
        if not self.isVisible():
            return  # a click under Label is not to wait for what nobody sees
        scores = self._sorted()
        self._scores.setVisible(bool(len(scores)))
        self._histogram.show_scores(scores)
        self._count.setRange(0, len(scores))
        self._of.setText(f"of {len(scores):,}")
        self._show_threshold()

    def _show_threshold(self) -> None:
        if not self.isVisible():
            return
        self._histogram.set_threshold(self.session.threshold)
        self._count.set_value(int((self._sorted() >= self.session.threshold).sum()))

    def _show_tomogram(self) -> None:
        self._diameter.set_value(self.session.diameter)
        self._find.setEnabled(self.session.tomogram is not None)
        remembered = self.session.remembered("pick")
        if remembered is not None:
            self._form.set_params(PickParams.model_validate(remembered))
        self._show_ruler()
        self.show_advice()


def _picked(
    project: Project, tomogram: Tomogram, params: PickParams, mask: npt.NDArray[np.bool_] | None
) -> Job[Particles]:
    """Pick, and write to the project here: so many rows would hold up the window."""
    picks = yield from pick(tomogram, params, mask)
    if not len(picks):
        raise ValueError("no particle was found; check the diameter, and dark or light under Open")
    yield Progress("keeping the candidates", 0, 0)
    project.set_picks(tomogram.name, picks)
    return picks


def _recentred(
    project: Project,
    tomogram: Tomogram,
    particles: Particles,
    examples: Particles,
    params: RecentreParams,
) -> Job[Tomogram]:
    """Recentre, and write to the project here, as one step of undo; return the tomogram."""
    found = yield from recentre(tomogram, particles, examples, params)
    far = (found.positions != particles.positions).any(axis=1)
    yield Progress("keeping the positions", 0, 0)
    if far.any():
        project.move(particles.id[far], found.positions[far])
    return tomogram
