"""Clusters in the volume: points and painted regions in the colours of their clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_cryoshift.core.label_volume import Balls
from napari_cryoshift.core.project import Cluster

from .images import space
from .layers import Layers
from .style import GREY, Looks, rgba

NAME = "Clusters"
SEGMENTED = "Segmentation of {}"
_NOTHING = {None: "transparent", 0: "transparent"}
_OPACITY = 0.4
_THIN, _THICK = 0.06, 0.14
_FILL = 0.35
_PALE = 0.35


class ClusterLayer:
    """Shows the clusters of a session in a viewer while someone works with them."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._session = layers.session
        self._layer: Labels | None = None
        self._on = False
        self.painted = True

    def show(self, on: bool) -> None:
        """Show clusters, or classes again."""
        self._on = on
        self.renew()

    def paint(self, on: bool) -> None:
        """Paint regions, or only draw points."""
        self.painted = on
        self.renew()

    def renew(self) -> None:
        """Draw what the session has now."""
        if not self._layers.is_open:
            return
        there = self._on and bool(self._session.clusters.all)
        self._layers.show_by(self._looks if there else None)
        self._paint(there and self.painted)

    def _looks(self) -> Looks:
        """Colour = cluster; those that are chosen are filled and thick, the others pale."""
        notes, table = self._session.clusters, self._session.particles
        palette = np.array([rgba(GREY), *(rgba(one.color) for one in notes.all)], np.float32)
        border = palette[notes.numbers() + 1]
        chosen = np.isin(table.cluster, notes.chosen)
        face = border.copy()
        face[:, 3] = np.where(chosen, _FILL, 0.0)
        if notes.chosen:
            border[~chosen, 3] = _PALE
        return Looks(face, border, np.where(chosen, _THICK, _THIN))

    def _paint(self, on: bool) -> None:
        viewer, tomogram, layer = self._layers.viewer, self._session.tomogram, self._layer
        if layer is not None and layer not in viewer.layers:  # a person removed it
            layer = None
        elsewhere = layer is not None and (
            tomogram is None
            or layer.data.shape != tomogram.shape
            or not np.allclose(layer.scale, space(tomogram.voxel_size)["scale"])
        )
        if elsewhere:
            viewer.layers.remove(layer)
            layer = None
        self._layer = layer
        if tomogram is None or not on:
            if layer is not None:
                layer.visible = False
            return
        notes, table, shown = self._session.clusters, self._session.particles, self._session.shown
        regions = Balls(
            table.positions[shown],
            notes.numbers()[shown] + 1,
            radius=self._session.diameter / tomogram.voxel_size / 2,
            shape=tomogram.shape,
        )
        colours = {row: one.color for row, one in enumerate(notes.all, start=1)}
        if layer is None:
            self._layer = layer = self._add(regions, tomogram.voxel_size, NAME)
            layer.editable = False  # clusters are changed in their list, so that it can be undone
            self._layers.gestures.bind(layer)
        else:
            layer.data = regions
        layer.colormap = DirectLabelColormap(color_dict=_NOTHING | colours)
        layer.visible = True

    def show_segmented(self, marked: npt.NDArray[np.uint8], of: Sequence[Cluster]) -> None:
        """Show the voxels of chosen clusters, of which the first is number 1."""
        viewer, tomogram = self._layers.viewer, self._session.tomogram
        if tomogram is None or not self._layers.is_open:
            return
        name = SEGMENTED.format(tomogram.name)
        if name in viewer.layers:
            viewer.layers.remove(name)
        layer = self._add(marked, tomogram.voxel_size, name)
        colours = {row: one.color for row, one in enumerate(of, start=1)}
        layer.colormap = DirectLabelColormap(color_dict=_NOTHING | colours)

    def _add(self, regions: Any, voxel_size: float, name: str) -> Labels:
        viewer = self._layers.viewer
        active = viewer.layers.selection.active
        layer = Labels(regions, name=name, opacity=_OPACITY, **space(voxel_size))
        points = self._layers.points
        below = viewer.layers.index(points) if points in viewer.layers else len(viewer.layers)
        viewer.layers.insert(below, layer)
        if active is not None:
            viewer.layers.selection.active = active
        return layer
