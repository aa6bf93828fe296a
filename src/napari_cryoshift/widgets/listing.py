"""A particle list before it is imported: what it holds, and where that lies in the tomograms."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_cryoshift.core.formats import FORMATS, ListContext, outside, same_tomogram
from napari_cryoshift.core.formats.base import Shape, spoken_class
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import Particles

from .list_fields import TO_READ

ROWS = 4
"""How many of the first particles are shown."""

_MOST = 0.5
"""Share of the particles that must lie inside, else something is wrong."""
_FEW = 0.1


@dataclass(frozen=True, eq=False)
class Listing:
    """A list that was read for the tomograms of a project.

    Attributes
    ----------
    path
        The file.
    format
        Its name in FORMATS.
    counts
        How many particles each tomogram has, by the name that the list gives it.
    pairs
        Tomogram of the project → its name in the list, "" where it is not in there.
    first
        The first particles of the first tomogram that is in the list.
    inside
        What lies inside each tomogram of the project, in voxels of that.
    classes
        Those of what is inside.
    verdict, wrong
        How many lie inside, in words, and whether something must be wrong.
    """

    path: Path
    format: str
    counts: Mapping[str, int]
    pairs: Mapping[str, str]
    first: Particles
    inside: Mapping[str, Particles]
    classes: tuple[str, ...]
    verdict: str
    wrong: bool


def read_listing(
    path: Path,
    format: str,  # noqa: A002
    contexts: Mapping[str, ListContext],
    pairs: Mapping[str, str] | None = None,
) -> Job[Listing]:
    """Read a list for some tomograms, wherever its particles lie.

    Parameters
    ----------
    path
        The file.
    format
        A name in FORMATS.
    contexts
        What is known of each tomogram of the project; the first is the one that is open, which is
        also that of rows that name none.
    pairs
        As in `Listing`; None to guess them.

    Raises
    ------
    ValueError
        If the list is empty or malformed, or lacks something that a context does not give either.
    """
    reader = FORMATS[format].reader
    opened = next(iter(contexts))
    tables: dict[tuple[float | None, Shape | None], Particles] = {}

    def in_voxels_of(name: str) -> Particles:
        context = contexts[name]
        space = (context.voxel_size, context.shape)
        if space not in tables:
            table = reader(path, context)
            names = np.where(table.tomogram == "", opened, table.tomogram)
            tables[space] = table.replace(tomogram=names.astype(object))
        return tables[space]

    yield Progress(f"reading {path.name}", 0, 0)
    table = in_voxels_of(opened)
    if not len(table):
        raise ValueError(f"{path.name} lists 0 particles; choose another file")
    counts = {str(k): int(n) for k, n in pd.Series(table.tomogram).value_counts().items()}
    if pairs is None:
        pairs = guess_pairs(counts, contexts)
    found: dict[str, Particles] = {}
    for name, named in pairs.items():
        if named in counts:
            yield Progress(f"reading {path.name}", 0, 0)
            table = in_voxels_of(name)
            found[name] = table.take(table.tomogram == named)
    inside = {
        name: rows.take(~outside(rows.positions, _shape(contexts[name])))
        for name, rows in found.items()
    }
    classes = {str(name) for rows in inside.values() for name in set(spoken_class(rows))}
    if found:
        verdict, wrong = _verdict(found, inside, contexts, TO_READ[format])
    else:
        more = " and others" if len(counts) > 3 else ""
        verdict, wrong = (
            f"No tomogram of the list is called {opened}; it has {', '.join(list(counts)[:3])}"
            f"{more}. Choose above which of them it is.",
            True,
        )
    return Listing(
        path=path,
        format=format,
        counts=counts,
        pairs=pairs,
        first=_first(found),
        inside=inside,
        classes=tuple(sorted(classes - {""})),
        verdict=verdict,
        wrong=wrong,
    )


def import_listing(
    listing: Listing, project: Project, opened: str, *, label: str | None
) -> Job[Particles]:
    """Add what lies inside the tomograms to a project, in one step of undo.

    Parameters
    ----------
    listing
        The list.
    project
        Where to.
    opened
        The tomogram that is open.
    label
        Of all particles, "" for none; None to take the classes of the list.

    Returns
    -------
    Particles
        The table of the tomogram that is open.
    """
    yield Progress("importing", 0, 1)
    project.import_lists(
        {
            name: rows.replace(
                label=spoken_class(rows)
                if label is None
                else np.full(len(rows), label, dtype=object)
            )
            for name, rows in listing.inside.items()
            if len(rows)
        }
    )
    return project.particles(opened)


def guess_pairs(listed: Collection[str], tomograms: Collection[str]) -> dict[str, str]:
    """Return which name of a list means each tomogram; "" where none does.

    The same name does, one that differs in ``rec_``, suffixes and the like, and in a list that
    numbers its tomograms the digits that a name ends with.
    """
    numbered = all(name.isdecimal() for name in listed)
    pairs = {}
    for tomogram in tomograms:
        digits = re.search(r"(\d+)\D*$", tomogram)
        same = [name for name in listed if same_tomogram(name, tomogram)]
        if numbered and digits:
            same += [name for name in listed if int(name) == int(digits[1])]
        pairs[tomogram] = tomogram if tomogram in listed else next(iter(same), "")
    return pairs


def _verdict(
    found: Mapping[str, Particles],
    inside: Mapping[str, Particles],
    contexts: Mapping[str, ListContext],
    asked: tuple[str, ...],
) -> tuple[str, bool]:
    """Say how many particles lie inside their tomograms, and whether that is wrong."""
    total, within = (sum(len(rows) for rows in parts.values()) for parts in (found, inside))
    where = "their tomograms" if len(found) > 1 else _the_tomogram(contexts[next(iter(found))])
    worst = min(found, key=lambda name: len(inside[name]) / len(found[name]))
    if len(inside[worst]) < _MOST * len(found[worst]):
        cause = likely_cause(found[worst].positions, contexts[worst], asked)
        return f"Only {within:,} of {total:,} particles lie inside {where}. {cause}", True
    if within < total:
        return (
            f"{within:,} of {total:,} particles lie inside {where}; the others are left out.",
            False,
        )
    return f"All {total:,} particles lie inside {where}.", False


def _first(found: Mapping[str, Particles]) -> Particles:
    rows = next(iter(found.values()), Particles.at(np.empty((0, 3))))
    return rows.take(np.arange(min(ROWS, len(rows))))


def likely_cause(
    positions: npt.NDArray[np.float64], context: ListContext, asked: tuple[str, ...]
) -> str:
    """Say why most particles may lie outside a tomogram, and what to do about it.

    Parameters
    ----------
    positions
        (n, 3) zyx voxels.
    context
        Of the tomogram; its shape is known.
    asked
        The fields that the format has.
    """
    shape = np.array(context.shape)
    if outside(positions[:, [1, 0, 2]], _shape(context)).mean() < _FEW:
        return (
            "With y and z exchanged they lie inside: the list may be for the tomogram before it "
            "was rotated."
        )
    low, high = np.percentile(positions, (2, 98), axis=0)
    if (low < -0.5).any() and "voxel_size" in asked:
        times = float(((high - low) / shape).max())
        if times > 1.2 and context.voxel_size:
            return (
                f"They spread over {times:.1f} times its size: the voxel size may be wrong, "
                f"{times * context.voxel_size:.3g} Å or more would fit."
            )
    if (low < -0.5).any():
        return "Many are negative, as in lists that count from the centre: try another format."
    times = float((high / shape).max())
    if "binning" in asked:
        binning = math.ceil(context.binning * times)
        return f"They reach to {times:.1f} times its size: a binning of {binning} would fit."
    if "list_voxel_size" in asked and context.voxel_size:
        fits = (context.list_voxel_size or context.voxel_size) / times
        return (
            f"They reach to {times:.1f} times its size, as if the list counted in voxels of "
            f"{fits:.3g} Å or less."
        )
    return "Check the voxel size, and that the list belongs to this tomogram."


def _shape(context: ListContext) -> Shape:
    """Return the shape of a tomogram of the project, which is always known."""
    return context.shape or (0, 0, 0)


def _the_tomogram(context: ListContext) -> str:
    z, y, x = _shape(context)
    return f"the tomogram of {x} × {y} × {z} voxels"
