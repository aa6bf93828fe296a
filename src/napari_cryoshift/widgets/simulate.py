"""Simulate: subtomograms and tomograms of known content, seen before they are made."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Points
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QButtonGroup, QFileDialog, QHBoxLayout, QVBoxLayout, QWidget

from napari_cryoshift.core.colours import PALETTE
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.simulate.stored import (
    store_subtomograms,
    store_tomogram,
    truth_of,
)
from napari_cryoshift.core.simulate.tomogram import CrowdedParams, CrowdedTomogram
from napari_cryoshift.core.structures import library_index
from napari_cryoshift.core.tomograms import open_tomogram

from .examples import Example
from .images import space
from .live import Live
from .panel import Folded, Panel, button
from .preview import Preview
from .recipes import Recipe, SetRecipe, TomogramRecipe
from .sources import SourceList

if TYPE_CHECKING:
    import napari

_SET_FILES = {
    "Zarr store (*.zarr)": ".zarr",
    "MRC stack with a STAR list (*.mrcs)": ".mrcs",
    "Folder of MRC volumes (*)": "",
}
_TOMOGRAM_FILES = {"Tomogram (*.mrc)": ".mrc"}


class SimulatePanel(Panel):
    """An example that follows every change, above the form that it follows."""

    title = "Simulate"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self._done = ""
        self._entries = {entry.id: entry for entry in library_index()}
        self._set, self._tomogram = SetRecipe(), TomogramRecipe()
        self._preview = Preview()
        self._structures = SourceList()
        self._structures.tick(CrowdedParams().classes)
        self._live = Live(self._example, "Making an example", self)
        self._live.made.connect(self._preview.show_example)
        self._live.failed.connect(self._preview.show_failure)
        self._live.busy.connect(self._preview.show_busy)
        for over in (self._live.made, self._live.failed):
            over.connect(lambda _: self.show_advice())

        self.layout().insertWidget(0, self._make_head())
        self.body.addWidget(self._make_structures())
        for recipe in (self._set, self._tomogram):
            recipe.changed.connect(self._change)
            self.body.addWidget(recipe)
        self.body.addStretch(1)
        self._make = button("", self._ask)
        self.layout().insertWidget(2, self._framed(self._make))

        self._structures.changed.connect(self._change)
        self._preview.changed.connect(self._live.renew)
        self._kinds.buttonToggled.connect(lambda _, on: self._change() if on else None)
        self._change()

    @property
    def recipe(self) -> Recipe:
        """The form of what is chosen to be made."""
        return self._set if self._kinds.checkedId() == 0 else self._tomogram

    def advice(self) -> str:  # noqa: D102
        if self.session.work.in_foreground:
            return "Go on meanwhile. Stopping leaves nothing behind."
        if self._done:
            return self._done
        if not self._preview.failed:
            with suppress(ValueError):  # which the preview will say in a moment
                return self.recipe.summary(self._structures.ids())
        return "Correct what is said in red, and the example comes back."

    # --- what to make ---

    def _make_head(self) -> QWidget:
        self._kinds = QButtonGroup(self)
        kinds = QHBoxLayout()
        for number, (text, tip) in enumerate(
            [
                ("Subtomograms", "A set of labelled volumes, to train and test on"),
                ("Tomogram", "A crowded tomogram of which everything is known"),
            ]
        ):
            kind = button(text, lambda: None, tip)
            kind.setCheckable(True)
            self._kinds.addButton(kind, number)
            kinds.addWidget(kind)
        self._kinds.button(0).setChecked(True)
        head = QWidget()
        column = QVBoxLayout(head)
        column.setContentsMargins(6, 6, 6, 0)
        column.addLayout(kinds)
        column.addWidget(self._preview)
        return head

    @staticmethod
    def _framed(widget: QWidget) -> QWidget:
        """Set in from the edges as what scrolls is."""
        frame = QWidget()
        row = QHBoxLayout(frame)
        row.setContentsMargins(6, 0, 6, 0)
        row.addWidget(widget)
        return frame

    def _make_structures(self) -> QWidget:
        ticks = QWidget()
        row = QHBoxLayout(ticks)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(button("All that fit", self._tick_all, "All that are no wider than the box"))
        row.addWidget(button("None", partial(self._structures.tick, ())))
        return Folded("Structures", ticks, self._structures)

    def _tick_all(self) -> None:
        with self.attempt():
            room = self.recipe.room()
            self._structures.tick(
                tuple(key for key, entry in self._entries.items() if entry.diameter <= room)
            )

    def _change(self) -> None:
        """Follow a change of what is wanted."""
        single = self.recipe is self._set
        self._set.setVisible(single)
        self._tomogram.setVisible(not single)
        self._make.setText("Make a set …" if single else "Make and open …")
        self._preview.show_structures([self._entries[key].name for key in self._structures.ids()])
        self._preview.show_single(single)
        self._done = ""
        self.show_advice()
        if self.isVisible():
            self._live.renew()

    # --- the example ---

    def _example(self) -> Job[Example]:
        return self.recipe.example(
            self._structures.ids(), self._preview.which, self._preview.number
        )

    def showEvent(self, event: QShowEvent) -> None:  # noqa: D102
        super().showEvent(event)
        self._live.renew()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: D102
        super().hideEvent(event)
        self._live.rest()

    # --- making it ---

    def _ask(self) -> None:
        single = self.recipe is self._set
        files = _SET_FILES if single else _TOMOGRAM_FILES
        text, chosen = QFileDialog.getSaveFileName(
            self,
            "Make a set" if single else "Make a tomogram",
            "simulated",
            ";;".join(files),
            # What is there is not overwritten, whatever one answers.
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if text:
            path = Path(text)
            self.make(path if path.suffix else path.with_suffix(files[chosen]))

    def make(self, path: Path) -> None:
        """Simulate what the form says, into files; a tomogram is opened then.

        Parameters
        ----------
        path
            As `store_subtomograms` or `store_tomogram` takes it.
        """
        with self.attempt():
            ids = self._structures.ids()
            if self.recipe is self._set:
                subtomograms = store_subtomograms(path, self._set.params(ids))
                done = partial(self._say_done, path)
                self.session.work.run(subtomograms, "Making a set", done=done)
                return
            if path.exists():
                raise ValueError(f"{path.name} is there already; choose another name")
            tomogram = store_tomogram(path, self._tomogram.params(ids))
            show = partial(self._show_tomogram, path)
            self.session.work.run(tomogram, "Making a tomogram", done=show)

    def _say_done(self, path: Path, count: int) -> None:
        table = truth_of(path).name
        self._done = f"{count:,} volumes are in {path.name}; {table} says what each holds."

    def _show_tomogram(self, path: Path, made: CrowdedTomogram) -> None:
        with self.attempt():
            self.session.open_tomogram(open_tomogram(path, dark=made.tomogram.dark))
            self._show_truth(path.stem, made)
            self._done = (
                f"{path.name} is open with the truth of its {len(made.particles)} particles; "
                "hide that layer, and pick them yourself."
            )

    def _show_truth(self, name: str, made: CrowdedTomogram) -> None:
        """Lay the particles over the tomogram, each as large as it is, coloured by its kind."""
        diameters = {entry.name: entry.diameter for entry in self._entries.values()}
        labels = list(made.particles.label)
        colours = {kind: PALETTE[i % len(PALETTE)] for i, kind in enumerate(made.names)}
        layers = self.layers.viewer.layers
        active = layers.selection.active
        truth = Points(
            made.particles.positions,
            name=f"truth of {name}",
            features={"class": labels},
            size=[diameters[label] / made.tomogram.voxel_size for label in labels],
            face_color="transparent",
            border_color=[colours[label] for label in labels],
            **space(made.tomogram.voxel_size),
        )
        self.layers.viewer.add_layer(truth)
        truth.editable = False
        layers.selection.active = active
