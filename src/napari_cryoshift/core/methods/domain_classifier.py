"""What methods have in common that adapt a classifier from a source to a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from napari_cryoshift.core.augment import every_half_turn, half_turns
from napari_cryoshift.core.domains import Domains, Draw
from napari_cryoshift.core.networks.partly_shared import PartlyShared
from napari_cryoshift.core.networks.statistics import measuring
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.shots import Shots
from napari_cryoshift.core.training import optimise, seeded
from napari_cryoshift.core.types import Subtomograms, TrainingData

from .alignment import AlignmentParams, Distance, StageParams
from .base import Method, MethodParams

_BATCH = 32


class DomainClassifierParams(MethodParams):
    """Parameters of every `DomainClassifier`."""

    learning: StageParams = Field(
        StageParams(steps=600),
        title="Learning the source",
        description="A classifier learns the labelled source alone.",
    )
    augment: bool = Field(
        True,
        title="Half turns",
        description=(
            "Turn volumes by 180° at random about the axes, which keeps the missing wedge, and "
            "predict by the mean over all four such views."
        ),
    )
    adabn: bool = Field(
        True,
        title="Batch norm of the target",
        description=(
            "Normalise by the statistics of the unlabelled target (AdaBN), not by those of "
            "training."
        ),
    )


class DomainClassifier(Method):
    """A classifier that learns a source and is then adapted to a target.

    Each domain is normalised by statistics of its own in every batch norm. What `predict` judges
    is of the target.
    """

    own_blocks: ClassVar[int] = 0
    """Blocks of the encoder that each domain has for itself."""
    aligning: ClassVar[str] = "aligning the target"
    """Phase of `align`."""

    params: DomainClassifierParams

    def __init__(
        self, params: DomainClassifierParams, box: int, classes: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.params, self.box, self.classes = params, box, classes
        # Before there are classes there is one, so that the network stands on its device.
        self._build(max(1, len(classes)))

    def embed(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) of the target → (n, e) features."""
        return self._features(volumes, "target")

    def embed_source(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) of the source → (n, e) features."""
        starts = range(0, len(volumes), _BATCH)
        return torch.cat([self._features(volumes[i : i + _BATCH], "source") for i in starts])

    def _features(self, volumes: Tensor, domain: Literal["source", "target"]) -> Tensor:
        self.eval()
        given = volumes.to(self._device)
        views = every_half_turn(given) if self.params.augment else given.unsqueeze(0)
        with torch.no_grad():
            features = self.network.encode(views.flatten(0, 1), domain).features
        return features.float().reshape(*views.shape[:2], -1).mean(0)

    def predict(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) of the target → (n, k) probabilities.

        Raises
        ------
        ValueError
            If it was not trained yet.
        """
        if not self.classes:
            needed = " and ".join(sorted(self.needs))
            raise ValueError(f"0 classes are known; fit with {needed} first")
        features = self.embed(volumes)
        with torch.no_grad():
            logits: Tensor = self.network.classifier(features)
        return logits.softmax(1)

    def _build(self, classes: int) -> None:
        """Make the network anew, from the seed."""
        with seeded(self.params.seed, torch.device("cpu")):
            self.network = PartlyShared(self.box, classes, self.own_blocks)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def begin(self, data: TrainingData, shots: Shots | None = None) -> Domains:
        """Check the sets, and make the network for the classes of the source, or of the shots.

        Raises
        ------
        ValueError
            If source or target is missing, or they do not fit.
        """
        device = self._device
        domains = Domains.of(data, seed=self.params.seed, device=device)
        self.classes = domains.source.classes if shots is None else shots.classes
        self._build(len(self.classes))
        self.to(device).eval()
        # All of the source is learnt from: no epoch is chosen by what is held out.
        return dataclasses.replace(domains, learnt=np.arange(len(domains.source)))

    def read(self, volumes: Subtomograms, rows: npt.NDArray[np.int64], seed: int) -> Tensor:
        """Read volumes as they are learnt from: on the device, and turned by the seed."""
        read = volumes[rows]
        if self.params.augment:
            read = half_turns(read, np.random.default_rng(seed))
        return read.to(self._device)

    def learn_source(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Stage 1: learn to classify the source; then let the target begin as the source is."""
        p = self.params.learning
        network = self.network

        def loss(draw: Draw) -> Mapping[str, Tensor]:
            network.train()
            volumes = self.read(domains.source, draw.source, draw.seed)
            logits = network(volumes, "source").float()
            task, accuracy = classified(logits, domains.labels[draw.source])
            return {"loss": task, "source accuracy": accuracy}

        yield from optimise(
            network.parameters(),
            domains.draws(p.batch, stage=1, first=0),
            loss,
            phase="learning the source",
            steps=p.steps,
            learning_rate=p.learning_rate,
            bookmark=bookmark,
        )
        if bookmark.begin():
            network.begin_target()
            yield Progress(self.adapting, 0, 0)

    def align(
        self, domains: Domains, distance: Distance, params: AlignmentParams, bookmark: Bookmark
    ) -> Job[None]:
        """Stage 2.1: make features of the target as those of the source are."""
        network = self.network

        def loss(draw: Draw) -> Mapping[str, Tensor]:
            network.train()
            volumes = self.read(domains.source, draw.source, draw.seed)
            others = self.read(domains.target, draw.target, draw.seed + 1)
            features = network.encode(volumes, "source").features
            logits = network.classifier(features).float()
            task, accuracy = classified(logits, domains.labels[draw.source])
            aligned = network.encode(others, "target").features
            apart = distance(features.float(), aligned.float(), draw.seed)
            return {
                "loss": task + params.weight * apart,
                "task loss": task,
                "distance": apart,
                "source accuracy": accuracy,
            }

        yield from optimise(
            network.parameters(),
            domains.draws(params.batch, stage=2, first=0),
            loss,
            phase=self.aligning,
            steps=params.steps,
            learning_rate=params.learning_rate,
            bookmark=bookmark,
        )

    def measure(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Take the statistics of batch norm from the target (AdaBN), if that is wanted."""
        if not self.params.adabn or not bookmark.begin():
            return
        network = self.network.eval()
        batches = np.array_split(domains.looked_at, -(-len(domains.looked_at) // _BATCH))
        with measuring(network.of("target")):
            for done, rows in enumerate(batches):
                volumes = self.read(domains.target, rows, done)
                with torch.no_grad():
                    network.encode(volumes, "target")
                yield Progress("measuring the target", done + 1, len(batches))


def classified(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy of a batch."""
    accuracy = (logits.argmax(1) == labels).float().mean()
    return nn.functional.cross_entropy(logits, labels), accuracy


_BATCH = 64
