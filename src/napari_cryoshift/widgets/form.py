"""Params ↔ form, both ways: the form of any piece of work is made from its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QToolButton, QWidget

from napari_cryoshift.core.params import Params

from .editors import (
    BoolEdit,
    ChoiceEdit,
    FloatEdit,
    IntEdit,
    ListEdit,
    PathEdit,
    RangeEdit,
    TextEdit,
)
from .panel import Folded

P = TypeVar("P", bound=Params)


class Form(QWidget, Generic[P]):
    """The parameters of a piece of work, one a row.

    Signals
    -------
    changed
        A person changed a value; setting one by `set_params` is silent.

    Parameters
    ----------
    params_type
        A subclass of `Params`; titles, tooltips, bounds and defaults come from its fields.
    fields
        Names of the fields to show, all of them without it; the others keep their defaults.
    folded
        Names of the fields that few people need, shown below the others under "More".
    defaults
        Where they are not those of the type, as where it is part of other parameters.
    """

    changed = Signal()

    def __init__(
        self,
        params_type: type[P],
        fields: Sequence[str] | None = None,
        *,
        folded: Sequence[str] = (),
        defaults: P | None = None,
    ) -> None:
        super().__init__()
        self._type = params_type
        self._defaults = self._kept = defaults or params_type()
        self._editors: dict[str, Any] = {}
        self._resets: dict[str, QToolButton] = {}
        layout = _rows(self)
        for name in params_type.model_fields if fields is None else fields:
            self._add_row(layout, name, params_type.model_fields[name])
        if folded:
            inside = QWidget()
            rows = _rows(inside)
            for name in folded:
                self._add_row(rows, name, params_type.model_fields[name])
            layout.addRow(Folded("More", inside))
        self.set_params(self._kept)

    def editor(self, name: str) -> Any:
        """Return the editor of a field, to connect it with what it changes elsewhere."""
        return self._editors[name]

    def params(self, **given: Any) -> P:
        """Return what the form says.

        Parameters
        ----------
        **given
            Values of fields that it does not show.

        Raises
        ------
        ValueError
            If the values do not fit, in one sentence with the title of the field.
        """
        try:
            return self._type.model_validate(self.value() | given)
        except ValidationError as error:
            raise ValueError(_first_sentence(error, self._type)) from error

    def value(self) -> dict[str, Any]:
        """Return the fields as they stand, not validated; so a form is an editor itself."""
        shown = {name: editor.value() for name, editor in self._editors.items()}
        return {**self._kept.model_dump(), **shown}

    def set_value(self, value: Params | dict[str, Any]) -> None:
        """Show these parameters without a signal."""
        self.set_params(self._type.model_validate(_plain(value)))

    def set_params(self, params: P) -> None:
        """Show these parameters without a signal."""
        self._kept = params
        for name, editor in self._editors.items():
            editor.set_value(getattr(params, name))
        self._show_resets()

    def _add_row(self, layout: QFormLayout, name: str, field: FieldInfo) -> None:
        default = getattr(self._defaults, name)
        editor = _editor(field, default)
        editor.setObjectName(name)
        editor.changed.connect(self._on_change)
        self._editors[name] = editor
        label = QLabel(field.title or name.replace("_", " ").capitalize())
        for widget in (label, editor):
            widget.setToolTip(field.description or "")
        if isinstance(editor, Form):
            layout.addRow(label)
            layout.addRow(editor)
            return
        reset = QToolButton()
        reset.setText("↺")
        reset.setAutoRaise(True)
        reset.setToolTip(f"Back to default: {_text(default)}")
        reset.clicked.connect(lambda: self._reset(name))
        self._resets[name] = reset
        row = QHBoxLayout()
        row.setSpacing(2)
        row.addWidget(editor, 1)
        row.addWidget(QLabel(_unit(field) if isinstance(editor, _NUMBERS) else ""))
        row.addWidget(reset)
        layout.addRow(label, row)

    def _reset(self, name: str) -> None:
        self._editors[name].set_value(getattr(self._defaults, name))
        self._on_change()

    def _on_change(self) -> None:
        self._show_resets()
        self.changed.emit()

    def _show_resets(self) -> None:
        for name, reset in self._resets.items():
            reset.setEnabled(self._editors[name].value() != getattr(self._defaults, name))


def _rows(widget: QWidget) -> QFormLayout:
    layout = QFormLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return layout


def _plain(value: Params | dict[str, Any]) -> dict[str, Any]:
    return value.model_dump() if isinstance(value, Params) else value


def _first_sentence(error: ValidationError, params_type: type[Params]) -> str:
    """Say the first thing that does not fit, by the title of its field."""
    first = error.errors()[0]
    what = first["msg"].removeprefix("Value error, ")
    field: FieldInfo | None = None
    kind: Any = params_type
    for name in first["loc"]:
        if not (isinstance(kind, type) and issubclass(kind, Params)):
            break
        field = kind.model_fields[str(name)]
        kind = field.annotation
    return what if field is None else f"{field.title}: {what} (it is {first['input']})"


def _editor(field: FieldInfo, default: Any) -> Any:
    """Return the editor for the type of a field."""
    kinds, optional = _without_none(field.annotation)
    kind = kinds[-1]
    low, high = _bounds(field)
    if get_origin(kind) is Literal:
        return ChoiceEdit(get_args(kind))
    if get_origin(kind) is tuple and Ellipsis in get_args(kind):
        return ListEdit(alone=len(kinds) > 1, optional=optional)
    if get_origin(kind) is tuple:
        return RangeEdit(len(get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, Params):
        return Form(kind, defaults=default)
    if kind is bool:
        return BoolEdit()
    if kind is int and not optional:
        return IntEdit(None if low is None else int(low), None if high is None else int(high))
    if kind in (int, float):
        return FloatEdit(low, high, optional=optional)
    if kind is str:
        return TextEdit(optional=optional)
    if kind is Path and optional:
        return PathEdit()
    raise TypeError(f"no editor for parameters of type {kind}; add one to editors.py")


def _without_none(annotation: Any) -> tuple[list[Any], bool]:
    """Return what a value may be beside None, and whether it may be None."""
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation], False
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds, len(kinds) < len(get_args(annotation))


def _bounds(field: FieldInfo) -> tuple[float | None, float | None]:
    low: float | None = None
    high: float | None = None
    for rule in field.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low))
        high = getattr(rule, "le", getattr(rule, "lt", high))
    return low, high


_NUMBERS = (IntEdit, FloatEdit, RangeEdit)
_UNITS = ("Å", "µm", "mm", "kV", "degrees", "voxels")


def _unit(field: FieldInfo) -> str:
    """Return the unit that a description begins or ends with: "Side of a volume, voxels."."""
    words = (field.description or "").replace(".", " ").replace(",", " ").replace(";", " ").split()
    return next((unit for unit in _UNITS if words and unit in (words[0], words[-1])), "")


def _text(value: Any) -> str:
    if value is None:
        return "automatic"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
