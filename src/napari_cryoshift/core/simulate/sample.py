"""The sample tomogram: simulated when it is first asked for, then read from the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import platformdirs

from napari_cryoshift import __version__
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import Particles, Tomogram

from .tomogram import CrowdedParams, simulate_tomogram

_NAME = "sample"
_ROTATION = [f"r{row}{column}" for row in range(3) for column in range(3)]


def sample_tomogram(params: CrowdedParams | None = None) -> Job[tuple[Tomogram, Particles]]:
    """Return the sample tomogram and its ground truth, from the cache if it was made before.

    Parameters
    ----------
    params
        What to simulate, by default `CrowdedParams`; each choice has its own place in the cache.

    Returns
    -------
    Tomogram
        Memory-mapped from ``sample.mrc``.
    Particles
        Every particle, from ``sample.csv`` beside it: zyx voxels, class, orientation.
    """
    params = params or CrowdedParams()
    # Another version of the program may simulate the same parameters otherwise.
    made_of = f"{__version__} {params.model_dump_json()}"
    version = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    folder = cache_folder() / f"{_NAME}-{version}"
    if not folder.is_dir():
        tomogram, truth = yield from simulate_tomogram(params)
        _write(folder, tomogram, truth)
    return _open(folder, params.voxel_size)


def cache_folder() -> Path:
    """Return the folder of what can be made again; CRYOSHIFT_CACHE overrides it."""
    chosen = os.environ.get("CRYOSHIFT_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("napari-cryoshift")


def _write(folder: Path, tomogram: Tomogram, truth: Particles) -> None:
    """Write tomogram and truth into a folder that appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        with mrcfile.new(partial / f"{_NAME}.mrc") as mrc:
            mrc.set_data(tomogram.data)
            mrc.voxel_size = tomogram.voxel_size
        rotations = np.asarray(truth.orientations).reshape(len(truth), 9)
        columns = {
            "id": truth.id,
            **dict(zip("xyz", truth.positions.T[::-1], strict=True)),
            "class": truth.label,
            **dict(zip(_ROTATION, rotations.T, strict=True)),
        }
        pd.DataFrame(columns).to_csv(partial / f"{_NAME}.csv", index=False)
        if not folder.is_dir():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _open(folder: Path, voxel_size: float) -> tuple[Tomogram, Particles]:
    path = folder / f"{_NAME}.mrc"
    table = pd.read_csv(folder / f"{_NAME}.csv")
    truth = Particles.at(
        table[["z", "y", "x"]].to_numpy(),
        id=table["id"].to_numpy(),
        label=table["class"].to_numpy(dtype=object),
        orientations=table[_ROTATION].to_numpy().reshape(-1, 3, 3),
        tomogram=_NAME,
        source="simulated",
    )
    data = mrcfile.mmap(path, mode="r").data
    return Tomogram(data, voxel_size, name=_NAME, dark=True, path=path), truth
