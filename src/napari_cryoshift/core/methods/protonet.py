"""Prototypical networks for subtomograms."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.augment import half_turns
from napari_cryoshift.core.distillation import Teacher, teachable
from napari_cryoshift.core.fewshot import FewShotHead, FewShotParams, fit_head
from napari_cryoshift.core.losses import prototypical_loss
from napari_cryoshift.core.networks.protonet3d import few_shot_encoder
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import episodes, optimise, seeded
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
    distillation: float = Field(
        2.0,
        ge=0,
        le=100,
        title="Learn from the matched filter",
        description=(
            "Weight of learning, beside the classes, how well a volume fits those structures of "
            "the library that are among them."
        ),
    )
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
    follows_labels: ClassVar[bool] = True

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
            self.encoder = few_shot_encoder(params.network, box, params.width)
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
            ``source`` with labels, ``support`` with labels, or both; ``start``, if the encoder is
            to go on from other weights than random ones.
        bookmark
            Of the training, to go on from it.

        Raises
        ------
        ValueError
            If there is neither, too little of either, or the weights are of another network.
        """
        if data.start is not None:
            self._start_from(data.start)
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

    def _start_from(self, weights: Mapping[str, Tensor]) -> None:
        try:
            self.encoder.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"the weights to start from are of another network than {self.params.network!r} "
                f"for boxes of {self.box} voxels; choose the same one"
            ) from error

    def _train(self, source: Subtomograms, bookmark: Bookmark | None) -> Job[None]:
        p = self.params
        if source.labels is None:
            raise ValueError(f"{len(source)} source volumes but no labels; give one label a volume")
        device = self.origin.device
        drawn = np.random.default_rng(p.seed)
        tasks = episodes(
            source.labels,
            ways=p.ways,
            shots=p.shots,
            queries=p.queries,
            generator=drawn,
        )
        # Each with a seed of the turns, so that a resumed run draws the same ones.
        batches = ((task, int(drawn.integers(2**63))) for task in tasks)
        bookmark = bookmark or Bookmark()
        trained, teacher = [*self.encoder.parameters()], None
        if p.distillation and (known := teachable(source)):
            with seeded(p.seed, device):
                teacher = Teacher(known, len(source), self.encoder.width).to(device)
            trained += teacher.parameters()
            if bookmark.begin(teacher=teacher):
                yield from teacher.study(source)

        def read(batch: tuple[npt.NDArray[np.int64], int]) -> tuple[Tensor, Tensor]:
            task, seed = batch
            rows = task.reshape(-1)
            turned = half_turns(source[rows], np.random.default_rng(seed))
            return turned.to(device), torch.from_numpy(rows).to(device)

        def loss(batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
            volumes, rows = batch
            embedded = self.encoder(volumes).float()
            grouped = embedded.reshape(p.ways, p.shots + p.queries, -1)
            classes, accuracy = prototypical_loss(grouped[:, : p.shots], grouped[:, p.shots :])
            terms = {"loss": classes, "accuracy": accuracy}
            if teacher is not None:
                fits = teacher.loss(embedded, rows)
                terms |= {"loss": classes + p.distillation * fits, "classes": classes, "fits": fits}
            return terms

        self.train()
        yield from optimise(
            trained,
            batches,
            loss,
            phase="learning the embedding",
            steps=p.tasks,
            learning_rate=p.learning_rate,
            read=read,
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
