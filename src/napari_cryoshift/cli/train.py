"""`cryoshift train`: the embedding, trained on particles that are simulated as they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from tyro.conf import arg

from napari_cryoshift import __version__
from napari_cryoshift.core.methods.protonet import ProtoNet, ProtoNetParams
from napari_cryoshift.core.types import TrainingData
from napari_cryoshift.core.workflows import SourceParams, simulate_source, train

from .command import TrainingCommand
from .sets import SetFlags

SHIPPED_PARAMS = ProtoNetParams(
    ways=32, shots=3, queries=3, tasks=3000, learning_rate=1e-3, weight_decay=1e-4
)
"""How the embedding that comes with the package was trained."""

SHIPPED_SOURCE = SourceParams(
    hold_out=("ribosome", "spliceosome", "RNA polymerase", "20S proteasome", "chaperonin")
)
"""On what: all of the library but these families, so that it can be tested on them."""


@dataclass(frozen=True, kw_only=True)
class Train(TrainingCommand):
    """Train the embedding anew on simulated particles.

    With no flag but --out this trains the embedding that comes with the package again, in about
    an hour on two cores. Other commands use the file by --checkpoint.
    """

    params: Annotated[ProtoNetParams, arg(name="")] = SHIPPED_PARAMS
    source: SourceParams = SHIPPED_SOURCE
    source_set: SetFlags = field(default_factory=SetFlags)
    """Learn from labelled subtomograms on disk instead of simulated ones."""

    def run(self) -> None:
        """Train, and write the checkpoint with its card."""
        path, kept = self.files()
        source = self.source_set.open()
        card: dict[str, Any] = {"program": f"napari-cryoshift {__version__}"}
        if source is None:
            source = simulate_source(self.source)
            card |= {
                "classes": f"{len(source.classes)} simulated ones",
                "held_out": list(self.source.hold_out),
                "source": self.source.model_dump(mode="json"),
            }
        else:
            card |= {"classes": ", ".join(source.classes), "source": str(self.source_set.path)}
        job = train(ProtoNet.name, self.params, TrainingData(source=source), card, kept)
        self.learn(job).save(path)
        print(f"embedding of {len(source.classes)} classes in {path}")
