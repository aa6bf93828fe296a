"""Pictures of a result: particles in a section, a gallery, a map of the embedding, curves.

Each function returns a matplotlib figure that belongs to no window and to no global state; its
``savefig`` writes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from .colours import OTHER_COLOUR, PALETTE
from .types import OTHER, Subtomograms, Tomogram

_SLAB = 60.0
"""Å. Thickness of the section that is averaged, for contrast."""

Names = npt.NDArray[np.object_]
Mask = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


def colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each class, in the order of their names; `OTHER` is grey."""
    named = sorted(set(names) - {OTHER})
    palette = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(named)}
    return {**palette, OTHER: OTHER_COLOUR}


class Curve(NamedTuple):
    """Precision (m,) against recall (m,), and the average precision."""

    recall: FloatArray
    precision: FloatArray
    average: float


def section_picture(
    tomogram: Tomogram,
    positions: FloatArray,
    names: Names,
    colour: Mapping[str, str],
    *,
    diameter: float,
    wrong: Mask | None = None,
) -> Figure:
    """Draw the section that most particles lie in, with a circle around each.

    Parameters
    ----------
    tomogram
        Where the particles are.
    positions
        (n, 3) zyx voxels.
    names
        (n,) class of each; `OTHER` is not drawn.
    colour
        Of each class, from `colours`.
    diameter
        Of the circles, Å. Particles are drawn whose centre is at most a quarter of it away.
    wrong
        (n,) which are dashed, or None.
    """
    dashed = np.zeros(len(names), dtype=bool) if wrong is None else wrong
    planes = np.arange(tomogram.shape[0])
    near = np.abs(positions[:, 0] - planes[:, None]) <= diameter / 4 / tomogram.voxel_size
    near &= names != OTHER
    plane = int(near.sum(1).argmax())
    shown = np.flatnonzero(near[plane])

    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.add_subplot()
    _show_section(axes, tomogram, plane)
    for row in shown:
        circle = Circle(
            (positions[row, 2], positions[row, 1]),
            diameter / 2 / tomogram.voxel_size,
            fill=False,
            edgecolor=colour[names[row]],
            linewidth=2,
            linestyle="dashed" if dashed[row] else "solid",
        )
        axes.add_patch(circle)
    counts = Counter(names[shown])
    handles = [_ring(colour[name], f"{name} ({counts[name]})") for name in sorted(counts)]
    if wrong is not None:
        handles.append(_ring("black", f"wrong ({dashed[shown].sum()})", linestyle="dashed"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def gallery_picture(
    volumes: Subtomograms, names: Names, confidence: FloatArray, *, columns: int = 10
) -> Figure:
    """Draw the surest particles of each class, a row a class.

    Parameters
    ----------
    volumes
        n particles; the mean of the middle sections of each is shown, protein bright.
    names
        (n,) class of each.
    confidence
        (n,) how sure it is.
    columns
        Particles a class.
    """
    classes = [*(name for name in sorted(set(names)) if name != OTHER), OTHER]
    classes = [name for name in classes if name in names]
    figure = Figure(figsize=(2.6 + 0.8 * columns, 0.9 * len(classes) + 0.2), layout="constrained")
    rows = figure.subplots(len(classes), 1, squeeze=False)[:, 0]
    gap = 2
    for axes, name in zip(rows, classes, strict=True):
        members = np.flatnonzero(names == name)
        best = members[np.argsort(-confidence[members], kind="stable")[:columns]]
        middle = volumes.box // 2
        pictures = volumes[best][:, middle - 1 : middle + 2].mean(1).numpy()
        strip = np.full((volumes.box, columns * (volumes.box + gap) - gap), np.nan)
        for place, picture in enumerate(pictures):
            start = place * (volumes.box + gap)
            strip[:, start : start + volumes.box] = picture
        axes.imshow(strip, cmap="gray", vmin=-2, vmax=3.5, interpolation="bilinear")
        _hide_frame(axes)
        axes.set_ylabel(
            f"{_wrapped(name)}\n{len(members)} found",
            rotation=0,
            ha="right",
            va="center",
            fontsize=9,
        )
    _scale_bar(rows[-1], volumes.voxel_size, length=20)
    return figure


def embedding_picture(
    vectors: npt.NDArray[np.float32], names: Names, labelled: Mask, colour: Mapping[str, str]
) -> Figure:
    """Draw the embedding in the plane of its two main axes.

    Parameters
    ----------
    vectors
        (n, e).
    names
        (n,) class of each.
    labelled
        (n,) which a person labelled: they are ringed.
    colour
        Of each class, from `colours`.
    """
    centred = vectors - vectors.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    x, y = directions[:2] @ centred.T
    share = 100 * singular**2 / (singular**2).sum()

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.add_subplot()
    for name in [OTHER, *sorted(set(names) - {OTHER})]:
        rows = names == name
        size = 10 if name == OTHER else 26
        label = f"{name} ({rows.sum()})"
        axes.scatter(x[rows], y[rows], s=size, color=colour[name], linewidths=0, label=label)
    axes.scatter(
        x[labelled],
        y[labelled],
        s=48,
        facecolors="none",
        edgecolors="black",
        label=f"labelled ({labelled.sum()})",
    )
    axes.set_xlabel(f"first axis ({share[0]:.0f} % of the variance)")
    axes.set_ylabel(f"second axis ({share[1]:.0f} %)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def precision_recall_picture(
    curves: Mapping[str, Curve], whole: Curve, colour: Mapping[str, str]
) -> Figure:
    """Draw precision against recall: the best precision at that recall or a higher one.

    Parameters
    ----------
    curves
        Of each class.
    whole
        Of all particles whatever their class; it is black.
    colour
        Of each class, from `colours`.
    """
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.add_subplot()
    all_of_them = {"any class, by picking score": whole, **curves}
    for name, (recall, precision, average) in all_of_them.items():
        best = np.maximum.accumulate(precision[::-1])[::-1]
        axes.plot(
            np.r_[0, recall],
            np.r_[best[:1], best],
            lw=2,
            color=colour[name] if name in curves else "black",
            ls="-" if name in curves else "--",
            label=f"{name}: {average:.2f}",
        )
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(title="average precision", loc="outside right upper", frameon=False)
    return figure


def _show_section(axes: Axes, tomogram: Tomogram, plane: int) -> None:
    half = round(_SLAB / tomogram.voxel_size / 2)
    first, last = max(plane - half, 0), min(plane + half, tomogram.shape[0] - 1)
    grey = np.asarray(tomogram.data[first : last + 1], dtype=np.float32).mean(0)
    low, high = np.percentile(grey, (0.5, 99.5))
    axes.imshow(grey, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    _hide_frame(axes)
    thick = (last + 1 - first) * tomogram.voxel_size / 10
    axes.set_title(f"{tomogram.name}: section at z = {plane}, {thick:.1f} nm thick", loc="left")
    _scale_bar(axes, tomogram.voxel_size, length=50)


def _hide_frame(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _ring(colour: str, label: str, linestyle: str = "solid") -> Line2D:
    return Line2D([], [], color=colour, linewidth=2, linestyle=linestyle, label=label)


def _wrapped(name: str) -> str:
    """Put what stands in brackets on a line of its own."""
    return name.replace(" (", "\n(")


def _scale_bar(axes: Axes, voxel_size: float, *, length: int) -> None:
    """Draw a bar of ``length`` nm below the left end of a picture."""
    bar = AnchoredSizeBar(
        axes.transData,
        10 * length / voxel_size,
        f"{length} nm",
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=axes.transAxes,
        frameon=False,
        borderpad=0.3,
        fill_bar=True,
    )
    axes.add_artist(bar)
