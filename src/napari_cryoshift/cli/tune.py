"""`cryoshift tune`: an embedding, trained on for one tomogram."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from napari_cryoshift.core.fine_tuning import TuneParams, look_at, tune
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.workflows import PickParams, pick

from .command import TomogramCommand, TrainingCommand
from .particles import load_embedding, read_inside


@dataclass(frozen=True, kw_only=True)
class Tune(TomogramCommand, TrainingCommand):
    """Train the embedding on for one tomogram, in some five minutes on two cores.

    Printed is how the tomogram was taken, as far as it shows: its tilt range, defocus, resolution,
    noise, and how much its particles stand out. Known structures are then simulated in the same
    way, in boxes of the tomogram from beside its particles, and learnt to be told apart.
    """

    picks: Path | None = None
    """Particle list, of any format that `cryoshift formats` lists; by default it is picked anew."""
    checkpoint: Path | None = None
    """Embedding to go on from; by default the one that comes with the package."""
    params: Annotated[TuneParams, arg(name="")] = field(default_factory=TuneParams)

    def run(self) -> None:
        """Print what was estimated, tune, and write the checkpoint."""
        path, kept = self.files()
        tomogram = self.open()
        checkpoint = load_embedding(self.checkpoint)
        picks = self._picks(tomogram)
        found = self.finish(look_at(tomogram, picks, checkpoint, self.params))
        for name, value in found.table():
            print(f"{name:24}{value}")
        for doubt in found.doubts:
            print(doubt)
        self.learn(tune(tomogram, found, checkpoint, self.params, kept)).save(path)
        print(f"embedding for {tomogram.name} in {path}")

    def _picks(self, tomogram: Tomogram) -> Particles:
        if self.picks is not None:
            return read_inside(self.picks, tomogram)
        return self.finish(pick(tomogram, PickParams(diameter=self.params.diameter)))
