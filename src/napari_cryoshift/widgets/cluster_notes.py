"""The clusters of a session: those of the project, which of them are chosen, and every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_cryoshift.core import grouping
from napari_cryoshift.core.project import Cluster
from napari_cryoshift.core.project.clusters import Clusters
from napari_cryoshift.core.types import Particles

if TYPE_CHECKING:
    from .session import Session


class ClusterNotes:
    """What was found, and what a person makes of it; each step can be undone.

    Attributes
    ----------
    all
        The clusters of the tomogram, in the order they were made.
    chosen
        Ids of those that are looked at.
    """

    changed = Signal()
    chosen_changed = Signal()

    def __init__(self, session: Session) -> None:
        self._session = session
        self.all: tuple[Cluster, ...] = ()
        self.chosen: tuple[int, ...] = ()
        self._of_particle = np.empty(0, dtype=np.int64)
        session.particles_changed.connect(self._read)
        session.current_changed.connect(self._choose_current)

    # --- what there is ---

    def members(self, cluster: int) -> Particles:
        """Return the particles of a cluster."""
        table = self._session.particles
        return table.take(table.cluster == cluster)

    def sizes(self) -> list[int]:
        """Return how many members each cluster has."""
        cluster = self._session.particles.cluster
        return [int((cluster == one.id).sum()) for one in self.all]

    def numbers(self) -> npt.NDArray[np.int64]:
        """Return (n,) the row in `all` of each particle's cluster; -1 without one."""
        index = {one.id: row for row, one in enumerate(self.all)}
        cluster = self._session.particles.cluster
        return np.array([index.get(one, -1) for one in cluster.tolist()], dtype=np.int64)

    def spreads(self) -> list[float]:
        """Return how far the members of each cluster lie apart, 1 being as far as all particles.

        NaN as long as nothing is known of what the particles look like.
        """
        found = np.full(len(self.all), np.nan)
        vectors = self._vectors(self._session.particles)
        if vectors.shape[1]:
            known = grouping.spreads(vectors, self.numbers())
            found[: len(known)] = known
        return [float(one) for one in found]

    def most_typical(self, cluster: int) -> Particles:
        """Return the members, those nearest to the mean of what the model sees in them first."""
        members = self.members(cluster)
        return members.take(grouping.most_typical(self._vectors(members)))

    def plane(self) -> tuple[Particles, npt.NDArray[np.float64]]:
        """Return particles, and where they lie in the plane that shows the clusters apart."""
        table, numbers = self._session.particles, self.numbers()
        there = self._session.embeddings.have(table) & (numbers >= 0)
        if there.sum() < 2:
            return table.take(np.zeros(len(table), dtype=bool)), np.empty((0, 2))
        some = table.take(there)
        return some, grouping.plane(self._vectors(some), numbers[there])

    def _vectors(self, particles: Particles) -> npt.NDArray[np.float32]:
        return self._session.embeddings.all_of(particles)

    # --- which are looked at ---

    def choose(self, clusters: Iterable[int]) -> None:
        """Look at these clusters."""
        known = {one.id for one in self.all}
        chosen = tuple(cluster for cluster in clusters if cluster in known)
        if chosen != self.chosen:
            self.chosen = chosen
            self.chosen_changed.emit()

    def _choose_current(self) -> None:
        """A particle was chosen, in the volume or anywhere: its cluster is looked at."""
        row = self._session.row
        cluster = -1 if row is None else int(self._session.particles.cluster[row])
        if cluster >= 0 and cluster not in self.chosen:
            self.choose([cluster])

    # --- steps ---

    def keep(self, particles: Particles, groups: npt.NDArray[np.int64]) -> None:
        """Put groups that were found in the place of the clusters of this tomogram."""
        tomogram = self._session.tomogram
        if tomogram is not None:
            self._project().set(tomogram.name, particles.id, groups)
            self._session.read_again()

    def merge(self) -> None:
        """Make one of those that are chosen."""
        self._project().merge(self._need_chosen())
        self._session.read_again()

    def split(self) -> None:
        """Make two of each that is chosen, by what the model sees in the members."""
        for cluster in self._need_chosen():
            members = self.members(cluster)
            members = members.take(self._session.embeddings.have(members))
            parts = grouping.halves(self._vectors(members))
            self._project().split(cluster, members.id, parts)
        self._session.read_again()

    def rename(self, cluster: int, name: str) -> None:
        """Call a cluster something else."""
        self._project().rename(cluster, name)
        self._session.read_again()

    def discard(self) -> None:
        """Remove those that are chosen; their particles stay."""
        self._project().discard(self._need_chosen())
        self._session.read_again()

    def label(self, name: str) -> int:
        """Label the members of those that are chosen as a class; return how many were."""
        labelled = self._project().label(self._need_chosen(), name)
        self._session.read_again()
        return labelled

    # --- inside ---

    def _project(self) -> Clusters:
        if self._session.project is None:
            raise ValueError("no tomogram is open; open one, or try the sample")
        return self._session.project.clusters

    def _need_chosen(self) -> tuple[int, ...]:
        if not self.chosen:
            raise ValueError("no cluster is chosen; click one in the list or in the volume")
        return self.chosen

    def _read(self) -> None:
        """Read the clusters again; every prediction comes by here, and changes none of them."""
        session = self._session
        found: tuple[Cluster, ...] = ()
        if session.project is not None and session.tomogram is not None:
            found = session.project.clusters.of(session.tomogram.name)
        cluster = session.particles.cluster
        if found != self.all or not np.array_equal(cluster, self._of_particle):
            self.all, self._of_particle = found, cluster
            self.changed.emit()
            self.choose(self.chosen)
