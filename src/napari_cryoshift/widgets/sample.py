"""The sample tomogram, for napari's File › Open Sample."""

from __future__ import annotations

from typing import Any

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.sample import sample_tomogram

from .images import contrast, space
from .layers import CANDIDATES

LayerData = tuple[Any, dict[str, Any], str]


def sample_layers() -> list[LayerData]:
    """Return the sample tomogram and where its particles are, as layer data of napari."""
    tomogram, truth = finish(sample_tomogram())
    spaced = space(tomogram.voxel_size)
    image = {"name": tomogram.name, "contrast_limits": contrast(tomogram.data), **spaced}
    points = {
        "name": f"{CANDIDATES} of {tomogram.name}",
        "features": {"class": truth.label},
        "size": 200.0 / tomogram.voxel_size,
        "face_color": "transparent",
        "visible": False,
        **spaced,
    }
    return [(tomogram.data, image, "image"), (truth.positions, points, "points")]
