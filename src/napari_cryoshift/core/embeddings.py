"""What a model sees in particles, and says of them: computed once and kept on disk."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from .checkpoint import Checkpoint
from .devices import best_device
from .files import replacing
from .methods import Method
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
    return (yield from _computed("emb", _embed, tomogram, particles, checkpoint, cache))


def predict(
    tomogram: Tomogram,
    particles: Particles,
    checkpoint: Checkpoint,
    cache: Path | None = None,
) -> Job[Vectors]:
    """Say of every particle which of the checkpoint's own classes it is; no label is needed.

    Parameters and errors are those of `embed`.

    Returns
    -------
    ndarray
        (n, k) float32 probabilities of ``checkpoint.classes``, a row a particle.
    """
    return (yield from _computed("own", _predict, tomogram, particles, checkpoint, cache))


def _embed(method: Method, volumes: torch.Tensor) -> torch.Tensor:
    return method.embed(volumes)


def _predict(method: Method, volumes: torch.Tensor) -> torch.Tensor:
    return method.predict(volumes)


def _computed(
    kind: str,
    compute: Callable[[Method, torch.Tensor], torch.Tensor],
    tomogram: Tomogram,
    particles: Particles,
    checkpoint: Checkpoint,
    cache: Path | None,
) -> Job[Vectors]:
    """Compute a row a particle that the cache does not hold; ``kind`` ends its file's name."""
    volumes = crop(tomogram, particles, box=checkpoint.box, voxel_size=checkpoint.voxel_size)
    cached = VectorCache.of(cache, f"{fingerprint(tomogram)}-{checkpoint.digest}.{kind}")
    missing = cached.missing(particles)
    method = checkpoint.build().to(best_device())
    steps = -(-len(missing) // _BATCH)
    try:
        for step in range(steps):
            rows = missing[step * _BATCH : (step + 1) * _BATCH]
            cached.add(particles, rows, compute(method, volumes[rows]).cpu().numpy())
            yield Progress("looking at the particles", step + 1, steps)
    finally:
        if len(missing):
            cached.write()
    if not len(particles):
        width = compute(method, torch.zeros(1, *(checkpoint.box,) * 3)).shape[1]
        return np.zeros((0, width), np.float32)
    return cached.of_all(particles)


@dataclass(frozen=True, eq=False)
class VectorCache:
    """Vectors of particles, found again by their position.

    Attributes
    ----------
    file
        Where they are kept, or None.
    known
        Bytes of the position → vector.
    """

    file: Path | None
    known: dict[bytes, Vectors]

    @classmethod
    def of(cls, folder: Path | None, name: str) -> "VectorCache":
        """Open the file of this name in a folder, which is made if it is missing."""
        if folder is None:
            return cls(None, {})
        # Now, not after hours of work, for it may not be possible.
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / name, _read(folder / name))

    def missing(self, particles: Particles) -> npt.NDArray[np.int64]:
        """Rows of which nothing is known."""
        keys = [position.tobytes() for position in particles.positions]
        return np.array([i for i, key in enumerate(keys) if key not in self.known], dtype=np.int64)

    def add(self, particles: Particles, rows: npt.NDArray[np.int64], vectors: Vectors) -> None:
        """Take in the vectors of some rows."""
        keys = (particles.positions[row].tobytes() for row in rows)
        self.known.update(zip(keys, vectors, strict=True))

    def of_all(self, particles: Particles) -> Vectors:
        """Return (n, e) of particles that are all known."""
        return np.stack([self.known[position.tobytes()] for position in particles.positions])

    def write(self) -> None:
        """Keep all in the file."""
        if self.file is not None and self.known:
            _write(self.file, self.known)


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
