"""STAR files as RELION and its relatives write them: blocks of labelled columns."""

from __future__ import annotations

import json
import linecache
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import starfile

TEXT_LABELS = [
    "rlnMicrographName",
    "rlnTomoImportParticleFile",
    "rlnTomoName",
    "rlnTomoParticleName",
    "rlnTomoParticlesFile",
    "rlnTomoTomogramsFile",
    "wrpSourceName",
]
"""Labels whose values stay text: a tomogram called 001 is not called 1."""

_CLASS_LINE = re.compile(r'# class (\d+) = (".*")')
_UNSAFE = re.compile(r"""["'#]|[^\S ]|^(nan|<na>|)$""", re.IGNORECASE)


def labels(text: str) -> set[str]:
    """Return the labels of a STAR file, without their underscore."""
    return set(re.findall(r"^\s*_(\w+)", text, re.MULTILINE))


def read_star(path: Path) -> dict[str, pd.DataFrame]:
    """Read all blocks; one without a loop becomes a table of one row.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no STAR file, a row has too many or too few values, or a label appears twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name and the folder")
    # The parser reads through linecache, which would serve the text of an earlier, failed read.
    linecache.checkcache(str(path))
    try:
        blocks = starfile.read(path, always_dict=True, parse_as_string=TEXT_LABELS)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path.name} is no regular STAR file ({str(error).strip()}); check that each row has "
            "one value a column"
        ) from error
    tables = {
        name: block if isinstance(block, pd.DataFrame) else pd.DataFrame([block])
        for name, block in blocks.items()
        if block is not None
    }
    if not tables:
        raise ValueError(f"{path.name} holds no STAR data block; choose another file, in UTF-8")
    for table in tables.values():
        if not table.columns.is_unique:
            twice = table.columns[table.columns.duplicated()][0]
            raise ValueError(f"{path.name} has the label {twice} twice in a block; remove one")
    return tables


def star_text(
    blocks: Mapping[str, pd.DataFrame | dict[str, str]],
    class_names: Mapping[int, str] = MappingProxyType({}),
) -> str:
    """Return the text of a STAR file.

    Parameters
    ----------
    blocks
        Name → table, or label-value pairs.
    class_names
        Names of the classes, by number. They are kept in comments, the one place that every reader
        passes over: RELION before 3.1 stops at a label it does not know, and one more block changes
        what simple readers return.
    """
    text: str = starfile.to_string(dict(blocks), float_format="%.10g")
    return class_comments(class_names) + text


def class_comments(class_names: Mapping[int, str]) -> str:
    """Return lines that name the classes, for `read_class_names`."""
    # RELION takes any line with "data_" in it for the start of a block, Warp one with "loop_".
    return "".join(
        re.sub("(data|loop)_", r"\1\\u005f", f"# class {number} = {json.dumps(name)}\n")
        for number, name in class_names.items()
    )


def read_class_names(path: Path) -> dict[int, str]:
    """Return the class names that `class_comments` kept: number → name.

    Raises
    ------
    ValueError
        If somebody damaged one of them.
    """
    names = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("data_"):
                break
            if found := _CLASS_LINE.fullmatch(line.strip()):
                try:
                    names[int(found[1])] = json.loads(found[2])
                except json.JSONDecodeError as error:
                    raise ValueError(
                        f"{path.name} has the damaged line {line.strip()!r}; correct or remove it"
                    ) from error
    return names


def check_text(what: str, values: Iterable[str]) -> None:
    """Raise ValueError for the first text that a STAR file cannot hold."""
    for value in values:
        if _UNSAFE.search(value):
            raise ValueError(
                f"a STAR file cannot hold the {what} {value!r}; choose one that is not empty and "
                "has no quotes, # or line breaks"
            )
