"""Pictures of what a model makes of simulated and picked particles, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from .domain_views import Examples, FeatureMaps

_SIMULATED, _PICKED = "#56b4e9", "#e69f00"


def examples_picture(shown: Examples) -> Figure:
    """Draw a row a class: the middle sections of simulated, warped and picked volumes.

    Parameters
    ----------
    shown
        From `domain_views.examples`.
    """
    k, columns = len(shown.classes), len(shown.columns)
    figure = Figure(figsize=(1.6 * columns + 1.6, 1.55 * k + 0.4), layout="constrained")
    grid = figure.subplots(k, columns, squeeze=False)
    for column, (title, volumes) in enumerate(shown.columns.items()):
        grid[0, column].set_title(title, fontsize=10)
        middle = volumes.shape[1] // 2
        for row, section in enumerate(volumes[:, middle - 1 : middle + 2].mean(1).numpy()):
            low, high = np.percentile(section, (0.5, 99.5))
            axes = grid[row, column]
            axes.imshow(section, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    for row, name in enumerate(shown.classes):
        text = name.replace(" (", "\n(")
        grid[row, 0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def maps_picture(
    maps: FeatureMaps, said: npt.NDArray[np.object_], colour: Mapping[str, str]
) -> Figure:
    """Draw each map twice: coloured by where a particle is from, and by its class.

    Parameters
    ----------
    maps
        From `domain_views.feature_maps`.
    said
        (t,) class of each picked particle of the map.
    colour
        Of each class.
    """
    figure = Figure(figsize=(4.4 * len(maps.points) + 2.4, 8), layout="constrained")
    grid = figure.subplots(2, len(maps.points), squeeze=False)
    simulated = len(maps.names)
    names = np.concatenate([maps.names, said])
    for column, (title, points) in enumerate(maps.points.items()):
        above, below = grid[:, column]
        above.set_title(f"{title}: mixing {maps.mixing[title]:.2f}")
        for rows, origin, shade in (
            (slice(simulated), "simulated", _SIMULATED),
            (slice(simulated, None), "picked", _PICKED),
        ):
            above.scatter(*points[rows].T, s=9, color=shade, linewidths=0, label=origin)
        is_picked = np.arange(len(names)) >= simulated
        for name in sorted(set(names)):
            ours = names == name
            shade = colour.get(name, "#999999")
            below.scatter(*points[ours & is_picked].T, s=9, color=shade, linewidths=0, label=name)
            below.scatter(*points[ours & ~is_picked].T, s=9, facecolors="none", edgecolors=shade)
        for axes in (above, below):
            axes.set(xticks=[], yticks=[], aspect="equal")
            axes.spines[:].set_visible(False)
    for axes, title in zip(grid[:, -1], ("from", "class (○ simulated)"), strict=True):
        axes.legend(title=title, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure
