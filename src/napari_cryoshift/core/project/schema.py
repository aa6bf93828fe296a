"""The tables of a project, and the triggers that note how to take back every change."""

import sqlite3
from pathlib import Path

from napari_cryoshift.core.colours import OTHER_COLOUR
from napari_cryoshift.core.types import OTHER

VERSION = 2
_APPLICATION_ID = 0x43525953  # "CRYS"; `file` and SQLite's own tools show it

_STATEMENTS = (
    """CREATE TABLE tomogram (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        path TEXT,
        voxel_size REAL NOT NULL,  -- Å
        dark INTEGER NOT NULL,
        depth INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL  -- voxels
    )""",
    """CREATE TABLE class (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        color TEXT NOT NULL,
        key TEXT NOT NULL
    )""",
    f"INSERT INTO class (name, color, key) VALUES ('{OTHER}', '{OTHER_COLOUR}', '0')",
    """CREATE TABLE particle (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- an id is never given twice
        tomogram INTEGER NOT NULL REFERENCES tomogram,
        z REAL NOT NULL, y REAL NOT NULL, x REAL NOT NULL,  -- voxels
        score REAL,
        edge INTEGER NOT NULL,
        source TEXT NOT NULL,
        class INTEGER REFERENCES class,
        orientation BLOB  -- nine little-endian doubles, row by row
    )""",
    "CREATE INDEX particle_tomogram ON particle (tomogram)",
    "CREATE TABLE memory (key TEXT PRIMARY KEY, value TEXT NOT NULL)",  # values are JSON
    """CREATE TABLE action (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        who TEXT NOT NULL,
        time TEXT NOT NULL,
        undone INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX action_done ON action (id) WHERE undone = 0",
    f"PRAGMA application_id = {_APPLICATION_ID}",
)

_CLUSTERS = (
    """CREATE TABLE cluster (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        tomogram INTEGER NOT NULL REFERENCES tomogram,
        name TEXT NOT NULL,
        color TEXT NOT NULL
    )""",
    """CREATE TABLE member (
        id INTEGER PRIMARY KEY REFERENCES particle ON DELETE CASCADE,
        cluster INTEGER NOT NULL REFERENCES cluster ON DELETE CASCADE
    )""",
    "CREATE INDEX member_cluster ON member (cluster)",
)
"""What came with version 2."""

UNDOABLE = ("member", "cluster", "class", "particle")
"""Tables whose changes are logged, in the order in which they are put back: members first, so that
none goes with its cluster or particle, unnoticed by the log.

Opening a tomogram is no edit: undo must not pull it from under a window that shows it.
"""


def is_empty(connection: sqlite3.Connection) -> bool:
    """Return whether the file holds nothing at all yet."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables == 0)


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, inside the transaction of the caller."""
    for statement in _STATEMENTS:
        connection.execute(statement)
    _log(connection, "class", "particle")
    upgrade(connection)


def upgrade(connection: sqlite3.Connection) -> None:
    """Add what a project of an earlier version lacks, inside the transaction of the caller."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < VERSION:
        for statement in _CLUSTERS:
            connection.execute(statement)
        _log(connection, "cluster", "member")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _log(connection: sqlite3.Connection, *tables: str) -> None:
    for table in tables:
        for statement in _log_of(table, columns(connection, table)):
            connection.execute(statement)


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the names of the columns of a table."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def verify(connection: sqlite3.Connection, file: Path) -> None:
    """See that a file is a project of this version and whole.

    Raises
    ------
    ValueError
        If it is not.
    """
    if is_empty(connection):
        return
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise ValueError(f"{file} is a database but no project; choose another folder")
    if version > VERSION:
        raise ValueError(
            f"{file} is a project of version {version} and this program reads up to {VERSION}; "
            "install a newer napari-cryoshift"
        )
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise ValueError(
            f"{file} is damaged ({finding}) and was left as it is; restore it from a copy"
        )


def _log_of(table: str, columns: list[str]) -> list[str]:
    """Write the statements that make the log of a table, and the triggers that fill it.

    For each changed row, the log has what it was before (``existed``), or that it was not there.
    The action at work is always the last one that is not undone.
    """
    action = "(SELECT id FROM action WHERE undone = 0 ORDER BY id DESC LIMIT 1)"
    before = f"{action}, 1, {', '.join(f'old.{name}' for name in columns)}"
    log = f"INSERT INTO {table}_log (action, existed, {', '.join(columns)})"
    return [
        f"""CREATE TABLE {table}_log (
            step INTEGER PRIMARY KEY,
            action INTEGER NOT NULL REFERENCES action ON DELETE CASCADE,
            existed INTEGER NOT NULL,
            {", ".join(columns)}
        )""",
        f"CREATE INDEX {table}_log_action ON {table}_log (action)",
        f"CREATE TRIGGER {table}_insert AFTER INSERT ON {table} BEGIN "
        f"INSERT INTO {table}_log (action, existed, id) VALUES ({action}, 0, new.id); END",
        f"CREATE TRIGGER {table}_update AFTER UPDATE ON {table} BEGIN {log} VALUES ({before}); END",
        f"CREATE TRIGGER {table}_delete AFTER DELETE ON {table} BEGIN {log} VALUES ({before}); END",
    ]
