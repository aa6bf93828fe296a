"""Embeddings of particles, computed once and kept on disk."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from .checkpoint import Checkpoint
from .devices import best_device
from .files import replacing
from .progress import Job, Progress
from .types import Particles, Tomogram
from .volumes import crop

_BATCH = 64

Vectors = npt.NDArray[np.float32]


def embed(
    tomogram: Tomogram,
    particles: Particles,
    checkpoint: Checkpoint,
    cache: Path | None = None,
) -> Job[Vectors]:
    """Embed every particle; positions that the cache holds are not computed again.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        Positions in its voxels.
    checkpoint
        The embedding.
    cache
        A folder; what was computed is kept there even if the job is cancelled.

    Returns
    -------
    ndarray
        (n, e) float32, a row a particle.

    Raises
    ------
    ValueError
        If a position lies outside the tomogram.
    """
    volumes = crop(tomogram, particles, box=checkpoint.box, voxel_size=checkpoint.voxel_size)
    file = None if cache is None else cache / f"{fingerprint(tomogram)}-{checkpoint.digest}.emb"
    if file is not None:
        # Now, not after hours of work, for it may not be possible.
        file.parent.mkdir(parents=True, exist_ok=True)
    known = {} if file is None else _read(file)
    keys = [position.tobytes() for position in particles.positions]
    missing = np.array([i for i, key in enumerate(keys) if key not in known], dtype=np.int64)
    method = checkpoint.build().to(best_device())
    steps = -(-len(missing) // _BATCH)
    try:
        for step in range(steps):
            rows = missing[step * _BATCH : (step + 1) * _BATCH]
            vectors = method.embed(volumes[rows]).cpu().numpy()
            known.update(zip((keys[row] for row in rows), vectors, strict=True))
            yield Progress("looking at the particles", step + 1, steps)
    finally:
        if file is not None and known and len(missing):
            _write(file, known)
    if not keys:
        width = method.embed(torch.zeros(1, *(checkpoint.box,) * 3)).shape[1]
        return np.zeros((0, width), np.float32)
    return np.stack([known[key] for key in keys])


def fingerprint(tomogram: Tomogram) -> str:
    """A short name of the grey values and their reading, from some thousand of them."""
    z, y, x = tomogram.shape
    content = hashlib.sha256(f"{tomogram.shape} {tomogram.voxel_size} {tomogram.dark}".encode())
    for plane in np.linspace(0, z - 1, 8).astype(int):
        sample = tomogram.data[plane, :: max(y // 16, 1), :: max(x // 16, 1)]
        content.update(np.ascontiguousarray(sample, dtype=np.float32).tobytes())
    return content.hexdigest()[:16]


def _read(file: Path) -> dict[bytes, Vectors]:
    if not file.exists():
        return {}
    try:
        arrays = safetensors.numpy.load_file(file)
    except safetensors.SafetensorError:
        # A cache is not a person's work: a damaged one is made anew.
        return {}
    return {
        position.tobytes(): vector
        for position, vector in zip(arrays["positions"], arrays["vectors"], strict=True)
    }


def _write(file: Path, known: dict[bytes, Vectors]) -> None:
    positions = np.frombuffer(b"".join(known), dtype=np.float64).reshape(-1, 3)
    content = safetensors.numpy.save(
        {"positions": positions, "vectors": np.stack(list(known.values()))}
    )
    with replacing(file) as scratch:
        scratch.write_bytes(content)
