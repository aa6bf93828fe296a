"""What clusters look like: members of those that are chosen, an average, and a map of all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cryoshift.core.types import Tomogram

from .cluster_average import AverageView
from .feature_map import Dots, Map
from .gallery import PICTURE, Gallery, Tile
from .panel import Folded, wrapped
from .pictures import box_at, pixmap, sections
from .session import Session
from .slices import Slices
from .style import GREY, title_of

_EXAMPLES = 8
_HEIGHT = 190


def side_of(tomogram: Tomogram, diameter: float) -> int:
    """Return the voxels of a box in which a particle of so many Å is shown."""
    return max(round(1.5 * diameter / tomogram.voxel_size), 8)


class DrawnView(QWidget):
    """Three sections of what the autoencoder draws for the centre of a cluster."""

    def __init__(self) -> None:
        super().__init__()
        self._slices = Slices()
        self._said = wrapped("")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self._slices, self._said):
            column.addWidget(widget)
        self.show_drawn("", None)

    def show_drawn(self, name: str, box: npt.NDArray[np.float32] | None) -> None:
        """Show the volume (d, d, d) of the cluster of this name, or nothing."""
        self.setVisible(box is not None)
        if box is not None:
            self._slices.show_box(box)
            self._said.setText(f"The centre of {name} as the autoencoder draws it, protein bright.")


class ClusterViews(QWidget):
    """The most typical members, the average if there is one, and the map.

    Attributes
    ----------
    average
        Of the first cluster that is chosen.
    drawn
        What the autoencoder draws for its centre.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._examples = Gallery()
        self._examples.setFixedHeight(_EXAMPLES // 4 * (PICTURE + 24) + 6)
        self._examples.current_changed.connect(session.select)
        self.drawn = DrawnView()
        self.average = AverageView()
        self._map = Map()
        self._map.setFixedHeight(_HEIGHT)
        self._map.clicked.connect(session.select)
        said = wrapped(
            "A point a particle, in the plane in which the means of the clusters lie farthest "
            "apart; a click goes to it."
        )
        self._folded = Folded("Map of what the program sees", self._map, said)
        self._folded.unfolded.connect(self._show_map)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self._examples, self.drawn, self.average, self._folded):
            column.addWidget(widget)

    def show_chosen(self) -> None:
        """Show members of the clusters that are chosen, and where these are in the map."""
        self._show_map()
        self._show_examples()

    def _show_map(self) -> None:
        """Draw the map anew, if a person can see it."""
        if not self._map.isVisible():
            return
        notes = self._session.clusters
        particles, points = notes.plane()
        colours = {one.id: one.color for one in notes.all}
        chosen = np.isin(particles.cluster, notes.chosen)
        dots = Dots(
            colours=np.array([colours.get(one, GREY) for one in particles.cluster], dtype=object),
            filled=chosen if chosen.any() else np.ones(len(particles), dtype=bool),
            ids=particles.id,
        )
        self._map.show_points(points, dots)

    def _show_examples(self) -> None:
        tomogram, notes = self._session.tomogram, self._session.clusters
        chosen = [one for one in notes.all if one.id in notes.chosen]
        if tomogram is None or not chosen:
            self._examples.clear()
            return
        each = max(_EXAMPLES // len(chosen), 1)
        places, tiles = {}, []
        for one in chosen[:_EXAMPLES]:
            some = notes.most_typical(one.id)
            for row in range(min(each, len(some))):
                identity, label = int(some.id[row]), str(some.label[row])
                places[identity] = some.positions[row]
                said = f" · you said {title_of(label)}" if label else ""
                tip = f"particle {identity} of {one.name}{said}"
                tiles.append(Tile(identity, one.color, bool(label), one.name, tip))

        def picture(particle: int) -> QPixmap:
            side = side_of(tomogram, self._session.diameter)
            cut, _, _ = sections(box_at(tomogram, places[particle], side))
            return pixmap(cut, PICTURE)

        self._examples.show_tiles(tiles, picture)
