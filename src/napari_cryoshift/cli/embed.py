"""`cryoshift embed`: particles as vectors, for work of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_cryoshift.core.files import replacing
from napari_cryoshift.core.workflows import known_structures

from .command import output
from .particles import EmbeddingCommand, read_inside


@dataclass(frozen=True, kw_only=True)
class Embed(EmbeddingCommand):
    """Compute the embeddings of particles: vectors that lie close for particles that look alike.

    The file holds the arrays id (n), positions (n, 3; z, y, x in voxels) and embeddings (n, e).
    With --compare there are also fits (n, k), the correlations with the structures (k).
    """

    out: Path
    """File to write, .npz."""

    def run(self) -> None:
        """Embed the particles and write the file."""
        path = output(self.out, ".npz")
        tomogram = self.open()
        particles = read_inside(self.picks, tomogram)
        vectors = self.embed(tomogram, particles, self.load())
        arrays: dict[str, Any] = {
            "id": particles.id,
            "positions": particles.positions,
            "embeddings": vectors,
        }
        if self.compare:
            arrays["fits"] = self.compared(tomogram, particles)
            arrays["structures"] = np.array([known.id for known in known_structures()])
        with replacing(path) as scratch:
            np.savez(scratch, **arrays)
        print(f"{len(particles)} particles, {vectors.shape[1]} features each, in {path}")
