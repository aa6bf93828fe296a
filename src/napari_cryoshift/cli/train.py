"""`cryoshift train`: the embedding, trained on particles that are simulated as they are read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from napari_cryoshift import __version__
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods.protonet import ProtoNet, ProtoNetParams
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import TrainingData
from napari_cryoshift.core.workflows import SourceParams, simulate_source, train

from .command import Command, output

SHIPPED_PARAMS = ProtoNetParams(
    ways=32, shots=3, queries=3, tasks=4400, learning_rate=1e-3, weight_decay=1e-4
)
"""How the embedding that comes with the package was trained."""

SHIPPED_SOURCE = SourceParams(
    hold_out=("ribosome", "spliceosome", "RNA polymerase", "20S proteasome", "chaperonin")
)
"""On what: all of the library but these families, so that it can be tested on them."""


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train the embedding anew on simulated particles.

    With no flag but --out this trains the embedding that comes with the package again, in about
    an hour on two cores. Other commands use the file by --checkpoint.
    """

    out: Path
    """File to write, .safetensors."""
    params: Annotated[ProtoNetParams, arg(name="")] = SHIPPED_PARAMS
    source: SourceParams = SHIPPED_SOURCE

    def run(self) -> None:
        """Train, and write the checkpoint with its card."""
        path = output(self.out, ".safetensors")
        source = simulate_source(self.source)
        card = {
            "program": f"napari-cryoshift {__version__}",
            "classes": f"{len(source.classes)} simulated ones",
            "held_out": list(self.source.hold_out),
            "source": self.source.model_dump(mode="json"),
        }
        job = train(ProtoNet.name, self.params, TrainingData(source=source), card)
        self.finish(_with_figures(job)).save(path)
        print(f"embedding of {len(source.classes)} classes in {path}")


def _with_figures(job: Job[Checkpoint]) -> Job[Checkpoint]:
    """Note on the card what the last training tasks came to."""
    figures: dict[str, float] = {}
    while True:
        try:
            progress = next(job)
        except StopIteration as end:
            trained: Checkpoint = end.value
            return dataclasses.replace(trained, card={**trained.card, "figures": figures})
        figures = dict(progress.metrics)
        yield progress
