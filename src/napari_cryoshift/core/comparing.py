"""Particles compared with the known structures, once, and kept on disk."""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .embeddings import VectorCache, Vectors, fingerprint
from .matching import PER_DETAIL, Band, MatchParams, matched_filter
from .progress import Job, Progress
from .structures import Structure, library
from .types import Particles, Subtomograms, Tomogram
from .volumes import crop

_PORTION = 2048
"""Particles that are compared before it is kept that they were."""

_BOX, _VOXEL_SIZE = 24, 16.0
"""Voxels and Å, of the volumes that are compared."""

_NOISE_PLACES = 256
_BATCH = 64

KNOWN_OPTICS = MatchParams(defocus=-4.0)
"""How particles are compared where nobody says how they were taken.

At this resolution, the contrast transfer is about the same for any usual defocus.
"""


def compare(
    tomogram: Tomogram,
    particles: Particles,
    params: MatchParams = KNOWN_OPTICS,
    cache: Path | None = None,
) -> Job[Vectors]:
    """Compare every particle with the known structures: `matching.matched_filter`, once.

    The noise is measured at random places of the tomogram, always the same, so that a score does
    not depend on which other particles are compared.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        Positions in its voxels.
    params
        How; a resolution finer than 2.5 voxels of the tomogram becomes that.
    cache
        A folder; whole portions of some thousand are kept there even if the job is cancelled.

    Returns
    -------
    ndarray
        (n, k) float32 correlations with `known_structures`, a row a particle.

    Raises
    ------
    ValueError
        If a position lies outside the tomogram.
    """
    structures = known_structures()
    finest = max(params.resolution, PER_DETAIL * tomogram.voxel_size)
    params = params.model_copy(update={"resolution": finest})
    volumes = _boxed(tomogram, particles)
    if not len(particles):
        return np.zeros((0, len(structures)), np.float32)
    cached = VectorCache.of(cache, f"{fingerprint(tomogram)}-{_digest(params, structures)}.fit")
    missing = cached.missing(particles)
    if len(missing):
        noise = yield from _noise(tomogram, params)
        for first in range(0, len(missing), _PORTION):
            rows = missing[first : first + _PORTION]
            job = matched_filter(volumes.take(rows), structures, params, noise=noise)
            cached.add(particles, rows, (yield from _onward(job, first, len(missing))))
            cached.write()
    return cached.of_all(particles)


def known_structures() -> list[Structure]:
    """Structures of the library that fit into the boxes in which particles are compared."""
    known = library()
    width = _BOX * _VOXEL_SIZE
    return [known[key] for key, entry in known.entries.items() if entry.diameter <= width]


def _boxed(tomogram: Tomogram, particles: Particles) -> Subtomograms:
    return crop(tomogram, particles, box=_BOX, voxel_size=_VOXEL_SIZE)


def _noise(tomogram: Tomogram, params: MatchParams) -> Job[Vectors]:
    """Mean power of the tomogram at 0, 1, 2 … cycles a box."""
    generator = np.random.default_rng(0)
    places = generator.uniform(0, np.array(tomogram.shape) - 1, (_NOISE_PLACES, 3))
    volumes = _boxed(tomogram, Particles.at(places))
    band = Band.of(_BOX, _VOXEL_SIZE, params)
    powers = []
    for first in range(0, len(volumes), _BATCH):
        spectra = band.spectra(volumes[first : first + _BATCH])
        powers.append(band.radial_mean(spectra.abs() ** 2))
        yield Progress("measuring the noise", first + len(spectra), len(volumes))
    mean: Vectors = torch.cat(powers).mean(0).numpy()
    return mean


def _onward(job: Job[Vectors], done: int, total: int) -> Job[Vectors]:
    """Count the volumes of one portion among those of all."""
    with contextlib.closing(job):
        while True:
            try:
                progress = next(job)
            except StopIteration as end:
                scores: Vectors = end.value
                return scores
            if progress.phase == "comparing with the structures":
                progress = Progress(progress.phase, done + progress.step, total)
            yield progress


def _digest(params: MatchParams, structures: Sequence[Structure]) -> str:
    """A short name of what particles are compared with, and how."""
    content = hashlib.sha256(params.model_dump_json().encode())
    for structure in structures:
        content.update(f"{structure.id} {structure.voxel_size}".encode())
        content.update(np.ascontiguousarray(structure.density).tobytes())
    return content.hexdigest()[:16]
