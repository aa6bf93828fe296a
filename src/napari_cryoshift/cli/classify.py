"""`cryoshift classify`: a class for every particle from a few labelled ones."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import arg

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.types import OTHER, Particles, Tomogram
from napari_cryoshift.core.workflows import FewShotParams, classify, crop_for, fits

from .command import output
from .particles import EmbeddingCommand, read_inside


@dataclass(frozen=True, kw_only=True)
class Classify(EmbeddingCommand):
    """Classify particles from a few labelled ones.

    The support set needs two classes or more, of which one may be "other": what is no particle of
    interest. The result has the rows of the particle list in their order, with the columns id, x,
    y, z (voxels from 0), class, confidence, score and p_CLASS, the probability of each class. Of a
    list that covers several tomograms, only the rows of this one are taken.
    """

    support: Path
    """Labelled particles: a CSV with the columns x, y, z (voxels from 0) and class."""
    out: Path
    """File to write, .csv."""
    params: Annotated[FewShotParams, arg(name="")] = field(default_factory=FewShotParams)

    def run(self) -> None:
        """Classify the particles, write the list and print how many of each class there are."""
        path = output(self.out, ".csv", inputs=[self.picks, self.support])
        tomogram = self.open()
        particles = read_inside(self.picks, tomogram)
        support = self._read_support(tomogram)
        n = len(particles)
        both = Particles.at(
            np.concatenate([particles.positions, support.positions]),
            label=np.concatenate([np.full(n, "", dtype=object), support.label]),
            score=np.concatenate([particles.score, support.score]),
        )
        checkpoint = self.load()
        vectors = self.embed(tomogram, both, checkpoint)
        more = [fits(self.compared(tomogram, both))] if self.compare else []
        said = classify(vectors, both, self.params, more).take(np.arange(n))
        found = particles.replace(
            predicted=said.predicted,
            confidence=said.confidence,
            probabilities=said.probabilities,
            classes=said.classes,
        )
        write_particles(path, found, "csv")
        print(f"{n} particles in {path}")
        edge = crop_for(tomogram, particles, checkpoint).edge
        if edge is not None and (padded := edge.sum()):
            print(f"{padded} of them have boxes that reach beyond the tomogram and were padded")
        for name, count in collections.Counter(found.predicted).most_common():
            print(f"{count:8}  {name}")

    def _read_support(self, tomogram: Tomogram) -> Particles:
        support = read_inside(self.support, tomogram, as_label=True)
        if (unnamed := np.flatnonzero(support.label == "")).size:
            raise ValueError(
                f"{len(unnamed)} of the {len(support)} rows of {self.support.name} have no class, "
                f"the first is row {unnamed[0] + 1}; fill the column class"
            )
        for name in sorted(set(support.label) - {OTHER}):
            if name.lower() == OTHER:
                raise ValueError(
                    f"{self.support.name} has the class {name!r}, which is not {OTHER!r}; write "
                    f"{OTHER!r} for what is no particle of interest, or choose another name"
                )
        return support
