"""What our own sets say of themselves, beside the volumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, ValidationError

from napari_cryoshift.core.types import Subtomograms

from .base import Stored

_FORMAT: Final = "cryoshift subtomograms 1"


class Card(BaseModel):
    """Attributes of the Zarr group, and the JSON file beside a STAR file.

    The constants are for people and other programs: our own sets have no other convention.

    Attributes
    ----------
    format
        By which a set of ours is known.
    classes
        Names, in the order of the labels.
    voxel_size
        Å.
    axes, protein
        The convention of the volumes.
    metadata
        How the set was made: every parameter and seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cryoshift subtomograms 1"] = _FORMAT
    classes: tuple[str, ...]
    voxel_size: PositiveFloat
    axes: Literal["zyx"] = "zyx"
    protein: Literal["positive"] = "positive"
    metadata: dict[str, Any]

    @classmethod
    def of(cls, subtomograms: Subtomograms, metadata: Mapping[str, Any]) -> Card:
        """Make the card of a set.

        Raises
        ------
        ValueError
            If JSON cannot hold the metadata, or a label has no class name.
        """
        try:
            plain = json.loads(json.dumps(dict(metadata), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the metadata do not fit into JSON ({error}); "
                "give numbers, text, lists and dictionaries"
            ) from error
        labels, named = subtomograms.labels, len(subtomograms.classes)
        if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < named:
            raise ValueError(
                f"labels go from {labels.min()} to {labels.max()}, but there are {named} class "
                "names; name every class"
            )
        return cls(
            classes=subtomograms.classes,
            voxel_size=subtomograms.voxel_size,
            metadata=plain,
        )

    @classmethod
    def read(cls, attributes: Any, path: Path) -> Card:
        """Check the attributes of a set of ours.

        Raises
        ------
        ValueError
            If somebody damaged them.
        """
        try:
            return cls.model_validate(attributes)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "it"
            raise ValueError(
                f"{path.name} has a damaged description ({field}: {first['msg']}); correct it or "
                "write the set again"
            ) from error

    def describe(self, stored: Stored) -> Stored:
        """Return the set with what the card says of it."""
        return replace(
            stored,
            classes=self.classes,
            voxel_size=self.voxel_size,
            dark=False,
            axes=self.axes,
            standardised=True,
        )


def is_card(attributes: Mapping[str, Any]) -> bool:
    """Tell whether these attributes are those of a set of ours."""
    return bool(attributes.get("format") == _FORMAT)


def read_card(path: Path) -> Card | None:
    """Read the JSON file of a set of ours; None if there is no file, or it is something else's."""
    if not path.is_file():
        return None
    try:
        attributes = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path.name} is no regular JSON file ({error}); correct or remove it"
        ) from error
    if not (isinstance(attributes, dict) and is_card(attributes)):
        return None
    return Card.read(attributes, path)
