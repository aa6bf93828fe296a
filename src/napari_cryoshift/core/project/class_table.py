"""The kinds of particle that a person tells apart, each with its colour and key."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from napari_cryoshift.core.colours import PALETTE
from napari_cryoshift.core.types import OTHER

_KEYS = "123456789"


@dataclass(frozen=True)
class ParticleClass:
    """A kind of particle.

    Attributes
    ----------
    name
        As labels have it.
    color
        "#rrggbb"; it stays with the class.
    key
        "1" to "9", "0" for what is not a particle, "" for the tenth class and beyond.
    """

    name: str
    color: str
    key: str


def read(connection: sqlite3.Connection) -> tuple[ParticleClass, ...]:
    """Return all classes in the order they were made, `OTHER` last."""
    rows = connection.execute("SELECT name, color, key FROM class ORDER BY name = ?, id", (OTHER,))
    return tuple(ParticleClass(*row) for row in rows)


def row_of(connection: sqlite3.Connection, name: str) -> int:
    """Return the row id of a class.

    Raises
    ------
    ValueError
        If there is no such class.
    """
    found = connection.execute("SELECT id FROM class WHERE name = ?", (name,)).fetchone()
    if found is None:
        names = ", ".join(known.name for known in read(connection))
        raise ValueError(f"no class {name!r} among {names}; add the class first")
    return int(found[0])


def add(connection: sqlite3.Connection, name: str, color: str | None) -> ParticleClass:
    """Make a class with the next free key and, unless it is given, the next free colour.

    Raises
    ------
    ValueError
        If the name is empty or taken, or the colour is not "#rrggbb".
    """
    _require_free(connection, name)
    others = read(connection)
    if color is None:
        used = [other.color for other in others]
        color = min(PALETTE, key=used.count)
    elif re.fullmatch("#[0-9a-fA-F]{6}", color) is None:
        raise ValueError(f"{color!r} is no colour; give it as #rrggbb, e.g. #e69f00")
    taken = {other.key for other in others}
    key = next((key for key in _KEYS if key not in taken), "")
    made = ParticleClass(name=name, color=color.lower(), key=key)
    connection.execute(
        "INSERT INTO class (name, color, key) VALUES (?, ?, ?)", (made.name, made.color, made.key)
    )
    return made


def rename(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Call a class by another name, in all its labels too.

    Raises
    ------
    ValueError
        If there is no class ``old``, it is `OTHER`, or the new name is empty or taken.
    """
    _require_own(old)
    row = row_of(connection, old)
    if new != old:
        _require_free(connection, new)
    connection.execute("UPDATE class SET name = ? WHERE id = ? AND name != ?", (new, row, new))


def remove(connection: sqlite3.Connection, name: str) -> None:
    """Remove a class and take its labels off its particles.

    Raises
    ------
    ValueError
        If there is no such class or it is `OTHER`.
    """
    _require_own(name)
    row = row_of(connection, name)
    connection.execute("UPDATE particle SET class = NULL WHERE class = ?", (row,))
    connection.execute("DELETE FROM class WHERE id = ?", (row,))


def _require_free(connection: sqlite3.Connection, name: str) -> None:
    if not name.strip():
        raise ValueError("the name of a class is empty; give it a name, e.g. ribosome")
    if any(other.name == name for other in read(connection)):
        raise ValueError(f"there is a class {name!r} already; choose another name")


def _require_own(name: str) -> None:
    if name == OTHER:
        raise ValueError(
            f"the class {OTHER!r} stands for what is not a particle and always stays; "
            "add a class of your own instead"
        )
