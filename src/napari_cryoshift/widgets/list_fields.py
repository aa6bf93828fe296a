"""What a format of particle lists cannot say itself, as the few fields that it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_cryoshift.core.formats import ListContext
from napari_cryoshift.core.formats.base import Shape

from .editors import BoolEdit, FloatEdit, TextEdit
from .panel import Folded, button

_VOXELS = ("list_voxel_size",)
_NUMBERED = ("list_voxel_size", "tomograms")

TO_READ: Mapping[str, tuple[str, ...]] = {
    "relion5": ("voxel_size", "binning", "unbinned_shape", "tomograms_star", "centre"),
    "relion4": ("voxel_size", "binning", "tomograms_star"),
    "relion3": _VOXELS,
    "warp": ("list_voxel_size", "normalised"),
    "pytom_star": ("list_voxel_size", "centre"),
    "eman2": ("voxel_size",),
    "copick": ("voxel_size",),
    **dict.fromkeys(("stopgap", "dynamo", "em_motl", "pytom", "cryolo"), _VOXELS),
    **dict.fromkeys(("coords", "deepfinder", "portal", "imod", "csv"), _VOXELS),
}
"""By format, the attributes of `ListContext` that a person may have to give."""

TO_WRITE: Mapping[str, tuple[str, ...]] = {
    "relion5": ("binning", "unbinned_shape", "tomograms_star", "centre"),
    "relion4": ("binning", "tomograms_star"),
    "eman2": ("binning",),
    "copick": (),
    "csv": (),
    "cryolo": ("diameter", "list_voxel_size"),
    **dict.fromkeys(("stopgap", "dynamo", "em_motl", "deepfinder"), _NUMBERED),
    **dict.fromkeys(("relion3", "warp", "pytom_star", "pytom"), _VOXELS),
    **dict.fromkeys(("coords", "portal", "imod"), _VOXELS),
}

_TITLES = {
    "voxel_size": ("Voxel size", "Å, of the tomogram, as the list was made with it."),
    "list_voxel_size": (
        "List counts in",
        "Å a voxel of the tomogram that the list is for, if that was binned otherwise than the "
        "one that is open here.",
    ),
    "binning": (
        "Binning",
        "Edge of a voxel of this tomogram in pixels of the tilt series: 4 for bin 4.",
    ),
    "unbinned_shape": (
        "Unbinned size",
        "x, y and z of the tomogram in pixels of the tilt series (rlnTomoSizeX, Y, Z); RELION 5 "
        "counts from its middle. Without it: size × binning.",
    ),
    "tomograms_star": (
        "tomograms.star",
        "RELION's, which knows binning and unbinned size; it is believed first.",
    ),
    "centre": (
        "Counted from",
        "RELION's programs count from half the unbinned size; the picker that comes with RELION 5 "
        "writes from one pixel less.",
    ),
    "normalised": ("", "As Warp's template matching writes them."),
    "tomograms": (
        "Tomogram 1, 2, …",
        "Their names in order, with commas between them, for the list has numbers alone. Without "
        "them the digits that a name ends with are its number: TS_07 is 7.",
    ),
    "diameter": ("Box", "Å along each side; crYOLO draws a box around each particle."),
}
_RARE = ("unbinned_shape", "centre")
"""Fields that few people need; they are folded away."""
_DEFAULTS = {"binning": 1.0, "centre": "relion", "normalised": False}
"""Of the fields that are not empty where nobody gave anything."""
_CENTRES = {"relion": "the middle (RELION)", "picker": "one pixel less (its picker)"}
_STAR = "STAR files (*.star)"


class ListFields(QWidget):
    """The fields that one format needs, of all that a list may not say.

    Signals
    -------
    changed
        A person changed a value, or is typing one.

    Parameters
    ----------
    asked
        The fields of each format: `TO_READ` or `TO_WRITE`.
    """

    changed = Signal()

    def __init__(self, asked: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__()
        self._asked = asked
        self._shown: tuple[str, ...] = ()
        self._voxel_size: float | None = None
        self._shape: Shape | None = None
        self._edits: dict[str, Any] = {
            "voxel_size": FloatEdit(low=1e-3, high=1e3),
            "list_voxel_size": FloatEdit(low=1e-3, high=1e3, optional=True),
            "binning": FloatEdit(low=1, high=64),
            "unbinned_shape": _SizeEdit(),
            "tomograms_star": _FileEdit(),
            "centre": _CentreEdit(),
            "normalised": BoolEdit(),
            "tomograms": TextEdit(optional=True),
            "diameter": FloatEdit(low=1, high=1e5, optional=True),
        }
        self._edits["normalised"].setText("positions go from 0 to 1")
        self._edits["tomograms"].setPlaceholderText("by the digits of their names")
        usual, rare = QWidget(), QWidget()
        forms = {part: _form(part) for part in (usual, rare)}
        self._forms = {name: forms[rare if name in _RARE else usual] for name in self._edits}
        self._rows: dict[str, QWidget] = {}
        self._more = Folded("more", rare)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(usual)
        column.addWidget(self._more)
        for name, edit in self._edits.items():
            title, tip = _TITLES[name]
            label = QLabel(title)
            for widget in (label, edit):
                widget.setToolTip(tip)
            edit.setObjectName(name)
            edit.changed.connect(self.changed)
            if isinstance(edit, FloatEdit | TextEdit):
                edit.textEdited.connect(lambda _: self.changed.emit())
            row = edit if tip[0] != "Å" else _with_unit(edit)
            self._rows[name] = row
            self._forms[name].addRow(label, row)
        self._edits["binning"].changed.connect(self._show_unbinned)
        self._edits["binning"].textEdited.connect(lambda _: self._show_unbinned())
        self.reset()
        self.show_format(next(iter(asked)))

    def show_format(self, name: str) -> None:
        """Show the fields that this format needs."""
        self._shown = self._asked[name]
        for field, row in self._rows.items():
            self._forms[field].setRowVisible(row, field in self._shown)
        self._more.setVisible(bool(set(_RARE) & set(self._shown)))
        self.setVisible(bool(self._shown))

    def reset(self) -> None:
        """Forget what was typed, without a signal."""
        for name, edit in self._edits.items():
            edit.set_value(_DEFAULTS.get(name))
        self._voxel_size = None

    def prefill(self, *, voxel_size: float, shape: Shape, diameter: float | None = None) -> None:
        """Show what the open tomogram says, without a signal.

        Parameters
        ----------
        voxel_size
            Å.
        shape
            Voxels along z, y, x.
        diameter
            Of a particle, Å.
        """
        voxel_size = float(f"{voxel_size:.6g}")  # headers keep 32 bits
        if voxel_size != self._voxel_size:
            self._voxel_size = voxel_size
            self._edits["voxel_size"].set_value(voxel_size)
            self._edits["list_voxel_size"].setPlaceholderText(f"{voxel_size:.5g}, as this one")
        self._shape = shape
        self._show_unbinned()
        if diameter is not None:
            self._edits["diameter"].set_value(diameter)

    def _show_unbinned(self) -> None:
        """Say what is taken for the unbinned size where nothing is typed."""
        binning = self._edits["binning"].value() or 1.0
        if self._shape is not None:
            z, y, x = (round(side * binning) for side in self._shape)
            self._edits["unbinned_shape"].show_default((z, y, x))

    def complete(self, context: ListContext) -> ListContext:
        """Return the context of a tomogram with what a person gave for this format.

        Raises
        ------
        ValueError
            If a value does not fit.
        """
        given = {name: self._edits[name].value() for name in self._shown}
        if given.get("voxel_size") == self._voxel_size:
            given.pop("voxel_size", None)  # other tomograms of the project have their own
        if "tomograms" in given:
            names = re.split(r"\s*,\s*", (given["tomograms"] or "").strip(" ,"))
            given["tomograms"] = tuple(name for name in names if name)
        return replace(context, **given)


def _form(part: QWidget) -> QFormLayout:
    form = QFormLayout(part)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def _with_unit(edit: QWidget) -> QWidget:
    made = QWidget()
    row = QHBoxLayout(made)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(edit, 1)
    row.addWidget(QLabel("Å"))
    return made


class _SizeEdit(QWidget):
    """x, y and z of a tomogram in pixels, or nothing."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._edits = [FloatEdit(low=1, high=1e6, optional=True) for _ in range(3)]
        for k, edit in enumerate(self._edits):
            if k:
                row.addWidget(QLabel("×"))
            row.addWidget(edit, 1)
            edit.textEdited.connect(lambda _: self.changed.emit())

    def show_default(self, shape: Shape) -> None:
        """Say what is taken where nothing is typed: pixels along z, y, x."""
        for edit, side in zip(self._edits, reversed(shape), strict=True):
            edit.setPlaceholderText(str(side))

    def set_value(self, shape: Shape | None) -> None:
        """Show pixels along z, y, x without a signal."""
        for edit, side in zip(self._edits, reversed(shape or (None,) * 3), strict=True):
            edit.set_value(side)

    def value(self) -> Shape | None:
        """Return pixels along z, y, x; None if nothing is typed."""
        sides = [edit.value() for edit in self._edits]
        if not any(sides):
            return None
        if not all(sides):
            raise ValueError("the unbinned size lacks a number; give all of x, y and z, or none")
        x, y, z = (round(side) for side in sides if side)
        return z, y, x


class _CentreEdit(QComboBox):
    """Where RELION 5 counts from."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        for name, title in _CENTRES.items():
            self.addItem(title, name)
        self.currentIndexChanged.connect(lambda _: self.changed.emit())

    def set_value(self, name: str) -> None:
        """Show a choice without a signal."""
        with QSignalBlocker(self):
            self.setCurrentIndex(self.findData(name))

    def value(self) -> str:
        """Return "relion" or "picker"."""
        return str(self.currentData())


class _FileEdit(QWidget):
    """A STAR file, or none."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._path: Path | None = None
        self._name = QElidingLabel("none")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._name, 1)
        row.addWidget(button("Choose …", self._ask, "RELION's tomograms.star, if there is one"))

    def value(self) -> Path | None:
        """Return the file."""
        return self._path

    def set_value(self, path: Path | None) -> None:
        """Show a file without a signal."""
        self._path = path
        with QSignalBlocker(self):
            self._name.setText("none" if path is None else path.name)
        self._name.setToolTip("" if path is None else str(path))

    def _ask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "tomograms.star", "", _STAR)
        self.set_value(Path(path) if path else None)
        self.changed.emit()
