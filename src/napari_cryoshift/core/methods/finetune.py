"""Fine-tuning: what the source has taught goes on with a few labelled volumes of the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.shots import Rows, Shots
from napari_cryoshift.core.training import optimise
from napari_cryoshift.core.types import TrainingData

from .alignment import StageParams
from .base import MethodParams
from .domain_classifier import DomainClassifier, DomainClassifierParams, classified


class FinetuneParams(DomainClassifierParams):
    """Parameters of `Finetune`."""

    tuning: StageParams = Field(
        StageParams(steps=100, learning_rate=1e-3),
        title="Fine-tuning",
        description="Only the labelled particles are learnt from.",
    )


class Finetune(DomainClassifier):
    """Learn the source, then go on with the labelled volumes of the target alone."""

    name: ClassVar[str] = "finetune"
    title: ClassVar[str] = "Known classes, fine-tuned"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, then goes on with a few labelled "
        "particles of each, labelled by the same names: some minutes on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"source", "target", "support"})
    params_type: ClassVar[type[MethodParams]] = FinetuneParams
    adapting: ClassVar[str] = "fine-tuning"

    params: FinetuneParams

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Learn the source, then the support.

        Parameters
        ----------
        data
            ``source`` and ``support`` with labels, ``target`` without: its volumes give statistics
            for batch norm.
        bookmark
            To go on with a run that was stopped.

        Raises
        ------
        ValueError
            If a set is missing, or they do not fit.
        """
        bookmark = bookmark or Bookmark()
        shots = Shots.of(data.need("support"), data.need("source"))
        domains = self.begin(data, shots)
        yield from self.learn_source(domains, bookmark)
        yield from self.measure(domains, bookmark)
        yield from self.tune(shots, bookmark)

    def tune(self, shots: Shots, bookmark: Bookmark) -> Job[None]:
        """Learn the labelled volumes of the target."""
        p = self.params.tuning
        network = self.network
        device = next(network.parameters()).device
        labels, absent = (torch.from_numpy(x).to(device) for x in (shots.labels, shots.absent))

        def loss(draw: tuple[Rows, int]) -> Mapping[str, Tensor]:
            network.eval()  # a few shots are no sample to normalise by
            rows, seed = draw
            logits = network(self.read(shots.volumes, rows, seed), "target").float()
            # A class is not said to be absent only because nobody has labelled it.
            loss, accuracy = classified(logits.masked_fill(absent, -torch.inf), labels[rows])
            return {"loss": loss, "shots accuracy": accuracy}

        yield from optimise(
            network.parameters(),
            shots.draws(p.batch, seed=(self.params.seed, 3)),
            loss,
            phase=self.adapting,
            steps=p.steps,
            learning_rate=p.learning_rate,
            bookmark=bookmark,
        )
