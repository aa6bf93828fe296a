"""One connection to the project's file: its lock, its transactions, its errors in plain words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from napari_cryoshift.core.project import schema

FILE_NAME = "project.sqlite"
_BUSY_SECONDS = 10.0


class ProjectError(OSError, ValueError):
    """The project's file could not be read or written; nothing was changed."""


class Database:
    """A connection that threads may share: one works at a time, the others wait.

    Parameters
    ----------
    folder
        Where the file lies; folder and file are made if they are missing.

    Raises
    ------
    ValueError
        If the file is no project, is damaged, or was made by a newer version. It is not touched.
    ProjectError
        If the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_open = True
        self._lock = threading.RLock()
        with _plain_words(folder):
            self._connection = _connect(_file_in(folder))

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread."""
        with self._lock, _plain_words(self.folder):
            yield self._connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction: on disk at the end, or as if it never began."""
        with self.read() as connection, _transaction(connection):
            yield connection

    def move_to(self, folder: Path) -> None:
        """Copy everything to a folder without a project and work there from now on.

        Raises
        ------
        ProjectError
            If the copy cannot be written; it is removed again, and work goes on in the old one.
        """
        with self._lock, _plain_words(folder):
            file = _file_in(folder)
            try:
                with closing(sqlite3.connect(file)) as copy:
                    self._connection.backup(copy)
                moved = _connect(file)
            except sqlite3.Error:
                for suffix in ("", "-journal", "-wal", "-shm"):
                    file.with_name(file.name + suffix).unlink(missing_ok=True)
                raise
            self._connection.close()
            self._connection, self.folder = moved, folder

    def close(self) -> None:
        """Close the file."""
        with self.read() as connection:
            connection.close()
            self.is_open = False


def _file_in(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / FILE_NAME


def _connect(file: Path) -> sqlite3.Connection:
    if file.exists():
        # Read-only first, so that a file that is not ours stays as it is to the last byte.
        with closing(_open(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            schema.verify(connection, file)
    connection = _open(str(file))
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is on the disk before it returns, and outlives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        with _transaction(connection):
            if schema.is_empty(connection):
                schema.create(connection)
            else:
                schema.upgrade(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _open(name: str, *, uri: bool = False) -> sqlite3.Connection:
    # No isolation level: transactions begin and end where this module says so.
    return sqlite3.connect(
        name, uri=uri, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: wait for other writers here, and never in the middle of an action.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # After an error; on a full disk SQLite may have ended the transaction by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _plain_words(folder: Path) -> Iterator[None]:
    """Say what goes wrong with the file in a sentence; programming errors pass through."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the kind of error, the rest is detail.
        sentence = _SENTENCES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if sentence is None:
            raise
        raise ProjectError(sentence.format(folder=folder, error=error)) from error
    except PermissionError as error:
        raise ProjectError(_NOT_WRITABLE.format(folder=folder, error=error.strerror)) from error


_DAMAGED = (
    f"{FILE_NAME} in {{folder}} is damaged or no project ({{error}}) and was left as it is; "
    "restore it from a copy, or choose another folder"
)
_NOT_WRITABLE = "{folder} cannot be written to ({error}); choose a folder of your own"
_SENTENCES = {
    sqlite3.SQLITE_FULL: "the disk that holds {folder} is full, so this last step was not saved; "
    "make room and do it again (all earlier work is safe)",
    sqlite3.SQLITE_IOERR: "{folder} could not be read or written ({error}), so this last step was "
    "not saved; see that its disk is connected and not full, and do it again",
    sqlite3.SQLITE_BUSY: f"another program kept {FILE_NAME} in {{folder}} busy for "
    f"{_BUSY_SECONDS:.0f} s; close it or try again",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
}
