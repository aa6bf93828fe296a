"""Train: for those who want more than the embedding that comes with the program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QButtonGroup, QFormLayout, QLabel, QSpinBox, QWidget

from napari_cryoshift import __version__
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.domain_views import (
    called,
    guess_kinds,
    labelled,
    names_structures,
    source_for,
)
from napari_cryoshift.core.embeddings import fingerprint
from napari_cryoshift.core.methods import METHODS, MethodParams
from napari_cryoshift.core.methods.cryoshift_data import KNOWN_SOURCE, read_once
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.training import DivergedError
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram, TrainingData
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import SourceParams, train

from .cards import MethodCard
from .curves import Curves
from .form import Form
from .judging import Judging
from .panel import Folded, Panel, button, wrapped
from .predicting import Predicting
from .runs import keep_run, runs_folder
from .sources import SourceList
from .tuning import Tuning

if TYPE_CHECKING:
    import napari

_DEVICES = {"cuda": "graphics card (CUDA)", "mps": "graphics processor (Apple)", "cpu": "processor"}

_FIRST = ("protonet", "cryoshift", "fsft", "mluda", "disca")
"""Methods that most people need no other beside."""


class TrainPanel(Panel):
    """Methods as cards, their parameters, what to learn from, and earlier runs."""

    title = "Train"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.body.addWidget(QLabel("Predict with"))
        self._predicting = Predicting(self)
        self.body.addWidget(self._predicting)
        self._tuning = Tuning(self)
        self.body.addWidget(self._tuning)
        self._make_cards()
        self._make_details()
        self._start = button("Start training", self.start)
        self.body.addWidget(self._start)
        self._curves = Curves()
        self._curves.hide()
        self.body.addWidget(self._curves)
        self._judging = Judging(self)
        self.body.addWidget(self._judging)
        self.body.addStretch(1)
        self.listen(self.session.particles_changed, self._show_counts)
        self._show_counts()

    def advice(self) -> str:  # noqa: D102
        device = _DEVICES[best_device().type]
        if self.session.work.in_foreground:
            return (
                f"Running on the {device}; go on labelling meanwhile. Stopped, and started again "
                "with the same settings and data, it goes on."
            )
        if self.session.answers is not None:
            count = int((self.session.particles.predicted != "").sum())
            return f"{count:,} particles are named by what it has learnt. Next: Review them."
        return f"Nothing has to be trained to predict. A training runs on the {device} here."

    # --- what to train ---

    def _make_cards(self) -> None:
        self.body.addWidget(wrapped("Or with an embedding of your own:"))
        group = QButtonGroup(self)
        self._cards = {name: MethodCard(method) for name, method in METHODS.items()}
        for card in self._cards.values():
            group.addButton(card.radio)
            card.chosen.connect(self._show_form)
        for name in _FIRST:
            self.body.addWidget(self._cards[name])
        others = [card for name, card in self._cards.items() if name not in _FIRST]
        self._others = Folded("More methods, to compare with", *others)
        self.body.addWidget(self._others)

    def _make_details(self) -> None:
        self._sources = SourceList()
        self._sources.changed.connect(self._show_counts)
        self.body.addWidget(Folded("Known structures to learn from", self._sources))
        self._forms = {name: Form(method.params_type) for name, method in METHODS.items()}
        ticked = ("structures", "hold_out")
        fields = [name for name in SourceParams.model_fields if name not in ticked]
        self._simulations = {
            name: Form(
                SourceParams,
                fields,
                defaults=KNOWN_SOURCE if names_structures(name) else SourceParams(),
            )
            for name in METHODS
        }
        self.body.addWidget(Folded("Settings of the method", *self._forms.values()))
        self.body.addWidget(Folded("How known structures are imaged", *self._simulations.values()))
        self._make_shots()
        next(iter(self._cards.values())).radio.setChecked(True)

    def _make_shots(self) -> None:
        self._per_kind = QSpinBox()
        self._per_kind.setRange(0, 999)
        self._per_kind.setSpecialValueText("all")
        self._per_kind.setToolTip("The other labels are kept to judge it by.")
        self._shots = QWidget()
        row = QFormLayout(self._shots)
        row.setContentsMargins(0, 0, 0, 0)
        row.addRow("Labels of each kind to learn from", self._per_kind)
        self.body.addWidget(self._shots)

    @property
    def method(self) -> str:
        """Name of the chosen method."""
        return next(name for name, card in self._cards.items() if card.radio.isChecked())

    @property
    def _simulation(self) -> Form[SourceParams]:
        return self._simulations[self.method]

    def _show_form(self) -> None:
        for forms in (self._forms, self._simulations):
            for name, form in forms.items():
                form.setVisible(name == self.method)
        self._shots.setVisible("support" in METHODS[self.method].needs)

    def _show_counts(self) -> None:
        counts = {
            "source": len(self._sources.ids()),
            "target": int(self.session.shown.sum()),
            "support": int((self.session.particles.label != "").sum()),
        }
        for card in self._cards.values():
            card.show_what_is_there(counts)

    # --- training ---

    def start(self) -> None:
        """Train in the background with what is chosen; the result is used at once."""
        with self.attempt():
            if self.session.tomogram is None:
                raise ValueError("no tomogram is open; open one, or try the sample")
            ids = self._sources.ids()
            if not ids:
                raise ValueError("0 known structures are ticked; tick what is to be learnt from")
            every = len(ids) == self._sources.count()  # then those that fit into the box
            job = _training(
                self.method,
                self._forms[self.method].params(),
                self._simulation.params(structures=() if every else ids),
                self.session.tomogram,
                self._particles(),
                runs_folder(self.session.project),
            )
            self.session.work.run(job, "Training", done=self._keep, follow=self._curves.add)
            self._curves.reset()
            self._curves.show()
            self.bring_into_view(self._curves)

    def _particles(self) -> Particles:
        """Those that are shown, with the labels to learn from: always the same of each kind."""
        shown = self.session.particles.take(self.session.shown)
        order = np.random.default_rng(0).permutation(len(shown))
        kept = np.zeros(len(shown), dtype=bool)
        for name in set(shown.label) - {""}:
            rows = order[shown.label[order] == name]
            kept[rows[: self._per_kind.value() or None]] = True
        return shown.replace(label=np.where(kept, shown.label, "").astype(object))

    def _keep(self, checkpoint: Checkpoint) -> None:
        with self.attempt():
            self.session.use(checkpoint)
            self.session.mark("Train")


def _training(
    method: str,
    params: MethodParams,
    source: SourceParams,
    tomogram: Tomogram,
    particles: Particles,
    folder: Path | None,
) -> Job[Checkpoint]:
    """Make the data, then train; in the folder is kept how far it is."""
    yield Progress("making volumes to learn from", 0, 0)
    needs = METHODS[method].needs
    target = support = None
    if "target" in needs:
        target = yield from read_once(_cropped(tomogram, particles, source))
    if "support" in needs:
        support = _support(tomogram, particles, source)
    simulated = source_for(method, source)
    card: dict[str, Any] = {
        "program": f"napari-cryoshift {__version__}",
        "source": source.model_dump(mode="json"),
    }
    if support is not None:
        card["learnt_from"] = particles.positions[particles.label != ""].tolist()
        if names_structures(method):  # what a person calls a ribosome is that of the library
            card["called"] = guess_kinds(simulated.classes, support.classes)
            simulated = called(simulated, card["called"])
    data = TrainingData(source=simulated, target=target, support=support)
    if folder is None:
        return (yield from train(method, params, data, card))
    folder.mkdir(parents=True, exist_ok=True)
    name = _fingerprint(method, params, card, tomogram, particles)
    resume, before = folder / f"{name}.run", folder / f"{name}.before"
    for stopped in (*folder.glob("*.run"), *folder.glob("*.before")):
        if stopped not in (resume, before):  # by other settings: one stopped training is kept
            stopped.unlink()
    try:
        checkpoint = yield from train(method, params, data, card, resume, before)
    except DivergedError as error:
        if not before.exists():
            raise
        keep_run(folder, Checkpoint.load(before))
        raise DivergedError(f"{error}; as it was before adapting, it is in the list") from error
    keep_run(folder, checkpoint, before)
    return checkpoint


def _fingerprint(
    method: str,
    params: MethodParams,
    card: Mapping[str, Any],
    tomogram: Tomogram,
    particles: Particles,
) -> str:
    """Return a short name of all that a training depends on."""
    about = [method, params.model_dump(mode="json"), card, fingerprint(tomogram)]
    content = hashlib.sha256(json.dumps(about).encode())
    if "target" in METHODS[method].needs:
        content.update(particles.positions.tobytes())
    if "support" in METHODS[method].needs:
        known = particles.take(particles.label != "")
        content.update(known.positions.tobytes())
        content.update("\n".join(known.label).encode())
    return content.hexdigest()[:16]


def _cropped(tomogram: Tomogram, particles: Particles, source: SourceParams) -> Subtomograms:
    imaging = source.imaging
    return crop(tomogram, particles, box=imaging.box, voxel_size=imaging.voxel_size)


def _support(tomogram: Tomogram, particles: Particles, source: SourceParams) -> Subtomograms | None:
    """Return the labelled particles as volumes with labels; None where two classes have none."""
    known = particles.take(particles.label != "")
    if len(set(known.label)) < 2:
        return None
    return labelled(_cropped(tomogram, known, source), known.label)
