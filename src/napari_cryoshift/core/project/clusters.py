"""Clusters: groups of particles that were found, and what a person makes of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.colours import PALETTE
from napari_cryoshift.core.project import action_log, class_table, particle_table, tomogram_table
from napari_cryoshift.core.project.database import Database


@dataclass(frozen=True)
class Cluster:
    """A group of particles of one tomogram.

    Attributes
    ----------
    id
        As in `Particles.cluster`.
    name
        No other cluster of the tomogram has it.
    color
        "#rrggbb"; it stays with the cluster.
    """

    id: int
    name: str
    color: str


class Clusters:
    """The clusters of a project. Each method that changes them is one action that can be undone.

    A particle is in one cluster at most. Without one it stays in the table of particles.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, tomogram: str) -> tuple[Cluster, ...]:
        """Return the clusters of a tomogram in the order they were made."""
        with self._database.read() as connection:
            row = tomogram_table.row_of(connection, tomogram)
            return tuple(_read(connection, "tomogram = ?", row))

    def set(self, tomogram: str, ids: npt.ArrayLike, groups: npt.ArrayLike) -> None:
        """Put new clusters in the place of all earlier ones of a tomogram, the largest first.

        Parameters
        ----------
        tomogram
            Its name.
        ids, groups
            (n,) ids of particles, and the number of the group of each; negative for none.

        Raises
        ------
        ValueError
            If the tomogram or an id is unknown, or there are not as many groups as ids.
        """
        rows, numbers = _paired(ids, groups)
        found, sizes = np.unique(numbers[numbers >= 0], return_counts=True)
        with (
            self._database.write() as connection,
            action_log.action(connection, f"find {len(found)} clusters"),
        ):
            tomogram_row = tomogram_table.row_of(connection, tomogram)
            connection.execute("DELETE FROM cluster WHERE tomogram = ?", (tomogram_row,))
            for number in found[np.argsort(-sizes, kind="stable")]:
                _insert(connection, tomogram_row, rows[numbers == number])

    def merge(self, clusters: Sequence[int]) -> None:
        """Make one of several; the largest keeps its name and colour.

        Raises
        ------
        ValueError
            If there are fewer than two, or one is unknown.
        """
        if len(set(clusters)) < 2:
            raise ValueError(f"{len(set(clusters))} cluster is chosen; choose two or more")
        with self._action("merge", clusters) as connection:
            kept = max(clusters, key=lambda cluster: len(_members(connection, cluster)))
            gone = json.dumps([cluster for cluster in clusters if cluster != kept])
            among = "IN (SELECT value FROM json_each(?))"
            connection.execute(f"UPDATE member SET cluster = ? WHERE cluster {among}", (kept, gone))
            connection.execute(f"DELETE FROM cluster WHERE id {among}", (gone,))

    def split(self, cluster: int, ids: npt.ArrayLike, groups: npt.ArrayLike) -> None:
        """Make several of one; the largest part keeps name and colour.

        Parameters
        ----------
        cluster
            Its id.
        ids, groups
            (n,) ids of members, and the number of the part of each; members that are not given
            stay in the cluster.

        Raises
        ------
        ValueError
            If the cluster is unknown, a particle is not in it, there are fewer than two parts, or
            not as many groups as ids.
        """
        rows, numbers = _paired(ids, groups)
        parts, sizes = np.unique(numbers, return_counts=True)
        if len(parts) < 2:
            raise ValueError("a cluster cannot be split into one part; give two or more")
        with self._action("split", [cluster]) as connection:
            foreign = np.setdiff1d(rows, _members(connection, cluster))
            if len(foreign):
                raise ValueError(
                    f"{len(foreign)} of {len(rows)} particles are not in that cluster; "
                    "read the particles again"
                )
            (tomogram,) = connection.execute(
                "SELECT tomogram FROM cluster WHERE id = ?", (cluster,)
            ).fetchone()
            for number in parts[np.argsort(-sizes, kind="stable")][1:]:
                _insert(connection, tomogram, rows[numbers == number])

    def rename(self, cluster: int, name: str) -> None:
        """Call a cluster something else.

        Raises
        ------
        ValueError
            If the cluster is unknown, or the name is empty or that of another one.
        """
        name = name.strip()
        if not name:
            raise ValueError("the name of a cluster is empty; give it a name, e.g. ribosome")
        with self._action("rename", [cluster], f" to {name}") as connection:
            (tomogram,) = connection.execute(
                "SELECT tomogram FROM cluster WHERE id = ?", (cluster,)
            ).fetchone()
            others = _read(connection, "tomogram = ?", tomogram)
            if any(other.name == name and other.id != cluster for other in others):
                raise ValueError(
                    f"there is a cluster {name!r} already; choose another name, or merge the two"
                )
            connection.execute(
                "UPDATE cluster SET name = ? WHERE id = ? AND name != ?", (name, cluster, name)
            )

    def discard(self, clusters: Sequence[int]) -> None:
        """Remove clusters; their particles stay, in none.

        Raises
        ------
        ValueError
            If one is unknown.
        """
        with self._action("discard", clusters) as connection:
            connection.execute(
                "DELETE FROM cluster WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(clusters)),),
            )

    def label(self, clusters: Sequence[int], name: str) -> int:
        """Make a class of clusters: label their members, but for those that have a label already.

        Parameters
        ----------
        clusters
            Their ids.
        name
            Of the class, which is made if it is missing, in the colour of the first cluster unless
            another class has that.

        Returns
        -------
        int
            How many were labelled.

        Raises
        ------
        ValueError
            If a cluster is unknown, or the name of a new class is empty.
        """
        with self._action("label", clusters, f" as {name}") as connection:
            classes = class_table.read(connection)
            if name not in {known.name for known in classes}:
                first = next(_read(connection, "id = ?", clusters[0]))
                taken = first.color in {known.color for known in classes}
                class_table.add(connection, name, None if taken else first.color)
            (unlabelled,) = connection.execute(
                "SELECT json_group_array(member.id) FROM member "
                "JOIN particle ON particle.id = member.id WHERE particle.class ISNULL "
                "AND member.cluster IN (SELECT value FROM json_each(?))",
                (json.dumps(list(clusters)),),
            ).fetchone()
            ids = np.array(json.loads(unlabelled), dtype=np.int64)
            particle_table.label(connection, ids, name)
        return len(ids)

    @contextmanager
    def _action(
        self, verb: str, clusters: Sequence[int], what: str = ""
    ) -> Iterator[sqlite3.Connection]:
        """Do something with clusters that are there, under a title with their names."""
        with self._database.write() as connection:
            given = json.dumps(list(clusters))
            known = list(_read(connection, "id IN (SELECT value FROM json_each(?))", given))
            if len(known) < len(set(clusters)) or not known:
                raise ValueError(
                    f"{len(known)} of {len(set(clusters))} clusters are in this project; "
                    "choose among those on show"
                )
            names = ", ".join(one.name for one in known)
            with action_log.action(connection, f"{verb} {names}{what}"):
                yield connection


def _paired(
    ids: npt.ArrayLike, groups: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    rows, numbers = (np.atleast_1d(np.asarray(given)).astype(np.int64) for given in (ids, groups))
    if len(rows) != len(numbers):
        raise ValueError(f"{len(rows)} ids but {len(numbers)} groups; give one group a particle")
    return rows, numbers


def _read(connection: sqlite3.Connection, where: str, value: int | str) -> Iterator[Cluster]:
    rows = connection.execute(
        f"SELECT id, name, color FROM cluster WHERE {where} ORDER BY id", (value,)
    )
    return (Cluster(*row) for row in rows)


def _members(connection: sqlite3.Connection, cluster: int) -> npt.NDArray[np.int64]:
    rows = connection.execute("SELECT id FROM member WHERE cluster = ?", (cluster,)).fetchall()
    return np.array(rows, dtype=np.int64).ravel()


def _insert(
    connection: sqlite3.Connection, tomogram: int, particles: npt.NDArray[np.int64]
) -> None:
    """Make a cluster, with the next free name and colour, and put particles into it."""
    others = list(_read(connection, "tomogram = ?", tomogram))
    colours, names = [other.color for other in others], {other.name for other in others}
    color = min(PALETTE, key=colours.count)
    name = next(name for i in count(1) if (name := f"cluster {i}") not in names)
    made = connection.execute(
        "INSERT INTO cluster (tomogram, name, color) VALUES (?, ?, ?)", (tomogram, name, color)
    ).lastrowid
    particle_table.need(connection, particles)
    connection.executemany(
        "INSERT INTO member (id, cluster) VALUES (?, ?) "
        "ON CONFLICT (id) DO UPDATE SET cluster = excluded.cluster",
        ((identity, made) for identity in particles.tolist()),
    )
