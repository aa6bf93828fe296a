"""How a particle looks, in the volume, in the gallery and in the table of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.open_set import guesses
from napari_cryoshift.core.project import ParticleClass
from napari_cryoshift.core.types import OTHER, Particles

GREY = "#e8e8e8"
"""What nobody and no model has spoken about."""

_FILL = 0.45
"""Opacity of what a person labelled: clearly filled, and the particle still shows through."""
_THIN, _THICK = 0.05, 0.13
"""Ring width as a fraction of the diameter, at confidence 0 and 1."""


def colour_of(classes: Iterable[ParticleClass]) -> dict[str, str]:
    """Return name → "#rrggbb" for all classes and for "", what is not known."""
    return {"": GREY} | {known.name: known.color for known in classes}


def title_of(name: str) -> str:
    """Return a class as a person reads it."""
    return "not a particle" if name == OTHER else name


def sureness(particles: Particles, row: int) -> str:
    """Return how sure a prediction is, in a word: "83%", or "?" where it is not sure enough."""
    sure = particles.confidence[row]
    return "" if np.isnan(sure) else f"{sure:.0%}" if particles.predicted[row] else "?"


def prediction(particles: Particles, row: int) -> str:
    """Return what is predicted of a particle, as a person reads it."""
    guess = title_of(str(guesses(particles.take([row]))[0]))
    if not guess:
        return "nothing predicted yet"
    sure = f"{particles.confidence[row]:.0%} sure"
    return f"predicted {guess}, {sure}" if particles.predicted[row] else f"unknown: {guess}, {sure}"


def rgba(colour: str, alpha: float = 1.0) -> tuple[float, float, float, float]:
    """Return "#rrggbb" as four numbers from 0 to 1."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, alpha


@dataclass(frozen=True, eq=False)
class Looks:
    """One row a particle.

    Attributes
    ----------
    face, border
        (n, 4) RGBA from 0 to 1.
    width
        (n,) ring width, fraction of the diameter.
    """

    face: npt.NDArray[np.float32]
    border: npt.NDArray[np.float32]
    width: npt.NDArray[np.float64]


def looks(particles: Particles, colours: Mapping[str, str]) -> Looks:
    """Return how particles look: colour = class, filled = labelled, ring width = confidence."""
    labelled = particles.label != ""
    said = np.where(labelled, particles.label, particles.predicted)
    # One row of the palette a name, then one index a particle: quick for many particles.
    names = ["", *(name for name in colours if name)]
    palette = np.array([rgba(colours.get(name, GREY)) for name in names], dtype=np.float32)
    index = {name: row for row, name in enumerate(names)}
    border = palette[[index.get(name, 0) for name in said]].reshape(-1, 4)
    face = border.copy()
    face[:, 3] = np.where(labelled, _FILL, 0.0)
    sure = np.where(labelled, 0.5, np.nan_to_num(particles.confidence))
    border[(said == OTHER) & ~labelled, 3] = 0.7
    return Looks(face, border, _THIN + (_THICK - _THIN) * sure)
