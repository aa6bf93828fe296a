"""`cryoshift classify`: a class for every particle from a few labelled ones."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import arg

from napari_cryoshift.core.calibration import kept
from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.open_set import withheld
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.core.workflows import FewShotParams, classify, crop_for, fits, left_out

from .command import output
from .particles import EmbeddingCommand, read_inside, read_labelled


@dataclass(frozen=True, kw_only=True)
class Classify(EmbeddingCommand):
    """Classify particles from a few labelled ones.

    The support set needs two classes or more, of which one may be "other": what is no particle of
    interest. The result has the rows of the particle list in their order, with the columns id, x,
    y, z (voxels from 0), class, confidence, score and p_CLASS, the probability of each class; the
    class of what is unknown is empty. Of a list that covers several tomograms, only the rows of
    this one are taken.
    """

    support: Path
    """Labelled particles: a CSV with the columns x, y, z (voxels from 0) and class."""
    out: Path
    """File to write, .csv."""
    threshold: float = 0.0
    """Leave what is less sure than this, 0 to 1, without a class; what that does is printed."""
    params: Annotated[FewShotParams, arg(name="")] = field(default_factory=FewShotParams)

    def run(self) -> None:
        """Classify the particles, write the list and print how many of each class there are."""
        path = output(self.out, ".csv", inputs=[self.picks, self.support])
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold is {self.threshold:g}; give one from 0 to 1")
        tomogram = self.open()
        particles = read_inside(self.picks, tomogram)
        support = read_labelled(self.support, tomogram)
        n = len(particles)
        both = Particles.at(
            np.concatenate([particles.positions, support.positions]),
            label=np.concatenate([np.full(n, "", dtype=object), support.label]),
            score=np.concatenate([particles.score, support.score]),
        )
        checkpoint = self.load()
        vectors = self.embed(tomogram, both, checkpoint)
        more = [fits(self.compared(tomogram, both))] if self.compare else []
        rule = partial(classify, vectors, params=self.params, more=more)
        said = rule(both).take(np.arange(n))
        every = particles.replace(
            predicted=said.predicted,
            confidence=said.confidence,
            probabilities=said.probabilities,
            classes=said.classes,
        )
        found = withheld(every, self.threshold)
        write_particles(path, found, "csv")
        print(f"{n} particles in {path}")
        edge = crop_for(tomogram, particles, checkpoint).edge
        if edge is not None and (padded := edge.sum()):
            print(f"{padded} of them have boxes that reach beyond the tomogram and were padded")
        for name, count in collections.Counter(found.predicted).most_common():
            print(f"{count:8}  {name or 'unknown'}")
        if self.threshold:
            print_thresholds(every, self.finish(left_out(both, rule)), self.threshold)


def print_thresholds(particles: Particles, held_out: Particles, chosen: float) -> None:
    """Print what thresholds keep of the particles' classes, and how right those should be.

    Parameters
    ----------
    particles
        With predictions of any confidence.
    held_out
        Labelled particles with predictions that their labels had no part in.
    chosen
        A threshold to print besides 0, 0.1, … 0.9.
    """
    named = [table.take(table.predicted != OTHER) for table in (particles, held_out)]
    right = named[1].predicted == named[1].label
    print(f"\nof {len(held_out)} labels left out in turn, {len(named[1])} are predicted as a class")
    print("unknown below   kept   labels kept   right among these")
    for threshold in sorted({*(step / 10 for step in range(10)), chosen}):
        share = (named[0].confidence >= threshold).mean() if len(named[0]) else 0.0
        expected = kept(named[1].confidence, right, threshold)
        low, high = expected.interval
        print(
            f"{threshold:13.2f} {share:6.3f} {expected.share:13.3f}   "
            f"{expected.precision:.3f} ({low:.2f} to {high:.2f})"
        )
