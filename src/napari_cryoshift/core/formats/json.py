"""What the JSON lists share: records that are checked against what they have to look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import AllowInfNan, Strict, TypeAdapter, ValidationError

_T = TypeVar("_T")

Number = Annotated[float, Strict(), AllowInfNan(False)]
"""A JSON number that is finite: neither text nor true."""


def read_json(data: bytes, schema: TypeAdapter[_T], path: Path) -> _T:
    """Return what a JSON text holds.

    Parameters
    ----------
    data
        The text.
    schema
        What it has to look like.
    path
        Where it is from, to be named.

    Raises
    ------
    ValueError
        If it is no JSON, or a record lacks something or holds something of another kind; tells the
        number of the record, counted from 1.
    """
    try:
        return schema.validate_json(data.removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f" {_word(part)}" for part in first["loc"]) or " as a whole"
        found = f", found {str(first['input'])[:40]!r}" if first["loc"] else ""
        raise ValueError(
            f"{path.name} is wrong:{where} ({first['msg']}{found}); correct that or choose another "
            "file or format"
        ) from error


def _word(part: int | str) -> str:
    return f"number {part + 1}" if isinstance(part, int) else part


def check_rotations(matrices: npt.NDArray[np.float64], path: Path) -> None:
    """Raise ValueError if one of (n, 3, 3) matrices is no rotation, to the precision of float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        turned = matrices @ np.swapaxes(matrices, 1, 2)
        right = np.isclose(turned, np.eye(3), atol=1e-3).all(axis=(1, 2))
        right &= np.linalg.det(matrices) > 0
    if not right.all():
        raise ValueError(
            f"{path.name}: the orientation of particle {np.flatnonzero(~right)[0] + 1} is no "
            "rotation matrix; correct or remove it"
        )
