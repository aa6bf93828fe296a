"""napari reader: tomograms as image layers in Å, particle lists as points or in the panel Open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakMethod, ref

import napari
import numpy as np
from napari.layers import Image

from napari_cryoshift.core.formats import (
    FORMATS,
    ListContext,
    guess_format,
    read_particles,
    same_tomogram,
)
from napari_cryoshift.core.formats.base import spoken_class
from napari_cryoshift.core.tomograms import SUFFIXES, open_tomogram, read_header
from napari_cryoshift.core.types import Particles, Tomogram

from .images import tomogram_from

if TYPE_CHECKING:
    from .open import OpenPanel

LayerData = tuple[Any, ...]

_PERCENTILES = (1.0, 99.0)
_POINT = 10.0
"""Voxels that a point is wide, as lists do not say how large particles are."""

_LIST_SUFFIXES = tuple(sorted({entry.suffix for entry in FORMATS.values()}))

_PANELS: WeakKeyDictionary[Any, WeakMethod[Callable[[Path], None]]] = WeakKeyDictionary()


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return the reader if all paths are particle lists, or end like volumes; else None."""
    paths = _paths(path)
    if all(is_list(Path(name)) for name in paths):
        return read_lists
    names = [name.lower().removesuffix(".gz") for name in paths]
    return read_tomograms if all(name.endswith(SUFFIXES) for name in names) else None


def is_list(path: Path) -> bool:
    """Tell whether a file ends like a particle list and holds one; volumes may end in .em, too."""
    if path.suffix.lower() not in _LIST_SUFFIXES or not path.is_file():
        return False
    try:
        guess_format(path)
    except ValueError:
        return False
    return True


def give_lists_to(panel: OpenPanel) -> None:
    """Let a panel show the lists that are dropped on its viewer, before anything is imported."""
    viewer = panel.layers.viewer
    _PANELS[viewer] = WeakMethod(panel.import_list)
    panel.destroyed.connect(partial(_forget, ref(viewer)))


def _forget(viewer: ref[napari.Viewer], _: Any = None) -> None:
    gone = viewer()
    if gone is not None:
        _PANELS.pop(gone, None)


def read_tomograms(path: str | Sequence[str]) -> list[LayerData]:
    """Open each path as an image layer.

    The layer's ``metadata`` holds the `Tomogram` as ``tomogram`` and ``voxel_size_known``. Where
    the header gives no voxel size, that is False, and the scale is 1 in pixels until a person
    says more.

    Raises
    ------
    FileNotFoundError, ValueError
        As `open_tomogram` does.
    """
    return [_image(Path(name)) for name in _paths(path)]


def read_lists(path: str | Sequence[str]) -> list[LayerData]:
    """Show particle lists in the panel Open, if there is one; else return them as points.

    Points have the class, score and id of the particles as features, and all of them as
    ``metadata["particles"]``. Without a tomogram that was opened before, the scale is 1 in pixels.

    Raises
    ------
    ValueError
        As `read_particles` does, or if the list covers several tomograms and none of them is open.
    """
    viewer = napari.current_viewer()
    take = _PANELS.get(viewer) if viewer is not None else None
    take_list = take() if take is not None else None
    if take_list is not None:
        for name in _paths(path):
            take_list(Path(name))
        return [(None,)]  # as napari has it for a file that makes no layer
    return [_points(Path(name), tomogram_on_show(viewer)) for name in _paths(path)]


def tomogram_on_show(viewer: napari.Viewer | None) -> Tomogram | None:
    """Return the topmost tomogram that was opened by us in a viewer, or None."""
    layers = [] if viewer is None else list(reversed(viewer.layers))
    ours = (
        layer
        for layer in layers
        if isinstance(layer, Image) and isinstance(layer.metadata.get("tomogram"), Tomogram)
    )
    layer = next(ours, None)
    return None if layer is None else tomogram_from(layer)


def _points(path: Path, tomogram: Tomogram | None) -> LayerData:
    context = ListContext() if tomogram is None else ListContext.of(tomogram)
    particles = read_particles(path, context=context)
    names = sorted(set(particles.tomogram))
    if len(names) > 1:
        if not any(same_tomogram(name, context.tomogram) for name in names):
            raise ValueError(
                f"{path.name} covers {len(names)} tomograms ({', '.join(names[:3])}, …); open one "
                "of them first"
            )
        particles = read_particles(path, context=context, only=context.tomogram)
    return particles.positions, points_options(particles, path.stem, context.voxel_size), "points"


def points_options(particles: Particles, name: str, voxel_size: float | None) -> dict[str, Any]:
    """Return the arguments of a points layer that `writer` can write again with all it had."""
    return {
        "name": name,
        "ndim": 3,
        "scale": (voxel_size or 1.0,) * 3,
        "units": ("pixel" if voxel_size is None else "angstrom",) * 3,
        "axis_labels": ("z", "y", "x"),
        "size": _POINT,
        "face_color": "transparent",
        "border_color": "#ffd75f",
        "features": {
            "id": particles.id,
            "class": spoken_class(particles),
            "score": particles.score,
        },
        # What is added by hand is none of those that were read.
        "feature_defaults": {"id": -1, "class": "", "score": np.nan},
        "metadata": {"particles": particles},
    }


def _image(path: Path) -> LayerData:
    known = read_header(path).voxel_size > 0
    tomogram = open_tomogram(path, voxel_size=None if known else 1.0)
    options = {
        "name": tomogram.name,
        "scale": (tomogram.voxel_size,) * 3,
        "units": ("angstrom" if known else "pixel",) * 3,
        "axis_labels": ("z", "y", "x"),
        "contrast_limits": _contrast_limits(tomogram),
        "metadata": {"tomogram": tomogram, "voxel_size_known": known},
    }
    return tomogram.data, options, "image"


def _contrast_limits(tomogram: Tomogram) -> tuple[float, float]:
    """Return percentiles of the central section: napari would read the whole file for limits."""
    section = np.asarray(tomogram.data[tomogram.shape[0] // 2], dtype=np.float32)
    values = section[np.isfinite(section)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    return low, high if high > low else low + 1


def _paths(path: str | Sequence[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)
