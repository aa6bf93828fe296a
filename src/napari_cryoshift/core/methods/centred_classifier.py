"""What methods have in common that gather the features of each class around a centre."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from pydantic import Field, model_validator
from torch import Tensor

from napari_cryoshift.core.domains import Domains, Draw
from napari_cryoshift.core.losses import (
    coral_loss,
    inter_class_loss,
    intra_class_loss,
    moved_centres,
)
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import optimise

from .domain_classifier import DomainClassifierParams, classified
from .unlabelled_classifier import UnlabelledClassifier

_ALIGNING = (
    "Of the distance between the covariances of simulated and picked particles (Deep CORAL, λ2); "
    "0 for none."
)


class CentredParams(DomainClassifierParams):
    """Parameters of every `CentredClassifier`."""

    weight: float = Field(
        0.1,
        ge=0,
        title="Weight of the distances",
        description="Of what gathers and parts classes, beside the classification loss (λ1).",
    )
    centre_rate: float = Field(
        0.5,
        gt=0,
        le=1,
        title="Rate of the centres",
        description="How far the centre of a class follows each batch (γ).",
    )
    aligning: float = Field(0.0, ge=0, title="Weight of aligning", description=_ALIGNING)


class MarginParams(CentredParams):
    """Parameters of methods with margins.

    Distances are root mean squares over the features, so that margins do not depend on the box.
    """

    inner: float = Field(
        0.0,
        ge=0,
        title="Inner margin",
        description="Features within this distance of their centre are left alone (m1).",
    )
    outer: float = Field(
        3.0,
        gt=0,
        title="Outer margin",
        description="Classes further apart than this are left alone (m2); above the inner margin.",
    )
    aligning: float = Field(1.0, ge=0, title="Weight of aligning", description=_ALIGNING)

    @model_validator(mode="after")
    def _outer_is_the_larger(self) -> MarginParams:
        if self.outer <= self.inner:
            raise ValueError(
                f"the outer margin is {self.outer:g} and the inner {self.inner:g}; "
                "make the outer one larger, or classes could not be apart"
            )
        return self


class CentredClassifier(UnlabelledClassifier):
    """Learn the source by cross-entropy and by distances to centres, all at once.

    One network for both domains; each is normalised by statistics of its own.
    """

    params: CentredParams
    centres: Tensor

    @abstractmethod
    def distances(self, features: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Losses by name, of a batch of the source.

        Parameters
        ----------
        features
            (n, e), scaled so that a squared distance is a mean over features.
        labels
            (n,) indices into `classes`.
        """

    def learn(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Make the weighted sum of all losses small (MLUDA, eq. 9)."""
        network, p = self.network, self.params

        def loss(draw: Draw) -> Mapping[str, Tensor]:
            network.train()
            labels = domains.labels[draw.source]
            volumes = self.read(domains.source, draw.source, draw.seed)
            features = network.encode(volumes, "source").features
            task, accuracy = classified(network.classifier(features).float(), labels)
            scaled = features.float() / network.width**0.5
            parts = dict(self.distances(scaled, labels))
            total = task + p.weight * torch.stack(list(parts.values())).sum()
            self.centres.copy_(moved_centres(self.centres, scaled, labels, p.centre_rate))
            if p.aligning:
                others = self.read(domains.target, draw.target, draw.seed + 1)
                aligned = network.encode(others, "target").features
                parts["distance"] = coral_loss(features, aligned)
                total = total + p.aligning * parts["distance"]
            return {"loss": total, "task loss": task, **parts, "source accuracy": accuracy}

        yield from optimise(
            network.parameters(),
            domains.draws(p.learning.batch, stage=1, first=0),
            loss,
            phase="learning",
            steps=p.learning.steps,
            learning_rate=p.learning.learning_rate,
            bookmark=bookmark,
        )
        if not p.aligning and bookmark.begin():
            network.begin_target()  # of which nothing was seen

    def gathered(self, features: Tensor, labels: Tensor, params: MarginParams) -> dict[str, Tensor]:
        """Both terms of the margin-based discriminative loss (MLUDA, eq. 2)."""
        return {
            "intra-class loss": intra_class_loss(features, labels, self.centres, params.inner),
            "inter-class loss": inter_class_loss(features, labels, len(self.classes), params.outer),
        }

    def _build(self, classes: int) -> None:
        super()._build(classes)
        self.register_buffer("centres", torch.zeros(classes, self.network.width))
