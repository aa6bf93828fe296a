"""Prototypical networks for subtomograms."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.fewshot import FewShotHead, FewShotParams, fit_head
from napari_cryoshift.core.losses import prototypical_loss
from napari_cryoshift.core.networks.protonet3d import ProtoNet3D, StridedEncoder
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import episodes, optimise
from napari_cryoshift.core.types import OTHER, Subtomograms, TrainingData

from .base import Method, MethodParams


class ProtoNetParams(MethodParams):
    """Parameters of `ProtoNet`."""

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
    head: FewShotParams = Field(
        FewShotParams(), title="Few-shot rule", description="How labels turn into predictions."
    )


class ProtoNet(Method):
    """Learn an embedding in which the nearest class mean is the right class.

    Snell et al. 2017, in three dimensions as in Li et al. 2020 (ProtoNet3D): the encoder is
    trained on few-shot tasks drawn from known structures, and then serves classes that it has
    never seen, of which a few volumes are labelled.
    """

    name: ClassVar[str] = "protonet"
    title: ClassVar[str] = "Few-shot"
    description: ClassVar[str] = (
        "Predicts from your clicks at once, without training; train for an embedding of your own, "
        "from known structures that you choose: 10 minutes or more on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"support"})
    params_type: ClassVar[type[MethodParams]] = ProtoNetParams

    params: ProtoNetParams
    origin: Tensor
    prototypes: Tensor
    labelled: Tensor
    scale: Tensor

    def __init__(self, params: ProtoNetParams, box: int, classes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.params = params
        self.box = box
        self.classes = classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            self.encoder = (
                ProtoNet3D(box)
                if params.network == "protonet3d"
                else StridedEncoder(box, params.width)
            )
        width, k = self.encoder.width, len(classes)
        self.register_buffer("origin", torch.zeros(width))
        self.register_buffer("prototypes", torch.zeros(k, width))
        self.register_buffer("labelled", torch.zeros(k, dtype=torch.bool))
        self.register_buffer("scale", torch.ones(2))

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Train the encoder on the source, if there is one; then take in the support.

        Parameters
        ----------
        data
            ``source`` with labels, ``support`` with labels, or both.
        bookmark
            Of the training, to go on from it.

        Raises
        ------
        ValueError
            If there is neither, or too little of either.
        """
        if data.source is not None:
            yield from self._train(data.source, bookmark)
        if data.source is None or data.support is not None:
            yield from self._take_support(data.need("support"))

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
        return head.predict(self.embed(volumes))

    def _train(self, source: Subtomograms, bookmark: Bookmark | None) -> Job[None]:
        p = self.params
        if source.labels is None:
            raise ValueError(f"{len(source)} source volumes but no labels; give one label a volume")
        tasks = episodes(
            source.labels,
            ways=p.ways,
            shots=p.shots,
            queries=p.queries,
            generator=np.random.default_rng(p.seed),
        )

        def loss(task: npt.NDArray[np.int64]) -> Mapping[str, Tensor]:
            volumes = source[task.reshape(-1)].to(self.origin.device)
            embedded = self.encoder(volumes).float().reshape(p.ways, p.shots + p.queries, -1)
            value, accuracy = prototypical_loss(embedded[:, : p.shots], embedded[:, p.shots :])
            return {"loss": value, "accuracy": accuracy}

        self.train()
        yield from optimise(
            self.encoder.parameters(),
            tasks,
            loss,
            phase="learning the embedding",
            steps=p.tasks,
            learning_rate=p.learning_rate,
            weight_decay=p.weight_decay,
            bookmark=bookmark,
        )
        self.eval()

    def _take_support(self, support: Subtomograms) -> Job[None]:
        if support.labels is None:
            raise ValueError(
                f"{len(support)} support volumes but no labels; give one label a volume"
            )
        embedded = []
        starts = range(0, len(support), _BATCH)
        for done, start in enumerate(starts):
            embedded.append(self.embed(support[start : start + _BATCH]))
            yield Progress("embedding the labelled particles", done + 1, len(starts))
        named = tuple(name for name in support.classes if name != OTHER)
        classes = (*named, OTHER)
        order = torch.tensor([classes.index(name) for name in support.classes])
        head = fit_head(
            torch.cat(embedded).cpu(),
            order[torch.from_numpy(support.labels)],
            classes,
            self.params.head,
        )
        self.classes = classes
        device = self.origin.device
        self.origin = head.origin.to(device)
        self.prototypes = head.prototypes.to(device)
        self.labelled = head.labelled.to(device)
        self.scale = head.scale.to(device)


_BATCH = 64
