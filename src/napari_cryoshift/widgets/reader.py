"""napari reader: tomograms as image layers in Å, read from the disk as they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_cryoshift.core.tomograms import SUFFIXES, open_tomogram, read_header
from napari_cryoshift.core.types import Tomogram

LayerData = tuple[Any, dict[str, Any], str]

_PERCENTILES = (1.0, 99.0)


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return the reader if all paths end like volumes, gzipped or not; else None."""
    names = [name.lower().removesuffix(".gz") for name in _paths(path)]
    return read_tomograms if all(name.endswith(SUFFIXES) for name in names) else None


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
    return [_layer(Path(name)) for name in _paths(path)]


def _layer(path: Path) -> LayerData:
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
