"""Clusters: how many kinds of particle there are, found without a label."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qtpy.QtGui import QHideEvent, QPixmap, QShowEvent
from qtpy.QtWidgets import QGridLayout, QWidget

from napari_cryoshift.core.grouping import MOST, Found, find_compared_groups, find_groups
from napari_cryoshift.core.open_set import is_unknown
from napari_cryoshift.core.segmentation import segment
from napari_cryoshift.core.types import OTHER, Particles, Tomogram

from .cluster_average import Saved, averaging
from .cluster_layer import ClusterLayer
from .cluster_list import PICTURE, ClusterList, Row
from .cluster_search import ClusterSearch
from .cluster_views import ClusterViews, side_of
from .history import HistoryBar
from .panel import Panel, button, tick
from .pictures import box_at, pixmap, sections

if TYPE_CHECKING:
    import napari

    from napari_cryoshift.core.project import Cluster

_AVERAGED = 24
"""Members whose mean stands in the list: quick, and enough to see it."""

Key = tuple[int, float, bytes]


class ClustersPanel(Panel):
    """Find clusters, look at them, and make classes of them."""

    title = "Clusters"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.notes = self.session.clusters
        self.volume = ClusterLayer(self.layers)
        self._pictures: dict[Key, QPixmap] = {}
        self._averages: dict[Key, Saved] = {}
        self._drawn: dict[Key, npt.NDArray[np.float32]] = {}
        self._search = ClusterSearch()
        self._search.wanted.connect(self.find)
        self.body.addWidget(self._search)
        self._make_list()
        self._make_steps()
        self._paint = tick("Paint the regions of the particles")
        self._paint.setChecked(True)
        self._paint.toggled.connect(self.volume.paint)
        self.body.addWidget(self._paint)
        self._views = ClusterViews(self.session)
        self.body.addWidget(self._views)
        self.body.addStretch(1)
        self.listen(self.notes.changed, self._show_all)
        self.listen(self.notes.chosen_changed, self._show_chosen)
        for signal in (self.session.particles_changed, self.session.tomogram_changed):
            self.listen(signal, self._show_all)
        self._show_all()

    def advice(self) -> str:  # noqa: D102
        session, notes = self.session, self.notes
        if session.tomogram is None:
            return "Open a tomogram, or try the sample."
        if not len(session.particles):
            return "Find particles under Pick first."
        if not notes.all:
            return "How many kinds are there? Find out, or type one number under Groups."
        if not notes.chosen:
            return "Click a cluster in the list, or one of its particles in the volume or the map."
        return "Rename it by a double click, merge what is alike, then make it a class."

    def showEvent(self, event: QShowEvent) -> None:  # noqa: D102
        super().showEvent(event)
        self._show_all()
        self.volume.show(True)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: D102
        super().hideEvent(event)
        self.volume.show(False)

    # --- finding them ---

    def find(self) -> None:
        """Find clusters among the particles on show, in the background."""
        with self.attempt():
            tomogram, project = self.session.tomogram, self.session.project
            if tomogram is None or project is None:
                raise ValueError("no tomogram is open; open one, or try the sample")
            rows = self.session.shown
            if not rows.any():
                raise ValueError("0 particles are on show; find some under Pick first")
            if self._search.only_unknown:
                rows = rows & is_unknown(self.session.particles)
                if not rows.any():
                    raise ValueError(
                        "0 particles on show are unknown; set a threshold under Review first"
                    )
            particles = self.session.particles.take(rows)
            params = self._search.params()
            if self._search.compares:
                cache = project.folder / "embeddings"
                job = find_compared_groups(tomogram, particles, params, cache)
            else:
                job = find_groups(tomogram, particles, params)
            self.session.work.run(job, "Finding clusters", done=partial(self._keep, particles))

    def _keep(self, particles: Particles, found: Found) -> None:
        with self.attempt():
            # What was deleted meanwhile is in no cluster.
            still = np.isin(particles.id, self.session.particles.id)
            self.notes.keep(particles.take(still), found.labels[still])
            self._keep_drawn(particles.take(still), found.labels[still], found.drawn)
            self.session.mark(self.title)

    def _keep_drawn(
        self,
        particles: Particles,
        groups: npt.NDArray[np.int64],
        drawn: npt.NDArray[np.float32] | None,
    ) -> None:
        """Remember what the centres of the groups look like, as long as their members stay."""
        table = self.session.particles
        self._drawn = {}
        for group, box in enumerate(() if drawn is None else drawn):
            of_group = np.isin(table.id, particles.id[groups == group])
            for one in self.notes.all:
                if one.id in table.cluster[of_group]:
                    self._drawn[self._key(one)] = box
        self._show_chosen()

    # --- the list ---

    def _make_list(self) -> None:
        self._list = ClusterList()
        self._list.chosen.connect(self._choose)
        self._list.renamed.connect(self._rename)
        self.body.addWidget(self._list)

    def _choose(self, clusters: list[int]) -> None:
        """Look at clusters that were chosen in the list; the volume shows a member."""
        self.notes.choose(clusters)
        row = self.session.row
        here = -1 if row is None else int(self.session.particles.cluster[row])
        if clusters and here not in clusters:
            members = self.notes.most_typical(clusters[0])
            if len(members):
                self.session.select(int(members.id[0]))

    def _show_all(self) -> None:
        if not self.isVisible():
            return
        notes = self.notes
        rows = [
            Row(one, size, spread, self._picture(one))
            for one, size, spread in zip(notes.all, notes.sizes(), notes.spreads(), strict=True)
        ]
        self._list.show_rows(rows, notes.chosen)
        for widget in (self._list, self._actions, self._paint, self._views):
            widget.setVisible(bool(rows))
        self._history.show_history(self.session.project)
        self._show_chosen()

    def _show_chosen(self) -> None:
        if not self.isVisible():
            return
        self._list.show_chosen(self.notes.chosen)
        self._views.show_chosen()
        first = self._first_chosen()
        name = "" if first is None else first.name
        key = None if first is None else self._key(first)
        self._views.drawn.show_drawn(name, None if key is None else self._drawn.get(key))
        self._views.average.show_average(name, None if key is None else self._averages.get(key))
        self.volume.renew()
        self.show_advice()

    def _first_chosen(self) -> Cluster | None:
        return next((one for one in self.notes.all if one.id in self.notes.chosen), None)

    def _key(self, cluster: Cluster) -> Key:
        """What pictures of a cluster depend on."""
        positions = self.notes.members(cluster.id).positions
        return cluster.id, self.session.diameter, positions.tobytes()

    def _picture(self, cluster: Cluster) -> QPixmap:
        """Section of the mean of some members as they lie."""
        key, tomogram = self._key(cluster), self.session.tomogram
        if key not in self._pictures and tomogram is not None:
            members = self.notes.most_typical(cluster.id).positions[:_AVERAGED]
            side = side_of(tomogram, self.session.diameter)
            boxes = [box_at(tomogram, position, side) for position in members]
            mean = np.mean(boxes, axis=0)
            self._pictures[key] = pixmap(sections(mean)[0], 2 * PICTURE)
        return self._pictures[key]

    # --- what can be done with them ---

    def _make_steps(self) -> None:
        self._actions = QWidget()
        grid = QGridLayout(self._actions)
        grid.setContentsMargins(0, 0, 0, 0)
        steps = (
            ("Merge", self.merge, "Make one of the clusters that are chosen"),
            ("Split", self.split, "Make two of each, by what the program sees in the members"),
            ("Discard", self.discard, "Remove them; their particles stay"),
            ("Make it a class", self.make_class, "Its members become labels, by its name"),
            ("Not particles", self.make_other, "Its members are labelled as no particle"),
            ("Average", self.average, f"Turn {MOST} members onto each other and save the mean"),
            (
                "Segment",
                self.segment,
                "Learn from the members which voxels are particle: minutes; works for large "
                "particles, best with 50 members or more",
            ),
        )
        for index, (text, action, tip) in enumerate(steps):
            grid.addWidget(button(text, action, tip), index // 3, index % 3)
        self.body.addWidget(self._actions)
        self._history = HistoryBar(self.layers.gestures)
        self.body.addWidget(self._history)
        self.layers.gestures.bind_panel(self)

    def _rename(self, cluster: int, name: str) -> None:
        with self.attempt():
            self.notes.rename(cluster, name)

    def merge(self) -> None:
        """Make one of the clusters that are chosen."""
        with self.attempt():
            self.notes.merge()

    def split(self) -> None:
        """Make two of each cluster that is chosen."""
        with self.attempt():
            self.notes.split()

    def discard(self) -> None:
        """Remove the clusters that are chosen."""
        with self.attempt():
            self.notes.discard()

    def make_class(self) -> None:
        """Label the members of the clusters that are chosen, by the name of the first."""
        with self.attempt():
            first = self._first_chosen()
            self.notes.label("" if first is None else first.name)

    def make_other(self) -> None:
        """Say that the clusters that are chosen are no particles."""
        with self.attempt():
            self.notes.label(OTHER)

    def average(self) -> None:
        """Average the first cluster that is chosen, in the background."""
        with self.attempt():
            tomogram, project = self.session.tomogram, self.session.project
            chosen = self._first_chosen()
            if tomogram is None or project is None or chosen is None:
                raise ValueError("no cluster is chosen; click one in the list or in the volume")
            members = self.notes.most_typical(chosen.id)
            folder = project.folder / "averages"
            job = averaging(tomogram, members, self.session.diameter, folder, chosen.name)
            done = partial(self._keep_average, self._key(chosen))
            self.session.work.run(job, f"Averaging {chosen.name}", done=done)

    def _keep_average(self, key: Key, saved: Saved) -> None:
        self._averages[key] = saved
        self._pictures[key] = pixmap(sections(saved.average.mean)[0], 2 * PICTURE)
        self._show_all()
        self.bring_into_view(self._views.average)

    def segment(self) -> None:
        """Mark the voxels of the clusters that are chosen, in the background."""
        with self.attempt():
            tomogram, notes = self.session.tomogram, self.notes
            chosen = [one for one in notes.all if one.id in notes.chosen]
            if tomogram is None or not chosen:
                raise ValueError("no cluster is chosen; click one in the list or in the volume")
            table = self.session.particles
            classes = np.zeros(len(table), dtype=np.int64)
            for number, one in enumerate(chosen, start=1):
                classes[table.cluster == one.id] = number
            learnt = self.session.shown | (classes > 0)
            job = segment(tomogram, table.take(learnt), classes[learnt])
            done = partial(self._keep_segmented, tomogram, chosen)
            self.session.work.run(job, "Segmenting", done=done)

    def _keep_segmented(
        self, tomogram: Tomogram, chosen: list[Cluster], marked: npt.NDArray[np.uint8]
    ) -> None:
        if tomogram is self.session.tomogram:
            self.volume.show_segmented(marked, chosen)
