"""The table of particles: reading and writing many rows at a time."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from napari_cryoshift.core.project import class_table, tomogram_table
from napari_cryoshift.core.types import Particles

PICK = "pick"
"""The source of what the picker found, which the next picking replaces."""

_REPLACEABLE = f"source = '{PICK}' AND class ISNULL"
_SAME = 1.0  # voxels; centres this near belong to one particle


def read(connection: sqlite3.Connection, tomogram: str) -> Particles:
    """Return the particles of a tomogram in the order of their ids.

    Where only some have an orientation, the others get the identity.

    Raises
    ------
    ValueError
        If the project does not know the tomogram.
    """
    rows = connection.execute(
        "SELECT particle.id, z, y, x, score, edge, source, coalesce(name, ''), "
        "coalesce(cluster, -1), orientation FROM particle "
        "LEFT JOIN class ON class.id = particle.class "
        "LEFT JOIN member ON member.id = particle.id "
        "WHERE tomogram = ? ORDER BY particle.id",
        (tomogram_table.row_of(connection, tomogram),),
    ).fetchall()
    if not rows:
        return Particles.at(np.empty((0, 3)))
    id_, z, y, x, score, edge, source, label, cluster, orientation = zip(*rows, strict=True)
    return Particles.at(
        np.array((z, y, x), dtype=np.float64).T,
        id=id_,
        score=score,  # NULL becomes NaN
        edge=edge,
        source=source,
        label=label,
        cluster=cluster,
        tomogram=tomogram,
        orientations=_from_bytes(orientation),
    )


def next_ids(connection: sqlite3.Connection, n: int) -> npt.NDArray[np.int64]:
    """Return n ids that no particle ever had."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'particle'").fetchone()
    last = int(found[0]) if found else 0
    return np.arange(last + 1, last + 1 + n, dtype=np.int64)


def insert(connection: sqlite3.Connection, tomogram: str, particles: Particles) -> None:
    """Write rows to a tomogram: ids, positions, score, edge, source, label and orientations.

    Raises
    ------
    ValueError
        If the tomogram or a label is unknown, a position lies outside the tomogram, a score is
        infinite, or orientations are not (n, 3, 3).
    """
    n = len(particles)
    tomogram_row = tomogram_table.row_of(connection, tomogram)
    _require_inside(connection, particles.positions, np.full(n, tomogram_row))
    if np.isinf(particles.score).any():
        raise ValueError(
            f"{np.count_nonzero(np.isinf(particles.score))} of {n} scores are infinite; "
            "give finite scores, or NaN where there is none"
        )
    class_rows: dict[str, int | None] = {"": None}
    for name in set(particles.label) - {""}:
        class_rows[name] = class_table.row_of(connection, name)
    connection.executemany(
        "INSERT INTO particle (tomogram, id, z, y, x, score, edge, source, class, orientation) "
        f"VALUES ({tomogram_row}, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        zip(
            particles.id.tolist(),
            *particles.positions.T.tolist(),
            particles.score.tolist(),  # NaN becomes NULL
            particles.edge.tolist(),
            particles.source,
            [class_rows[name] for name in particles.label],
            _to_bytes(particles.orientations, n),
            strict=True,
        ),
    )


def replace_picks(connection: sqlite3.Connection, tomogram: str, picks: Particles) -> None:
    """Delete what the picker found and nobody labelled, and insert these picks."""
    connection.execute(
        f"DELETE FROM particle WHERE {_REPLACEABLE} AND tomogram = ?",
        (tomogram_table.row_of(connection, tomogram),),
    )
    _drop_empty_clusters(connection)
    insert(connection, tomogram, picks)


def new_picks(connection: sqlite3.Connection, tomogram: str, picks: Particles) -> Particles:
    """Return, with new ids, the picks more than a voxel from all that `replace_picks` leaves.

    Raises
    ------
    ValueError
        If the tomogram is unknown or a position lies outside it.
    """
    tomogram_row = tomogram_table.row_of(connection, tomogram)
    _require_inside(connection, picks.positions, np.full(len(picks), tomogram_row))
    kept = connection.execute(
        f"SELECT z, y, x FROM particle WHERE NOT ({_REPLACEABLE}) AND tomogram = ?",
        (tomogram_row,),
    ).fetchall()
    distance, _ = cKDTree(np.reshape(kept, (-1, 3))).query(picks.positions)
    new = picks.take(distance > _SAME)
    return Particles.at(
        new.positions,
        id=next_ids(connection, len(new)),
        score=new.score,
        edge=new.edge,
        orientations=new.orientations,
        source=PICK,
    )


def label(connection: sqlite3.Connection, ids: npt.NDArray[np.int64], name: str) -> None:
    """Give particles a class, or none where the name is "".

    Raises
    ------
    ValueError
        If an id or the class is unknown.
    """
    need(connection, ids)
    class_ = class_table.row_of(connection, name) if name else None
    connection.execute(
        "UPDATE particle SET class = :class "
        "WHERE id IN (SELECT value FROM json_each(:ids)) AND class IS NOT :class",
        {"class": class_, "ids": json.dumps(ids.tolist())},
    )


def move(
    connection: sqlite3.Connection,
    ids: npt.NDArray[np.int64],
    positions: npt.NDArray[np.float64],
) -> None:
    """Put particles at other places of their tomograms.

    Raises
    ------
    ValueError
        If an id is unknown or a position lies outside the tomogram.
    """
    tomogram_of = need(connection, ids)
    tomograms = np.array([tomogram_of[identity] for identity in ids.tolist()], dtype=np.int64)
    _require_inside(connection, positions, tomograms)
    connection.executemany(
        "UPDATE particle SET z = ?, y = ?, x = ? WHERE id = ?",
        zip(*positions.T.tolist(), ids.tolist(), strict=True),
    )


def delete(connection: sqlite3.Connection, ids: npt.NDArray[np.int64]) -> None:
    """Delete particles.

    Raises
    ------
    ValueError
        If an id is unknown.
    """
    need(connection, ids)
    connection.execute(
        "DELETE FROM particle WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(ids.tolist()),),
    )
    _drop_empty_clusters(connection)


def _drop_empty_clusters(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM cluster WHERE id NOT IN (SELECT cluster FROM member)")


def need(connection: sqlite3.Connection, ids: npt.NDArray[np.int64]) -> dict[int, int]:
    """Return the tomogram (its row id) of each particle.

    Raises
    ------
    ValueError
        If an id is unknown.
    """
    known: dict[int, int] = dict(
        connection.execute(
            "SELECT id, tomogram FROM particle WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(ids.tolist()),),
        ).fetchall()
    )
    missing = [identity for identity in ids.tolist() if identity not in known]
    if missing:
        raise ValueError(
            f"no particle {missing[0]} in this project ({len(missing)} of {len(ids)} ids are "
            "unknown); read the particles again and choose among those"
        )
    return known


def _require_inside(
    connection: sqlite3.Connection,
    positions: npt.NDArray[np.float64],
    tomograms: npt.NDArray[np.int64],
) -> None:
    """See that each position lies in a voxel of its tomogram (given by row id)."""
    for tomogram in np.unique(tomograms).tolist():
        name, *shape = connection.execute(
            "SELECT name, depth, height, width FROM tomogram WHERE id = ?", (tomogram,)
        ).fetchone()
        here = positions[tomograms == tomogram]
        # An integer position is the centre of a voxel, so voxels begin half a step before 0.
        inside = ((here >= -0.5) & (here <= np.array(shape) - 0.5)).all(axis=1)
        if not inside.all():
            z, y, x = here[~inside][0]
            raise ValueError(
                f"{np.count_nonzero(~inside)} of {len(here)} positions lie outside {name} of "
                f"{shape[0]} × {shape[1]} × {shape[2]} voxels (z, y, x), the first at "
                f"({z:.1f}, {y:.1f}, {x:.1f}); check the order of the axes and the voxel size"
            )


def _to_bytes(orientations: npt.NDArray[np.float64] | None, n: int) -> list[bytes] | list[None]:
    if orientations is None:
        return [None] * n
    matrices = np.asarray(orientations, dtype="<f8")
    if matrices.shape != (n, 3, 3):
        raise ValueError(
            f"orientations have shape {matrices.shape}; give ({n}, 3, 3), a matrix a particle"
        )
    return [matrix.tobytes() for matrix in matrices]


def _from_bytes(stored: tuple[bytes | None, ...]) -> npt.NDArray[np.float64] | None:
    if not any(stored):
        return None
    identity = np.eye(3, dtype="<f8").tobytes()
    matrices = np.frombuffer(b"".join(row or identity for row in stored), dtype="<f8")
    return matrices.reshape(-1, 3, 3).astype(np.float64)
