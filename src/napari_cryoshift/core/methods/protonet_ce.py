"""ProtoNet-CE: distances in an embedding, as it is and adapted to the classes at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from napari_cryoshift.core.fewshot import FewShotHead, FewShotParams, calibrated, fit_head
from napari_cryoshift.core.losses import attention_loss
from napari_cryoshift.core.networks.attention import SelfAttention
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import optimise
from napari_cryoshift.core.types import Subtomograms, TrainingData

from .prototype_method import PrototypeMethod, PrototypeParams, labels_of

_AT_ONCE = 4096
"""Queries that are refined together."""


class ProtoNetCEParams(PrototypeParams):
    """Parameters of `ProtoNetCE`."""

    network: Literal["strided", "protonet3d"] = Field(
        "strided", title="Network", description="That of the embedding it builds on."
    )
    stored: int = Field(
        40,
        ge=2,
        title="Volumes a class",
        description="Of the known structures, whose embeddings are learnt from.",
    )
    attention_weight: float = Field(
        2.0,
        ge=0,
        title="Weight of the attention",
        description="Of its divergence from what it should look at, beside the classification.",
    )
    head: FewShotParams = Field(
        FewShotParams(), title="Few-shot rule", description="How labels turn into predictions."
    )


@dataclass(frozen=True, eq=False)
class CombinedHead:
    """A few-shot head whose distances are the combined ones.

    Attributes
    ----------
    head
        Classes, origin, prototypes and scale.
    attention
        Refines prototypes and query.
    """

    head: FewShotHead
    attention: SelfAttention

    @property
    def surprise(self) -> float:
        """As of a `FewShotHead`."""
        return self.head.surprise

    @property
    def losses(self) -> Tensor:
        """As of a `FewShotHead`."""
        return self.head.losses

    def predict(self, vectors: Tensor) -> Tensor:
        """Probabilities (n, k) of vectors (n, e) in the units that the head was fitted in."""
        head, parts = self.head, []
        for some in torch.split(vectors - head.origin, _AT_ONCE):
            distances = some.new_full((len(some), len(head.classes)), torch.inf)
            with torch.no_grad():
                known, _ = combined_distances(self.attention, some, head.prototypes[head.labelled])
            distances[:, head.labelled] = known
            parts.append(head.judge(distances))
        return torch.cat(parts)


class ProtoNetCE(PrototypeMethod):
    """Prototypical networks with a combined embedding (Li et al. 2020, ProtoNet-CE).

    Beside the distance of a particle to the mean of each class in the embedding, which is the same
    for any classes, there is one after self-attention over these means and the particle, which
    depends on the classes at hand; the two are added. The attention is trained on few-shot tasks
    of known structures, in the embedding as it is.
    """

    name: ClassVar[str] = "protonet_ce"
    title: ClassVar[str] = "Few-shot, adapted to your classes"
    description: ClassVar[str] = (
        "Teaches the embedding to weigh what tells your classes apart, on tasks from known "
        "structures: a few minutes on a processor."
    )
    params_type: ClassVar[type[ProtoNetCEParams]] = ProtoNetCEParams
    builds_on_embedding: ClassVar[bool] = True

    params: ProtoNetCEParams
    ready: Tensor
    spread: Tensor

    def __init__(self, params: ProtoNetCEParams, box: int, classes: tuple[str, ...] = ()) -> None:
        super().__init__(params, box, classes)
        self.log_temperature = nn.Parameter(torch.tensor(-2.0))
        self.register_buffer("ready", torch.tensor(False))
        self.register_buffer("spread", torch.ones(()))

    def make_networks(self) -> None:
        """Make the encoder and the attention."""
        super().make_networks()
        self.attention = SelfAttention(self.encoder.width)

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Train the attention on the source; then take in the support.

        Parameters
        ----------
        data
            ``start``, the trained embedding, and ``source`` with labels; then ``support`` with
            labels. If it was trained before, support is enough.
        bookmark
            Of the training, to go on from it.

        Raises
        ------
        ValueError
            If one of these is missing, or there is too little of it.
        """
        if data.source is not None or not self.ready:
            yield from self._train(data.need("source"), data.start, bookmark)
        if data.source is None or data.support is not None:
            yield from self.take_support(data.need("support"))

    def make_head(self, vectors: Tensor, labels: Tensor, classes: tuple[str, ...]) -> FewShotHead:
        """As `head` does."""
        return self.head(vectors / self.spread, labels, classes, self.params.head).head

    def judge(self, head: FewShotHead, vectors: Tensor) -> Tensor:
        """By combined distances."""
        return CombinedHead(head, self.attention).predict(vectors / self.spread)

    def head(
        self,
        vectors: Tensor,
        labels: Tensor,
        classes: tuple[str, ...],
        params: FewShotParams,
        origin: Tensor | None = None,
    ) -> CombinedHead:
        """Make a head from labelled embeddings, as `fewshot.fit_head` does, in milliseconds.

        Parameters
        ----------
        vectors
            (n, e) of the labelled particles in units of the spread of all; columns beyond those of
            the embedding, such as the picking score, count in the plain distance.
        labels, classes, params, origin
            As in `fit_head`.

        Raises
        ------
        ValueError
            As `fit_head` does.
        """
        plain = fit_head(vectors, labels, classes, params, origin)
        centred, known = vectors - plain.origin, plain.labelled
        counts = torch.bincount(labels, minlength=len(classes)) + params.shrinkage
        # Each particle is left out of its own class; a lone one is measured from the origin.
        own = plain.prototypes[labels] * counts[labels, None] - centred
        without = plain.prototypes.expand(len(labels), -1, -1).clone()
        each = torch.arange(len(labels), device=labels.device)
        without[each, labels] = own / (counts[labels, None] - 1).clamp(min=1e-6)
        distances = centred.new_full((len(labels), len(classes)), torch.inf)
        with torch.no_grad():
            distances[:, known], _ = combined_distances(self.attention, centred, without[:, known])
        head = calibrated(
            distances,
            labels,
            classes,
            params,
            origin=plain.origin,
            prototypes=plain.prototypes,
        )
        return CombinedHead(head, self.attention)

    def _train(
        self, source: Subtomograms, start: Mapping[str, Tensor] | None, bookmark: Bookmark | None
    ) -> Job[None]:
        p, device = self.params, self.origin.device
        known = labels_of(source, "source")
        self._build_on(start)
        generator = np.random.default_rng(p.seed)
        rows = np.sort(_some_of_each(known, p.stored, generator))
        vectors = yield from self.embed_all(source.take(rows), "looking at known structures")
        vectors -= vectors.mean(0)
        self.spread.copy_(vectors.square().sum(1).mean().sqrt())
        vectors = vectors / self.spread
        labels = torch.arange(p.ways, device=device).repeat_interleave(p.queries)

        def loss(task: npt.NDArray[np.int64]) -> Mapping[str, Tensor]:
            drawn = vectors[task]
            distances, attention = combined_distances(
                self.attention, drawn[:, p.shots :].flatten(0, 1), drawn[:, : p.shots].mean(1)
            )
            logits = -distances / self.log_temperature.exp()
            wrong = nn.functional.cross_entropy(logits, labels)
            astray = attention_loss(attention, labels)
            return {
                "loss": wrong + p.attention_weight * astray,
                "attention loss": astray,
                "accuracy": (logits.argmax(1) == labels).float().mean(),
            }

        yield from optimise(
            [*self.attention.parameters(), self.log_temperature],
            self.draw_tasks(known[rows], generator),
            loss,
            phase="learning what tells classes apart",
            steps=p.tasks,
            learning_rate=p.learning_rate,
            weight_decay=p.weight_decay,
            bookmark=bookmark,
        )
        self.ready.fill_(True)

    def _build_on(self, start: Mapping[str, Tensor] | None) -> None:
        if start is None:
            raise ValueError("there is no embedding to build on; give one that was trained")
        try:
            self.encoder.load_state_dict(start)
        except RuntimeError as error:
            raise ValueError(
                f"the embedding is of another network than {self.params.network!r} with "
                f"{self.encoder.width} features for boxes of {self.box} voxels; say which"
            ) from error


def combined_distances(
    attention: SelfAttention, queries: Tensor, prototypes: Tensor
) -> tuple[Tensor, Tensor]:
    """Add squared distances before and after self-attention (Li et al. 2020).

    Parameters
    ----------
    attention
        For vectors of e features.
    queries
        (n, f) with f ≥ e features, centred, in units of the spread of all vectors; what comes
        after the first e counts in the plain distance alone.
    prototypes
        (k, f), or (n, k, f) where each query has others.

    Returns
    -------
    distances
        (n, k).
    attention
        (n, k + 1, k + 1) logarithms, as `SelfAttention` gives them.
    """
    e = attention.width
    plain = (queries.unsqueeze(1) - prototypes).square().sum(-1)
    # In units in which a feature varies by 1, as layer norm makes them again.
    refined, looks = attention(prototypes[..., :e] * e**0.5, queries[:, :e] * e**0.5)
    refined = refined.float()
    return plain + (refined[:, :-1] - refined[:, -1:]).square().sum(-1) / e, looks


def _some_of_each(
    labels: npt.NDArray[np.int64], count: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Rows of at most so many volumes of each class."""
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_class[rank < count]
