"""Mouse and keys in the volume: a click selects, a digit labels, and so on.

Keys are bound on our layers themselves: napari's own keys of a layer win over keys of the viewer,
so a digit bound to the viewer would never arrive while a layer of points is active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QWidget

from .queue import Order

if TYPE_CHECKING:
    from .layers import Layers

KEYS: dict[str, tuple[str, str]] = {
    "Space": ("next", "next particle"),
    "Shift-Space": ("previous", "previous particle"),
    "Backspace": ("unlabel", "take the label off"),
    "A": ("add_here", "add a particle at the cursor"),
    "M": ("move_here", "move the particle to the cursor"),
    "D": ("delete", "delete the particle"),
    "Control-Z": ("undo", "undo"),
    "Control-Shift-Z": ("redo", "redo"),
}
"""Key → the method of `Gestures` it calls, and what that does. Digits label."""


class Gestures:
    """What a person does with the current particle, as steps of the session.

    A step that cannot be done says why through ``session.failed``.

    Attributes
    ----------
    order
        In which order "next" walks.
    brush
        The class that a click gives at once; "" if a click only selects.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._session = layers.session
        self.order: Order = "least certain"
        self.brush = ""
        layers.viewer.mouse_drag_callbacks.append(self.on_press)

    def bind(self, layer: Any) -> None:
        """Let the keys work while this layer is active."""
        for key, action in self._actions():
            layer.bind_key(key, _ignoring_layer(action), overwrite=True)

    def bind_panel(self, panel: QWidget) -> None:
        """Let the keys work while a panel has the focus; a line of text keeps its keys."""
        for key, action in self._actions():
            written = key.replace("Control", "Ctrl").replace("-", "+")
            shortcut = QShortcut(QKeySequence(written), panel)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def _actions(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for key, (name, _) in KEYS.items():
            yield key, getattr(self, name)
        for digit in "0123456789":
            yield digit, partial(self.digit, digit)

    def on_press(self, viewer: Any, event: Any) -> Iterator[None]:
        """Tell a click from a drag, which pans."""
        flat, dragged = viewer.dims.ndisplay == 2, False
        yield
        while event.type == "mouse_move":
            dragged = True
            yield
        if flat and event.button == 1 and not event.modifiers and not dragged:
            self.click(event.position)

    def click(self, world: npt.ArrayLike) -> None:
        """Select the particle at a position, Å; with a brush, label it or make one there."""
        session = self._session
        if session.tomogram is None:
            return
        with session.attempt(), self._layers.kept_view():
            found = self._layers.candidate_at(world)
            if found is not None:
                session.select(found)
                if self.brush:
                    session.label([found], self.brush)
            elif self.brush:
                session.add(self._layers.voxel_at(world), self.brush)

    def digit(self, key: str) -> None:
        """Label the current particle with the class of a key."""
        for known in self._session.classes:
            if known.key == key:
                self.give(known.name)

    def give(self, name: str) -> None:
        """Label the current particle; "" takes its label back."""
        self._with_current(lambda current: self._session.label([current], name))

    def unlabel(self) -> None:
        """Take the label of the current particle back."""
        self.give("")

    def next(self) -> None:
        """Go to the next particle."""
        self._session.next(self.order)

    def previous(self) -> None:
        """Go back to the particle before."""
        self._session.previous()

    def add_here(self) -> None:
        """Add a particle at the cursor."""
        with self._session.attempt(), self._layers.kept_view():
            self._session.add(self._cursor(), self.brush)

    def move_here(self) -> None:
        """Move the current particle to the cursor."""
        with self._layers.kept_view():
            self._with_current(lambda current: self._session.move(current, self._cursor()))

    def delete(self) -> None:
        """Delete the current particle."""
        self._with_current(lambda current: self._session.delete([current]))

    def undo(self) -> None:
        """Take the last step back."""
        with self._session.attempt():
            self._session.undo()

    def redo(self) -> None:
        """Do again what was taken back."""
        with self._session.attempt():
            self._session.redo()

    def _with_current(self, step: Callable[[int], None]) -> None:
        if self._session.current is not None:
            with self._session.attempt():
                step(self._session.current)

    def _cursor(self) -> npt.NDArray[np.float64]:
        return self._layers.voxel_at(self._layers.viewer.cursor.position)


def _ignoring_layer(action: Callable[[], None]) -> Callable[[Any], None]:
    def handler(_: Any) -> None:
        action()

    return handler
