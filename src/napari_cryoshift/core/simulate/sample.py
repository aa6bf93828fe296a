"""The sample tomogram: simulated when it is first asked for, then read from the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import mrcfile
import platformdirs

from napari_cryoshift import __version__
from napari_cryoshift.core.formats import ListContext, read_particles, write_particles
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.tomograms import save_volume
from napari_cryoshift.core.types import Particles, Tomogram

from .tomogram import CrowdedParams, simulate_tomogram

_NAME = "sample"


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
        simulated = yield from simulate_tomogram(params)
        _write(folder, simulated.tomogram, simulated.particles)
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
        save_volume(partial / f"{_NAME}.mrc", tomogram.data, tomogram.voxel_size)
        write_particles(partial / f"{_NAME}.csv", truth, "csv")
        if not folder.is_dir():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _open(folder: Path, voxel_size: float) -> tuple[Tomogram, Particles]:
    path = folder / f"{_NAME}.mrc"
    truth = read_particles(
        folder / f"{_NAME}.csv", "csv", context=ListContext(tomogram=_NAME), as_label=True
    )
    data = mrcfile.mmap(path, mode="r").data
    return Tomogram(data, voxel_size, name=_NAME, dark=True, path=path), truth
