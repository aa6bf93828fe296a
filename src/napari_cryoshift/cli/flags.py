"""Flags from Params: values that do not fit together are one sentence, as all bad input is."""

from __future__ import annotations

from functools import partial
from typing import Any

from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from napari_cryoshift.core.params import Params

from .console import sentence


class BadFlags(Exception):
    """Flags that Params refuse.

    No ValueError, which tyro would catch and print as a box with pydantic's whole report.
    """


def registry() -> ConstructorRegistry:
    """How tyro builds Params: field by field, as it does by itself, but for what they refuse."""
    made = ConstructorRegistry()
    made.struct_rule(_rule)
    return made


def _rule(info: StructTypeInfo) -> StructConstructorSpec | None:
    if not (isinstance(info.type, type) and issubclass(info.type, Params)):
        return None
    given = info.default if isinstance(info.default, Params) else None
    fields = tuple(
        StructFieldSpec(
            name=name,
            type=field.rebuild_annotation(),
            default=getattr(given, name) if given else field.get_default(),
            helptext=field.description,
        )
        for name, field in info.type.model_fields.items()
    )
    build = partial(_build, info.type)
    build.__doc__ = info.type.__doc__
    return StructConstructorSpec(instantiate=build, fields=fields)


def _build(kind: type[Params], **values: Any) -> Params:
    try:
        return kind(**values)
    except ValueError as error:
        raise BadFlags(sentence(error)) from error
