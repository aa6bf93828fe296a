"""`Project`: what a person has, does, and takes back."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.project import (
    action_log,
    class_table,
    particle_table,
    scratch,
    tomogram_table,
)
from napari_cryoshift.core.project.action_log import Action
from napari_cryoshift.core.project.class_table import ParticleClass
from napari_cryoshift.core.project.clusters import Clusters
from napari_cryoshift.core.project.database import FILE_NAME, Database
from napari_cryoshift.core.project.tomogram_table import TomogramRecord
from napari_cryoshift.core.types import Particles, Tomogram


class Project:
    """A folder around one SQLite file that holds everything a person did.

    Each method that changes particles or classes is one action: it is on disk when the method
    returns, it has a title in plain words, and undo takes it back, also after a restart. An action
    that fails changes nothing. Several windows may work on one folder: they share one history, so
    undo takes back the last action whoever made it. Threads may share a project.

    All methods raise `ProjectError`, which is an OSError and a ValueError, if the file cannot be
    read or written: on a full disk, for example.

    Attributes
    ----------
    clusters
        Groups of particles that were found, and what a person does with them.

    Examples
    --------
    >>> project = Project.open("tomo_171")  # doctest: +SKIP
    >>> project.add_class("ribosome")  # doctest: +SKIP
    >>> project.label([317], "ribosome")  # doctest: +SKIP
    >>> project.undo()  # doctest: +SKIP
    'label 317 as ribosome'
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.clusters = Clusters(database)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Project:
        """Open the project in a folder; make folder and project where they are missing.

        Raises
        ------
        ValueError
            If the folder is a file, or holds a project that is damaged or of a newer version. What
            is there is not touched.
        """
        return cls(Database(Path(folder).absolute()))

    @classmethod
    def scratch(cls) -> Project:
        """Make a project for work that has no name yet.

        It lies in the person's own data folder, or in CRYOSHIFT_SCRATCH where that is set.
        """
        return cls.open(scratch.new_folder())

    @classmethod
    def last_scratch(cls) -> Project | None:
        """Open the scratch project that was last worked in, or return None if there is no work.

        After a crash, this is where everything is that had no name yet. A scratch project that
        another window works in is left to it.

        Raises
        ------
        ValueError
            If a scratch project is damaged.
        """
        for folder in scratch.folders():
            with cls.open(folder) as project:
                found = project._holds_work()
            if found and not scratch.is_in_use(folder):
                return cls.open(folder)
        return None

    @property
    def folder(self) -> Path:
        """Where the project lies."""
        return self._database.folder

    def save_as(self, folder: str | os.PathLike[str]) -> None:
        """Move on to a new folder, with all tomograms, particles, classes and the history.

        A named project stays behind as it is, with what else its folder holds. A scratch project
        goes, and the other files of its folder come along, unless another window works in it.

        Raises
        ------
        ValueError
            If the folder holds a project already, or lies in this one.
        ProjectError
            If the folder cannot be written; work goes on in the old one.
        """
        left, path = self.folder, Path(folder).absolute()
        if path.is_relative_to(left):
            raise ValueError(f"{path} is inside the project itself; choose a folder outside {left}")
        if (path / FILE_NAME).exists():
            raise ValueError(f"{path} holds a project already; choose another folder")
        scratch.copy_rest(left, path)
        self._database.move_to(path)
        scratch.discard(left)

    def close(self) -> None:
        """Close the file; a scratch project without work leaves nothing behind."""
        if self._database.is_open:
            worth_keeping = self._holds_work()
            self._database.close()
            if not worth_keeping:
                scratch.discard(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add_tomogram(self, tomogram: Tomogram) -> None:
        """Remember a tomogram by its name, or what is new of one that is known.

        Opening a file is no edit: it is not in the history, and undo leaves it.
        """
        with self._database.write() as connection:
            tomogram_table.write(connection, tomogram)

    def tomograms(self) -> tuple[TomogramRecord, ...]:
        """Return the tomograms in the order they came."""
        with self._database.read() as connection:
            return tomogram_table.read(connection)

    def classes(self) -> tuple[ParticleClass, ...]:
        """Return the classes in the order they were made; `OTHER` always exists and is last."""
        with self._database.read() as connection:
            return class_table.read(connection)

    def add_class(self, name: str, color: str | None = None) -> ParticleClass:
        """Make a class with the next free key, and the next free colour unless one is given.

        Parameters
        ----------
        name
            Any text that no class has.
        color
            "#rrggbb".

        Raises
        ------
        ValueError
            If the name is empty or taken, or the colour is none.
        """
        with self._action(f"add class {name}") as connection:
            return class_table.add(connection, name, color)

    def add_classes(self, names: Sequence[str]) -> None:
        """Make several classes as one action, as `add_class` does.

        Raises
        ------
        ValueError
            If a name is empty or taken; then none is made.
        """
        with self._action(f"add classes {', '.join(names)}") as connection:
            for name in names:
                class_table.add(connection, name, None)

    def rename_class(self, old: str, new: str) -> None:
        """Rename a class; its particles, colour and key stay with it.

        Raises
        ------
        ValueError
            If there is no class ``old``, it is `OTHER`, or the new name is empty or taken.
        """
        with self._action(f"rename class {old} to {new}") as connection:
            class_table.rename(connection, old, new)

    def remove_class(self, name: str) -> None:
        """Remove a class; its particles stay, without a label.

        Raises
        ------
        ValueError
            If there is no such class or it is `OTHER`.
        """
        with self._action(f"remove class {name}") as connection:
            class_table.remove(connection, name)

    def particles(self, tomogram: str) -> Particles:
        """Return the particles of a tomogram in the order of their ids.

        ``predicted``, ``confidence`` and ``probabilities`` are empty: they follow from a model.
        ``cluster`` is the id of a `Cluster`. Where only some particles have an orientation, the
        others get the identity.

        Raises
        ------
        ValueError
            If the project does not know the tomogram.
        """
        with self._database.read() as connection:
            return particle_table.read(connection, tomogram)

    def set_picks(self, tomogram: str, picks: Particles) -> None:
        """Put new picks in the place of those earlier ones that nobody labelled.

        Labelled particles and those of other sources stay, and a pick within a voxel of one of
        them is left out.

        Parameters
        ----------
        tomogram
            Its name.
        picks
            Positions, score, edge and orientations are used; ids are given anew.

        Raises
        ------
        ValueError
            If the tomogram is unknown or a position lies outside it.
        """
        with self._database.write() as connection:
            new = particle_table.new_picks(connection, tomogram, picks)
            with action_log.action(connection, f"pick {_count(len(new))}"):
                particle_table.replace_picks(connection, tomogram, new)

    def add(
        self,
        tomogram: str,
        positions: npt.ArrayLike,
        *,
        label: str | npt.ArrayLike = "",
        source: str = "click",
        score: npt.ArrayLike | None = None,
        orientations: npt.NDArray[np.float64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Add particles.

        Parameters
        ----------
        tomogram
            Its name.
        positions
            (n, 3) or (3,) zyx voxels.
        label
            A class for all, or one a particle; "" for none.
        source
            How they came to be: "click", …
        score
            (n,), higher is better.
        orientations
            (n, 3, 3) active rotations, reference to tomogram, acting on xyz.

        Returns
        -------
        (n,) their ids.

        Raises
        ------
        ValueError
            If the tomogram or a class is unknown, a position lies outside the tomogram, or a
            column has another length.
        """
        zyx = _positions(positions)
        with self._database.write() as connection:
            rows = Particles.at(
                zyx,
                id=particle_table.next_ids(connection, len(zyx)),
                label=label,
                source=source,
                score=np.nan if score is None else score,
                orientations=orientations,
            )
            with action_log.action(connection, f"add {_these(rows.id)}"):
                particle_table.insert(connection, tomogram, rows)
        return rows.id

    def import_lists(self, lists: Mapping[str, Particles]) -> None:
        """Add the particles of lists, and the classes that they need, as one action.

        Parameters
        ----------
        lists
            A table a tomogram, by its name; their ids are given anew.

        Raises
        ------
        ValueError
            If a tomogram is unknown, or a position lies outside its own.
        """
        wanted = {name for rows in lists.values() for name in rows.label if name}
        title = f"import {_count(sum(map(len, lists.values())))}"
        with self._action(title) as connection:
            known = {one.name for one in class_table.read(connection)}
            for name in sorted(wanted - known):
                class_table.add(connection, name, None)
            for tomogram, rows in lists.items():
                ids = particle_table.next_ids(connection, len(rows))
                source = np.full(len(rows), "import", dtype=object)
                particle_table.insert(connection, tomogram, rows.replace(id=ids, source=source))

    def label(self, ids: npt.ArrayLike, name: str) -> None:
        """Say what particles are.

        Parameters
        ----------
        ids
            One or more ids.
        name
            A class, or "" to take labels off.

        Raises
        ------
        ValueError
            If an id or the class is unknown.
        """
        rows = np.unique(_ids(ids))
        what = str(rows[0]) if len(rows) == 1 else _count(len(rows))
        title = f"label {what} as {name}" if name else f"unlabel {what}"
        with self._action(title) as connection:
            particle_table.label(connection, rows, name)

    def move(self, ids: npt.ArrayLike, positions: npt.ArrayLike) -> None:
        """Put particles at (n, 3) zyx voxels of their tomograms.

        Raises
        ------
        ValueError
            If an id is unknown, a position lies outside the tomogram, or there are not as many
            positions as ids.
        """
        rows, zyx = _ids(ids), _positions(positions)
        if len(rows) != len(zyx):
            raise ValueError(
                f"{len(rows)} ids but {len(zyx)} positions; give one position a particle"
            )
        with self._action(f"move {_these(rows)}") as connection:
            particle_table.move(connection, rows, zyx)

    def delete(self, ids: npt.ArrayLike) -> None:
        """Delete particles.

        Raises
        ------
        ValueError
            If an id is unknown.
        """
        rows = np.unique(_ids(ids))
        with self._action(f"delete {_these(rows)}") as connection:
            particle_table.delete(connection, rows)

    def undo(self) -> str | None:
        """Take back the last action and return its title, or None if there is none."""
        with self._database.write() as connection:
            return action_log.undo(connection)

    def redo(self) -> str | None:
        """Do again what was last undone and return its title, or None if there is nothing."""
        with self._database.write() as connection:
            return action_log.redo(connection)

    @property
    def undo_title(self) -> str | None:
        """What undo would take back, or None."""
        with self._database.read() as connection:
            return action_log.undo_title(connection)

    @property
    def redo_title(self) -> str | None:
        """What redo would do again, or None."""
        with self._database.read() as connection:
            return action_log.redo_title(connection)

    def history(self) -> tuple[Action, ...]:
        """Return all actions, oldest first; those that are undone come last."""
        with self._database.read() as connection:
            return action_log.actions(connection)

    def get(self, key: str, default: Any = None) -> Any:
        """Return what was remembered under a key."""
        with self._database.read() as connection:
            found = connection.execute("SELECT value FROM memory WHERE key = ?", (key,)).fetchone()
        return default if found is None else json.loads(found[0])

    def set(self, key: str, value: Any) -> None:
        """Remember a JSON value, e.g. the defaults of a form; undo leaves it."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO memory VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, json.dumps(value)),
            )

    @property
    def data_version(self) -> int:
        """A number that changes when another window or process wrote to the project.

        What this one writes does not change it.
        """
        with self._database.read() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    @contextmanager
    def _action(self, title: str) -> Iterator[sqlite3.Connection]:
        with self._database.write() as connection, action_log.action(connection, title):
            yield connection

    def _holds_work(self) -> bool:
        return bool(self.history())


def _ids(ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
    return np.atleast_1d(np.asarray(ids)).astype(np.int64)


def _positions(positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
    zyx = np.asarray(positions, dtype=np.float64)
    if zyx.size == 0:
        return np.empty((0, 3))
    if zyx.ndim not in (1, 2) or zyx.shape[-1] != 3:
        raise ValueError(f"positions have shape {zyx.shape}; give (n, 3), in the order z, y, x")
    return np.atleast_2d(zyx)


def _count(n: int) -> str:
    return f"{n:,} particle{'' if n == 1 else 's'}"


def _these(ids: npt.NDArray[np.int64]) -> str:
    return f"particle {ids[0]}" if len(ids) == 1 else _count(len(ids))
