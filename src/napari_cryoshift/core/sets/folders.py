"""Sets as folders: one sub-folder a class, or volumes with their classes in JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .base import Stored, code_labels
from .volume_files import is_volume, open_files

_VOLUMES = "subtomogram_mrc"
_LABELS = "json_label"
"""Sub-folders of the public simulated sets of AITom."""
_ALL_LABELS = "labels.json"
_CLASS_KEYS = ("name", "class", "label")


def read_folder(path: Path) -> Stored:
    """Open a folder of volumes, in the natural order of their names.

    Three layouts are known: ``<class>/*.mrc`` (or .npy, …), also ``<class>/subtomogram_mrc/*.mrc``;
    volumes with JSON files beside or in ``json_label``, as `_labels` reads them; volumes alone,
    which have no labels.

    Raises
    ------
    ValueError
        If it holds no volumes, or some have a label and others none.
    """
    files = _volumes(path)
    if files:
        stored = open_files(path.name, files)
        named = _labels(path, files)
        if named is None:
            return stored
        labels, classes = code_labels(named, path.name)
        return replace(stored, labels=labels, classes=classes)
    by_class = {
        folder.name: inside
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith(".") and (inside := _volumes(folder))
    }
    if not by_class:
        raise ValueError(
            f"{path.name} holds no volumes and no folders of them; choose a folder of .mrc or .npy "
            "files, or of one folder a class"
        )
    everything = [(name, file) for name, inside in by_class.items() for file in inside]
    stored = open_files(path.name, [file for _, file in everything])
    labels, classes = code_labels([name for name, _ in everything], path.name)
    called = [f"{name}/{file.name}" for name, file in everything]
    return replace(stored, labels=labels, classes=classes, names=called)


def _volumes(folder: Path) -> list[Path]:
    """List volumes in a folder, else in its ``subtomogram_mrc``."""
    for place in (folder, folder / _VOLUMES):
        if place.is_dir() and (files := [file for file in place.iterdir() if is_volume(file)]):
            return sorted(files, key=lambda file: _natural(file.name))
    return []


def _labels(folder: Path, files: Sequence[Path]) -> list[str] | None:
    """Return the class of each file; None if there is no JSON file.

    ``labels.json`` is an object of file name, or stem, and class. Otherwise each volume has a file
    of its own, of the same stem or the same number (tomotarget7.mrc and target7.json), which holds
    the class as text or under the key name, class or label.
    """
    jsons = sorted(folder.glob("*.json")) + sorted((folder / _LABELS).glob("*.json"))
    if not jsons:
        return None
    listed = next((file for file in jsons if file.name == _ALL_LABELS), None)
    if listed is not None:
        said = _load(listed)
        if not isinstance(said, dict):
            raise ValueError(
                f"{_ALL_LABELS} does not say which class belongs to which file; make it an object "
                'such as {"1.mrc": "ribosome"}'
            )
        found = [said.get(file.name, said.get(_stem(file))) for file in files]
    else:
        own = _own_json(files, jsons)
        found = [None if file is None else _class_in(file) for file in own]
    missing = [file.name for file, name in zip(files, found, strict=True) if name is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(files)} volumes in {folder.name} have no label, such as "
            f"{missing[0]}; label all of them, or take the JSON files away"
        )
    return [str(name) for name in found]


def _own_json(files: Sequence[Path], jsons: Sequence[Path]) -> list[Path | None]:
    """Find the JSON file of each volume, by its stem; by its number where numbers are unique."""
    stems = {json_file.stem: json_file for json_file in jsons}
    numbers = {_number(json_file.stem): json_file for json_file in jsons}
    numbers.pop(None, None)
    if len(numbers) < len(jsons) or len({_number(_stem(file)) for file in files}) < len(files):
        numbers = {}
    return [stems.get(_stem(file)) or numbers.get(_number(_stem(file))) for file in files]


def _class_in(file: Path) -> str:
    said = _load(file)
    if isinstance(said, dict):
        said = next((said[key] for key in _CLASS_KEYS if key in said), None)
    if not isinstance(said, str | int):
        raise ValueError(
            f"{file.name} names no class; give it under the key {' or '.join(_CLASS_KEYS)}"
        )
    return str(said)


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file.name} is no regular JSON file ({error}); correct or remove it"
        ) from error


def _stem(file: Path) -> str:
    return file.with_suffix("").stem if file.suffix == ".gz" else file.stem


def _number(stem: str) -> int | None:
    """Return the last number in a name."""
    found = re.findall(r"\d+", stem)
    return int(found[-1]) if found else None


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts volume 2 before volume 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
