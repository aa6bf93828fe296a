"""What methods have in common that know a class by the mean of its labelled embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.fewshot import FewShotHead
from napari_cryoshift.core.networks.protonet3d import few_shot_encoder
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.training import episodes, seeded
from napari_cryoshift.core.types import OTHER, Subtomograms

from .base import Method, MethodParams

_READ = 64
"""Volumes that are embedded at once."""


class PrototypeParams(MethodParams):
    """Parameters of every `PrototypeMethod`."""

    network: Literal["strided", "protonet3d"] = Field(
        "strided",
        title="Network",
        description="protonet3d is that of the paper; strided is some 30 times faster on a CPU.",
    )
    width: int = Field(
        128, ge=2, le=4096, title="Embedding", description="Features of the strided network."
    )
    ways: int = Field(5, ge=2, title="Ways", description="Classes a training task.")
    shots: int = Field(5, ge=1, title="Shots", description="Labelled volumes a class and task.")
    queries: int = Field(15, ge=1, title="Queries", description="Volumes to classify, a class.")
    tasks: int = Field(
        2500, ge=1, title="Training tasks", description="Few-shot tasks to learn from."
    )
    learning_rate: float = Field(
        1e-3, gt=0, le=1, title="Learning rate", description="Of AdamW, falling to 0."
    )
    weight_decay: float = Field(0.0, ge=0, le=1, title="Weight decay", description="Of AdamW.")


class PrototypeMethod(Method):
    """An encoder, and the prototypes of the classes that a person labelled.

    It learns from few-shot tasks drawn from known structures; the head that is kept is made of the
    labelled volumes, the support.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"support"})
    follows_labels: ClassVar[bool] = True

    params: PrototypeParams
    origin: Tensor
    prototypes: Tensor
    labelled: Tensor
    scale: Tensor

    def __init__(self, params: PrototypeParams, box: int, classes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.params, self.box, self.classes = params, box, classes
        with seeded(params.seed, torch.device("cpu")):
            self.make_networks()
        width, k = self.encoder.width, len(classes)
        self.register_buffer("origin", torch.zeros(width))
        self.register_buffer("prototypes", torch.zeros(k, width))
        self.register_buffer("labelled", torch.zeros(k, dtype=torch.bool))
        self.register_buffer("scale", torch.ones(2))

    def make_networks(self) -> None:
        """Make all that has random weights, which come from the seed."""
        p = self.params
        self.encoder = few_shot_encoder(p.network, self.box, p.width)

    @abstractmethod
    def make_head(self, vectors: Tensor, labels: Tensor, classes: tuple[str, ...]) -> FewShotHead:
        """Make the head of labelled embeddings (n, e) with classes (n,), `OTHER` being the last."""

    @abstractmethod
    def judge(self, head: FewShotHead, vectors: Tensor) -> Tensor:
        """Embeddings (n, e) → (n, k) probabilities by a head."""

    def embed(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, e)."""
        self.eval()
        with torch.no_grad():
            embedding: Tensor = self.encoder(volumes.to(self.origin.device))
        return embedding.float()

    def predict(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, k) probabilities; the last class is `OTHER`.

        Raises
        ------
        ValueError
            If no support was given yet.
        """
        if not self.classes:
            raise ValueError("0 classes are known; fit with a labelled support set first")
        head = FewShotHead(self.classes, self.origin, self.prototypes, self.labelled, self.scale)
        return self.judge(head, self.embed(volumes))

    def embed_all(self, volumes: Subtomograms, phase: str) -> Job[Tensor]:
        """Embed volumes in batches: (n, e)."""
        parts = []
        starts = range(0, len(volumes), _READ)
        for done, start in enumerate(starts):
            parts.append(self.embed(volumes[start : start + _READ]))
            yield Progress(phase, done + 1, len(starts))
        return torch.cat(parts)

    def take_support(self, support: Subtomograms) -> Job[None]:
        """Make the head of labelled volumes, and keep it.

        Raises
        ------
        ValueError
            If they have no labels, or too few classes.
        """
        known = labels_of(support, "support")
        vectors = yield from self.embed_all(support, "embedding the labelled particles")
        classes = (*(name for name in support.classes if name != OTHER), OTHER)
        order = torch.tensor([classes.index(name) for name in support.classes])
        head = self.make_head(vectors, order[torch.from_numpy(known)].to(vectors.device), classes)
        self.classes = classes
        for name in ("origin", "prototypes", "labelled", "scale"):
            setattr(self, name, getattr(head, name).to(vectors.device))

    def draw_tasks(
        self, labels: npt.NDArray[np.int64], generator: np.random.Generator
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Draw few-shot tasks, (ways, shots + queries) rows of volumes with these labels."""
        p = self.params
        return episodes(labels, ways=p.ways, shots=p.shots, queries=p.queries, generator=generator)


def labels_of(volumes: Subtomograms, name: str) -> npt.NDArray[np.int64]:
    """Return the labels of a set.

    Raises
    ------
    ValueError
        If it has none.
    """
    if volumes.labels is None:
        raise ValueError(f"{len(volumes)} {name} volumes but no labels; give one label a volume")
    return volumes.labels
