"""Sets as the pickles of AITom, opened only if told to, and then through a needle's eye.

A pickle is a program. The one allowed here may make arrays, UUIDs and plain containers; it can
call nothing else.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from .arrays import in_memory
from .base import Stored, code_labels


def _bytes_of_python_2(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which Python 3 pickles bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in the encoding {encoding}")
    return text.encode("latin1")


_ARRAY, _NUMBER = np.zeros(1), np.float32(0)
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("uuid", "UUID"): UUID,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes_of_python_2,
}
for _core in ("numpy.core", "numpy._core"):
    # Asked of what they are for, since where NumPy keeps them has changed.
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _ARRAY.__reduce__()[0]
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _NUMBER.__reduce__()[0]
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _ARRAY.__reduce_ex__(5)[0]

_DAMAGED = (
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
"""What a pickle raises that is cut short or never was one, by the documentation of pickle."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


class _Refused(pickle.UnpicklingError):
    """A pickle asked for something that is no array."""


def read_pickle(path: Path) -> Stored:
    """Read a pickled set into memory.

    Known are AITom's ``{"v_siz": …, "vs": {uuid: {"center", "id", "v"}}}``, where boxes at the
    border have no volume and are passed over; lists of volumes by class, ``{"5T2C_data": […]}``,
    where single volumes, the templates, are passed over; one array of volumes and one of labels,
    in a dictionary or a pair; and a list of volumes, or of dictionaries with a volume as "v". Axes
    are taken for x, y, z, as AITom's are.

    Raises
    ------
    ValueError
        If the pickle holds anything but arrays and plain values, or none of these.
    """
    held = _load(path)
    stored = _set_of(held, path)
    return replace(stored, axes="xyz")


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="latin1").load()
    except _Refused as error:
        raise ValueError(
            f"{path.name} asks to run {error}, which no array needs; "
            "do not trust it, and ask for the data in another format"
        ) from error
    except _DAMAGED as error:
        raise ValueError(f"{path.name} is no whole pickle ({error}); copy it again") from error


def _set_of(held: Any, path: Path) -> Stored:
    if isinstance(held, Mapping) and isinstance(held.get("vs"), Mapping):
        held = list(held["vs"].values())
    elif isinstance(held, Mapping) and all(isinstance(box, Mapping) for box in held.values()):
        held = list(held.values())
    elif isinstance(held, Mapping):
        return _by_key(held, path)
    elif isinstance(held, list | tuple) and len(held) == 2 and np.ndim(held[0]) == 4:
        return in_memory({"volumes": held[0], "labels": np.asarray(held[1])}, path)
    boxes = _boxes(held)
    if not boxes:
        raise ValueError(
            f"{path.name} holds a {type(held).__name__} and no volumes in it; choose another file"
        )
    return in_memory({"volumes": _stack(boxes, path)}, path)


def _by_key(held: Mapping[Any, Any], path: Path) -> Stored:
    """Read arrays of volumes and labels, or lists of volumes by class."""
    groups = {str(key): boxes for key, value in held.items() if (boxes := _boxes(value))}
    lines = {str(key): np.asarray(value) for key, value in held.items() if _is_line(value)}
    if not groups:
        keys = ", ".join(map(str, held))
        raise ValueError(f"{path.name} holds {keys} and no volumes in it; choose another file")
    if lines:
        stacks = {key: _stack(boxes, path) for key, boxes in groups.items()}
        return in_memory(stacks | lines, path)
    everything = [
        (key.removesuffix("_data"), box) for key, boxes in groups.items() for box in boxes
    ]
    labels, classes = code_labels([name for name, _ in everything], path.name)
    stored = in_memory({"volumes": _stack([box for _, box in everything], path)}, path)
    return replace(stored, labels=labels, classes=classes)


def _boxes(value: Any) -> list[npt.NDArray[Any]]:
    """Return the volumes of a list, or of an array of them; nothing if it is neither."""
    if not isinstance(value, list | tuple | np.ndarray):
        return []
    held = [box.get("v") if isinstance(box, Mapping) else box for box in value]
    boxes: list[Any] = [box for box in held if box is not None]
    return boxes if all(isinstance(box, np.ndarray) and box.ndim == 3 for box in boxes) else []


def _is_line(value: Any) -> bool:
    """Tell whether a value is a list of numbers or names, or such an array."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind != "O"
    return isinstance(value, list | tuple) and all(
        isinstance(item, str | int | float | np.generic) for item in value
    )


def _stack(boxes: Sequence[npt.NDArray[Any]], path: Path) -> npt.NDArray[Any]:
    shapes = list(dict.fromkeys(box.shape for box in boxes))
    if len(shapes) > 1:
        one, other = (" × ".join(map(str, shape)) for shape in shapes[:2])
        raise ValueError(
            f"{path.name} has volumes of {one} and of {other} voxels; "
            "cut all volumes of a set with one box"
        )
    return np.stack(boxes)
