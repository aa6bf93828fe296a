"""The session as napari layers; with `images` the only place that knows both.

Layers are views. The session is the truth, and is pushed to them; deleting a layer deletes nothing.
Every layer has its scale and unit in Å and the axes z, y, x.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Points

from napari_cryoshift.core.types import Tomogram

from .gestures import Gestures
from .images import AXES, contrast, space
from .session import Session, session_of
from .style import Looks, colour_of, looks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import napari

CANDIDATES = "Particles"
CURRENT = "Current particle"
RULER = "Diameter"


class Layers:
    """The layers of one session in one viewer."""

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        self._viewer = ref(viewer)
        self.session = session
        self.image: Image | None = None
        self.points: Points | None = None
        self._current: Points | None = None
        self._ruler: Points | None = None
        self._slab: float | None = None
        self._keep_view = False
        self._looks: Callable[[], Looks] | None = None
        self.gestures = Gestures(self)
        session.tomogram_changed.connect(self._show_tomogram)
        session.particles_changed.connect(self._show_particles)
        session.classes_changed.connect(self._show_particles)
        session.threshold_changed.connect(self._show_threshold)
        session.diameter_changed.connect(self._show_sizes)
        session.current_changed.connect(self._show_current)

    @property
    def is_open(self) -> bool:
        """Whether the viewer is still there."""
        return self._viewer() is not None

    @property
    def viewer(self) -> napari.Viewer:
        """The viewer; nothing here is called after it is gone."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("the viewer of these layers is closed")
        return viewer

    # --- from the viewer ---

    def voxel_at(self, world: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return zyx voxels of a position of the viewer, Å."""
        return np.asarray(world, np.float64)[-3:] / self._voxel_size

    def candidate_at(self, world: npt.ArrayLike) -> int | None:
        """Return the id of the nearest particle on show whose sphere holds a position, or None."""
        session = self.session
        away = np.linalg.norm(session.particles.positions - self.voxel_at(world), axis=1)
        away[~session.shown] = np.inf
        if not len(away) or away.min() > self._size / 2:
            return None
        return int(session.particles.id[int(away.argmin())])

    @contextmanager
    def kept_view(self) -> Iterator[None]:
        """Leave camera and slider alone, for a particle that was chosen by clicking on it."""
        self._keep_view = True
        try:
            yield
        finally:
            self._keep_view = False

    # --- to the viewer ---

    @property
    def _voxel_size(self) -> float:
        tomogram = self.session.tomogram
        return tomogram.voxel_size if tomogram is not None and tomogram.voxel_size > 0 else 1.0

    @property
    def _size(self) -> float:
        """Diameter of a particle, voxels."""
        return max(self.session.diameter / self._voxel_size, 1.0)

    def _show_tomogram(self) -> None:
        tomogram = self.session.tomogram
        if tomogram is None:
            self._remove((self.image, self.points, self._current, self._ruler))
            return
        image, ours = self.image, (self.points, self._current, self._ruler)
        if image is None or image not in self.viewer.layers or image.data is not tomogram.data:
            self._remove((image, *ours))
            self.image = self._add_image(tomogram)
        self.gestures.bind(self.image)
        spaced = space(tomogram.voxel_size)
        moved = False
        for layer in (self.image, *ours):
            if layer is not None and not _is_spaced(layer, spaced):
                layer.units, layer.scale = spaced["units"], spaced["scale"]
                layer.axis_labels = spaced["axis_labels"]
                moved = True
        if moved or self.image is not image:
            self.viewer.dims.ndisplay = 2
            self.viewer.dims.axis_labels = AXES
            self.viewer.dims.set_point(0, tomogram.shape[0] // 2 * self._voxel_size)
            self.viewer.reset_view()

    def _add_image(self, tomogram: Tomogram) -> Image:
        return self.viewer.add_image(
            tomogram.data,
            name=tomogram.name,
            contrast_limits=contrast(tomogram.data, round(self._size)),
            projection_mode="mean",
            interpolation2d="linear",
            metadata={"tomogram": tomogram},
            **space(tomogram.voxel_size),
        )

    def _remove(self, layers: Iterable[Any]) -> None:
        for layer in layers:
            if layer is not None and layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def _show_particles(self) -> None:
        session = self.session
        if session.tomogram is None or (self.points is None and not len(session.particles)):
            return
        self.points = self._shown(self.points, CANDIDATES)
        # One refresh at the end: each of these setters would draw all points again.
        with self.points.events.blocker_all():
            moved = not np.array_equal(self.points.data, session.particles.positions)
            if moved:
                self.points.selected_data = set()
                self.points.data = session.particles.positions
                self.points.size = self._size
            if len(session.particles):
                self._dress(self.points, (self._looks or self._by_class)())
                self._show_threshold()
        self.points.refresh(extent=moved, thumbnail=moved)
        self._show_current()

    def show_by(self, looks: Callable[[], Looks] | None) -> None:
        """Colour the particles by something else than their class; None for their class again."""
        self._looks = looks
        self._show_particles()

    def _by_class(self) -> Looks:
        return looks(self.session.particles, colour_of(self.session.classes))

    @staticmethod
    def _dress(points: Points, dressed: Looks) -> None:
        points.face_color = dressed.face
        points.border_color = dressed.border
        points.border_width = dressed.width

    def _show_threshold(self) -> None:
        shown = self.session.shown
        if self.points is None or len(self.points.data) != len(shown):
            return
        if not np.array_equal(self.points.shown, shown):  # setting it slices all points again
            self.points.shown = shown

    def _show_sizes(self) -> None:
        for layer, times in ((self.points, 1.0), (self._current, 1.5), (self._ruler, 1.0)):
            if layer is not None:
                layer.size = times * self._size
        self._set_slab()

    @property
    def slab(self) -> float:
        """Depth that sections are averaged over, Å; a particle, until a person says otherwise."""
        return self.session.diameter if self._slab is None else self._slab

    def set_slab(self, thickness: float) -> None:
        """Show sections averaged over so many Å; nothing but the view changes."""
        self._slab = thickness
        self._set_slab()

    def _set_slab(self) -> None:
        if hasattr(self.viewer.dims, "thickness"):
            self.viewer.dims.thickness = (self.slab, 0.0, 0.0)

    def _show_current(self) -> None:
        row = self.session.row
        if row is None:
            if self._current is not None:
                self._current.data = np.empty((0, 3))
            return
        position = self.session.particles.positions[row]
        self._current = self._shown(self._current, CURRENT)
        if not np.array_equal(self._current.data, position[None]):
            with self._current.events.blocker_all():
                self._current.data = position[None]
                self._current.size = 1.5 * self._size
            if not self._keep_view:
                self._go_to(position)
            self._current.refresh()

    def _go_to(self, position: npt.NDArray[np.float64]) -> None:
        """Move the slider to a particle, and the camera only if the particle is out of view."""
        world = position * self._voxel_size
        self.viewer.dims.set_point(range(3), world)
        if self.viewer.dims.ndisplay == 3:
            _camera(self.viewer).center = world
        elif self.image is not None:
            low, high = self.image.corner_pixels[:, 1:]
            if ((position[1:] < low) | (position[1:] > high)).any():
                _camera(self.viewer).center = (0.0, *world[1:])

    def show_ruler(self, visible: bool) -> None:
        """Show a circle of the diameter in the middle of the view, or take it away."""
        if visible and self.session.tomogram is not None:
            self._ruler = self._shown(self._ruler, RULER)
            self._ruler.visible = True
            if not len(self._ruler.data):
                middle = self.voxel_at(_camera(self.viewer).center)
                middle[0] = self.viewer.dims.point[0] / self._voxel_size
                self._ruler.data = middle[None]
                self._ruler.size = self._size
        elif self._ruler is not None:
            self._ruler.visible = False  # a layer that is made anew each time holds up the window

    def show_read_back(self, positions: npt.NDArray[np.float64], name: str) -> None:
        """Lay a list that was read back over the volume, as crosses; it is only looked at."""
        title = f"read back: {name}"
        if title in self.viewer.layers:
            self.viewer.layers.remove(title)
        crosses = Points(
            positions,
            name=title,
            ndim=3,
            size=0.4 * self._size,
            symbol="cross",
            face_color="white",
            border_width=0,
            **space(self._voxel_size),
        )
        self._add_points(crosses)

    def _shown(self, layer: Points | None, name: str) -> Points:
        """Return the layer; it is made when it is missing or a person removed it."""
        if layer is not None and layer in self.viewer.layers:
            return layer
        is_box = name == CURRENT
        layer = Points(
            np.empty((0, 3)),
            name=name,
            ndim=3,
            size=self._size,
            symbol="square" if is_box else "disc",
            face_color="transparent",
            border_color="white" if is_box else "#ffd75f",
            border_width=0.03,
            **_fading(),
            **space(self._voxel_size),
        )
        self._add_points(layer)
        layer.editable = name == RULER
        return layer

    def _add_points(self, layer: Points) -> None:
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(layer)
        self.gestures.bind(layer)
        layer.editable = False  # edits go through the project, so that they can be undone
        # The image stays active: a person sees its contrast, and napari's status line does not
        # look for points in a thread of its own while they change.
        if active is not None:
            self.viewer.layers.selection.active = active


def _is_spaced(layer: Any, spaced: dict[str, Any]) -> bool:
    return layer.units == spaced["units"] and np.allclose(layer.scale, spaced["scale"])


def _camera(viewer: napari.Viewer) -> Any:
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera  # before napari 0.9


def _fading() -> dict[str, Any]:
    """Return the argument by which points shrink with their distance from the section."""
    if "out_of_slice_display" in inspect.signature(Points).parameters:
        return {"out_of_slice_display": True}  # before napari 0.9
    return {"projection_mode": "rescale_spherical"}


_LAYERS: WeakKeyDictionary[Any, Layers] = WeakKeyDictionary()


def layers_of(viewer: napari.Viewer) -> Layers:
    """Return the layers of a viewer; the first call makes them."""
    real = getattr(viewer, "__wrapped__", viewer)  # see session_of
    if real not in _LAYERS:
        _LAYERS[real] = Layers(real, session_of(real))
    return _LAYERS[real]
