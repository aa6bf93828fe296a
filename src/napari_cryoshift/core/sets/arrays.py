"""Sets as plain arrays: .npy with labels beside, .npz, HDF5."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import Labels, Rows, Stored, code_labels, optional

_TEXT = "OSTU"
"""Kinds of NumPy types that names come in."""


@dataclass(frozen=True)
class Chosen:
    """Keys of the arrays that make a set; None where there is no such array."""

    volumes: str
    labels: str | None
    classes: str | None

    def coded(self, arrays: Mapping[str, Any], path: Path) -> tuple[Labels | None, tuple[str, ...]]:
        """Return labels and class names."""
        if self.labels is None:
            return None, ()
        names = () if self.classes is None else arrays[self.classes][:]
        return code_labels(arrays[self.labels][:], path.name, list(names))


def choose(arrays: Mapping[str, Any], path: Path) -> Chosen:
    """Find volumes, labels and class names among arrays by their shapes.

    Parameters
    ----------
    arrays
        Key → what has a ``shape`` and a ``dtype``. The volumes are the one array of four
        dimensions, the labels the one of one dimension that is as long; class names may stand in
        another one.
    path
        The file, for messages.

    Raises
    ------
    ValueError
        If several arrays could be meant, or none, or there are more labels than volumes or fewer.
    """
    volumes = [key for key, array in arrays.items() if len(array.shape) == 4]
    if not volumes:
        held = ", ".join(f"{key} {tuple(array.shape)}" for key, array in arrays.items())
        raise ValueError(
            f"{path.name} holds no array of the shape (n, d, d, d) but {held or 'nothing'}; choose "
            "another file"
        )
    chosen = _only(volumes, "volumes", path)
    if arrays[chosen].dtype.kind not in "iufb":
        raise ValueError(
            f"{path.name} has values of type {arrays[chosen].dtype}, which are no grey values; "
            "store real numbers"
        )
    count = arrays[chosen].shape[0]
    lines = {key: array for key, array in arrays.items() if len(array.shape) == 1}
    texts = [key for key, array in lines.items() if array.dtype.kind in _TEXT]
    numbers = [key for key in lines if key not in texts]
    fitting = [key for key in numbers if lines[key].shape[0] == count]
    labels = fitting or [key for key in texts if lines[key].shape[0] == count]
    for key in numbers + texts:
        if not labels and "label" in key.lower():
            raise ValueError(
                f"{path.name}: {count} volumes but {lines[key].shape[0]} {key}; "
                "give one label a volume"
            )
    return Chosen(
        chosen,
        _only(labels, "labels", path) if labels else None,
        _only(texts, "class names", path) if fitting and texts else None,
    )


def in_memory(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> Stored:
    """Make a set of arrays that have been read."""
    chosen = choose(arrays, path)
    volumes = arrays[chosen.volumes]
    labels, classes = chosen.coded(arrays, path)
    return Stored(
        name=path.name,
        read=lambda rows: volumes[rows],
        count=len(volumes),
        shape=volumes.shape[1:],
        labels=labels,
        classes=classes,
    )


def read_npy(path: Path) -> Stored:
    """Open an (n, d, d, d) array, mapped, with its labels.

    These stand in ``<stem>_labels.npy`` or ``labels.npy`` in the same folder, if at all.
    """
    arrays = {"volumes": load_npy(path)}
    beside = (path.with_name(name) for name in (f"{path.stem}_labels.npy", "labels.npy"))
    labels = next((file for file in beside if file.is_file() and file != path), None)
    if labels is not None:
        arrays["labels"] = load_npy(labels)
        if arrays["labels"].ndim != 1:
            raise ValueError(
                f"{labels.name} has the shape {arrays['labels'].shape}; give one label a volume"
            )
    return in_memory(arrays, path)


def load_npy(path: Path) -> npt.NDArray[Any]:
    """Open an .npy file, mapped; never unpickle it."""
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path.name} is no whole .npy array ({error}); copy it again") from error
    return array


def read_npz(path: Path) -> Stored:
    """Read the arrays of an .npz file into memory, for they are packed."""
    try:
        with np.load(path, allow_pickle=False) as file:
            members = {key: file[key] for key in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is no whole .npz file ({error}); copy it again") from error
    except MemoryError as error:
        raise ValueError(
            f"{path.name} does not fit into memory ({error}); store it as .npy, Zarr or HDF5"
        ) from error
    # A zip file of another kind holds bytes.
    return in_memory({k: v for k, v in members.items() if isinstance(v, np.ndarray)}, path)


def read_hdf5(path: Path) -> Stored:
    """Open the data sets of an HDF5 file; volumes are read when asked for."""
    h5py = optional("h5py", path)
    arrays: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item

    try:
        with h5py.File(path, "r") as file:
            file.visititems(collect)
            chosen = choose(arrays, path)
            count, *shape = arrays[chosen.volumes].shape
            labels, classes = chosen.coded(arrays, path)
    except (OSError, RuntimeError, KeyError) as error:  # h5py has no error of its own
        raise ValueError(f"{path.name} is no whole HDF5 file ({error}); copy it again") from error

    def read(rows: Rows) -> npt.NDArray[Any]:
        # Opened each time, for a file that stays open can be read by one process only.
        with h5py.File(path, "r") as file:
            volumes = file[chosen.volumes]
            return np.stack([volumes[row] for row in rows])

    return Stored(
        name=path.name, read=read, count=count, shape=tuple(shape), labels=labels, classes=classes
    )


def _only(keys: Sequence[str], what: str, path: Path) -> str:
    if len(keys) > 1:
        raise ValueError(
            f"{path.name} has {len(keys)} arrays that could be {what} ({', '.join(keys)}); "
            "keep one of them"
        )
    return keys[0]
