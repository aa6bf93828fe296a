"""Small grey pictures of a tomogram: sections through a particle, and how to paint them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from scipy.ndimage import gaussian_filter

from napari_cryoshift.core.types import Tomogram

Section = npt.NDArray[np.float32]


def box_at(tomogram: Tomogram, position: npt.ArrayLike, side: int) -> Section:
    """Return the (side, side, side) box around a zyx position, grey beyond the tomogram."""
    first = np.rint(np.asarray(position)).astype(int) - side // 2
    low, high = np.clip(first, 0, tomogram.shape), np.clip(first + side, 0, tomogram.shape)
    inside = tuple(map(slice, low, high))
    part = np.nan_to_num(np.asarray(tomogram.data[inside], dtype=np.float32))
    box = np.full((side,) * 3, part.mean() if part.size else 0.0, dtype=np.float32)
    box[tuple(map(slice, low - first, high - first))] = part
    return box


def sections(box: Section) -> tuple[Section, Section, Section]:
    """Return the xy, xz and yz sections through the middle of a box.

    They are an eighth of the box thick and a little smoothed, so that a particle shows in noise.
    """
    side = box.shape[0]
    core = slice(side // 2 - max(side // 16, 1), side // 2 + max(side // 16, 1) + 1)
    cuts = box[core].mean(axis=0), box[:, core].mean(axis=1), box[:, :, core].mean(axis=2).T
    xy, xz, yz = (gaussian_filter(cut, side / 40) for cut in cuts)
    return xy, xz, yz


def middle_section(tomogram: Tomogram, side: int = 384) -> Section:
    """Return the middle of the middle section, averaged and smoothed so that particles show."""
    z, y, x = (n // 2 for n in tomogram.shape)
    half, slab = side // 2, 4
    part = tomogram.data[
        max(z - slab, 0) : z + slab + 1, max(y - half, 0) : y + half, max(x - half, 0) : x + half
    ]
    mean = np.nan_to_num(np.asarray(part, dtype=np.float32)).mean(axis=0)
    smooth: Section = gaussian_filter(mean, max(20.0 / max(tomogram.voxel_size, 1.0), 0.5))
    return smooth


def limits(section: npt.NDArray[Any]) -> tuple[float, float]:
    """Return grey limits that leave out the extreme half percent on either side."""
    low, high = np.percentile(section, (0.5, 99.5))
    return float(low), float(high) if high > low else float(low) + 1.0


def pixmap(section: Section, side: int, *, grey: tuple[float, float] | None = None) -> QPixmap:
    """Paint a section into a square of ``side`` pixels; without ``grey`` it fills the range."""
    low, high = limits(section) if grey is None else grey
    levels = np.clip((section - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    height, width = levels.shape
    # The image does not own its buffer, so it is copied while the buffer is alive.
    image = QImage(
        np.ascontiguousarray(levels).data, width, height, width, QImage.Format.Format_Grayscale8
    ).copy()
    return QPixmap.fromImage(image).scaled(
        side,
        side,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )
