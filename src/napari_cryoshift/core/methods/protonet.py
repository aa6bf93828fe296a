"""Prototypical networks for subtomograms."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.augment import half_turns
from napari_cryoshift.core.distillation import Teacher, teachable
from napari_cryoshift.core.fewshot import FewShotHead, FewShotParams, fit_head
from napari_cryoshift.core.losses import prototypical_loss
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import optimise, seeded
from napari_cryoshift.core.types import Subtomograms, TrainingData

from .prototype_method import PrototypeMethod, PrototypeParams, labels_of


class ProtoNetParams(PrototypeParams):
    """Parameters of `ProtoNet`."""

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


class ProtoNet(PrototypeMethod):
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
    params_type: ClassVar[type[ProtoNetParams]] = ProtoNetParams

    params: ProtoNetParams

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
            yield from self.take_support(data.need("support"))

    def make_head(self, vectors: Tensor, labels: Tensor, classes: tuple[str, ...]) -> FewShotHead:
        """As `fit_head` does."""
        return fit_head(vectors.cpu(), labels.cpu(), classes, self.params.head)

    def judge(self, head: FewShotHead, vectors: Tensor) -> Tensor:
        """As the head does."""
        return head.predict(vectors)

    def _start_from(self, weights: Mapping[str, Tensor]) -> None:
        try:
            self.encoder.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"the weights to start from are of another network than {self.params.network!r} "
                f"for boxes of {self.box} voxels; choose the same one"
            ) from error

    def _train(self, source: Subtomograms, bookmark: Bookmark | None) -> Job[None]:
        p, device = self.params, self.origin.device
        drawn = np.random.default_rng(p.seed)
        tasks = self.draw_tasks(labels_of(source, "source"), drawn)
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
