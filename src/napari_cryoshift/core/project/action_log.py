"""What was done, by whom and when; and the way back.

A persistent undo log, written by triggers as in https://www.sqlite.org/undoredo.html: under the
action at work, they log what each changed row was before. Undo puts the rows of the last action
back; the triggers fire again, so that the log of an undone action is its redo. The log holds rows
and no SQL: opening a project from elsewhere runs nothing, and many rows go back at once.
"""

from __future__ import annotations

import getpass
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from napari_cryoshift.core.project import schema

_REACH = 500_000
"""Changed rows that can be taken back; older ones leave the log, so that the file stays small."""

_LAST_DONE = """
    SELECT id, title FROM action WHERE undone = 0 ORDER BY id DESC LIMIT 1
"""
_FIRST_UNDONE = """
    SELECT id, title FROM action WHERE undone = 1 ORDER BY id LIMIT 1
"""


@dataclass(frozen=True)
class Action:
    """One thing that a person did.

    Attributes
    ----------
    id
        Rises with time.
    title
        In plain words, as undo shows it: "label 317 as ribosome".
    who
        Name of the account.
    when
        ISO 8601, UTC.
    undone
        It was taken back, and redo would do it again.
    """

    id: int
    title: str
    who: str
    when: str
    undone: bool


def actions(connection: sqlite3.Connection) -> tuple[Action, ...]:
    """Return all actions, oldest first."""
    rows = connection.execute("SELECT id, title, who, time, undone FROM action ORDER BY id")
    return tuple(
        Action(id=identity, title=title, who=who, when=time, undone=bool(undone))
        for identity, title, who, time, undone in rows
    )


@contextmanager
def action(connection: sqlite3.Connection, title: str) -> Iterator[None]:
    """Record the changes of the body as one action; what had been undone is forgotten.

    A body that changes nothing leaves no action, and redo as it was.
    """
    connection.execute("SAVEPOINT action")
    connection.execute("DELETE FROM action WHERE undone = 1")
    _forget(connection)
    identity = connection.execute(
        "INSERT INTO action (title, who, time) VALUES (?, ?, ?)",
        (title, _user(), datetime.now(UTC).isoformat(timespec="milliseconds")),
    ).lastrowid
    yield
    if not _is_logged(connection, identity):
        connection.execute("ROLLBACK TO action")
    connection.execute("RELEASE action")


def undo_title(connection: sqlite3.Connection) -> str | None:
    """Return the title of what undo would take back, or None."""
    found = _undoable(connection)
    return None if found is None else found[1]


def redo_title(connection: sqlite3.Connection) -> str | None:
    """Return the title of what redo would do again, or None."""
    found = connection.execute(_FIRST_UNDONE).fetchone()
    return None if found is None else str(found[1])


def undo(connection: sqlite3.Connection) -> str | None:
    """Take back the last action and return its title, or None if there is none."""
    found = _undoable(connection)
    if found is None:
        return None
    identity, title = found
    _put_back(connection, identity)
    connection.execute("UPDATE action SET undone = 1 WHERE id = ?", (identity,))
    return title


def redo(connection: sqlite3.Connection) -> str | None:
    """Do again what was last undone and return its title, or None if there is nothing."""
    found = connection.execute(_FIRST_UNDONE).fetchone()
    if found is None:
        return None
    identity, title = found
    # First this, as the triggers log under the last action that is not undone.
    connection.execute("UPDATE action SET undone = 0 WHERE id = ?", (identity,))
    _put_back(connection, identity)
    return str(title)


def _undoable(connection: sqlite3.Connection) -> tuple[int, str] | None:
    found = connection.execute(_LAST_DONE).fetchone()
    if found is None or not _is_logged(connection, found[0]):
        return None
    return int(found[0]), str(found[1])


def _is_logged(connection: sqlite3.Connection, identity: int | None) -> bool:
    return any(
        connection.execute(f"SELECT 1 FROM {table}_log WHERE action = ?", (identity,)).fetchone()
        for table in schema.UNDOABLE
    )


def _put_back(connection: sqlite3.Connection, identity: int) -> None:
    """Exchange what the rows of an action are with what its log says that they were."""
    # A class and its particles refer to each other; that has to hold at the end only.
    connection.execute("PRAGMA defer_foreign_keys = ON")
    for table in schema.UNDOABLE:
        columns = schema.columns(connection, table)
        names = ", ".join(columns)
        (newest,) = connection.execute(f"SELECT max(step) FROM {table}_log").fetchone()
        replayed = {"action": identity, "newest": newest}
        # A row that changed several times goes back to what it was first.
        first = (
            f"SELECT min(step) FROM {table}_log "
            "WHERE action = :action AND step <= :newest GROUP BY id"
        )
        connection.execute(
            f"DELETE FROM {table} WHERE id IN "
            f"(SELECT id FROM {table}_log WHERE step IN ({first}) AND NOT existed)",
            replayed,
        )
        connection.execute(
            f"INSERT INTO {table} ({names}) "
            f"SELECT {names} FROM {table}_log WHERE step IN ({first}) AND existed "
            f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in columns)}",
            replayed,
        )
        connection.execute(
            f"DELETE FROM {table}_log WHERE action = :action AND step <= :newest", replayed
        )


def _forget(connection: sqlite3.Connection) -> None:
    # Whole actions, in all tables: half an action must not be undone.
    for long in ("particle", "member"):
        oldest = connection.execute(
            f"SELECT action FROM {long}_log WHERE step <= (SELECT max(step) FROM {long}_log) - ? "
            "ORDER BY step DESC LIMIT 1",
            (_REACH,),
        ).fetchone()
        if oldest is not None:
            for table in schema.UNDOABLE:
                connection.execute(f"DELETE FROM {table}_log WHERE action < ?", oldest)


def _user() -> str:
    # Which of these it raises for an account without a name depends on the version of Python.
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"
