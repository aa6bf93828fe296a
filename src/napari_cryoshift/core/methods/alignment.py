"""How the stages of a training are set, and by what the features of two domains are aligned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_cryoshift.core.losses import coral_loss, sliced_wasserstein
from napari_cryoshift.core.params import Params

Distance = Callable[[Tensor, Tensor, int], Tensor]
"""(n, e) features of the source, (n, e) of the target and a seed → how far they are apart."""


class StageParams(Params):
    """One stage of a training."""

    steps: int = Field(300, ge=1, title="Steps", description="Batches to learn from.")
    batch: int = Field(32, ge=2, title="Batch", description="Volumes, or pairs, a step.")
    learning_rate: float = Field(
        1e-3, gt=0, le=1, title="Learning rate", description="Of Adam, falling to 0."
    )


class AlignmentParams(StageParams):
    """The stage in which features of both domains are made alike."""

    weight: float = Field(
        500.0, ge=0, title="Weight", description="Of the distance beside the classification loss."
    )


class ProjectionParams(AlignmentParams):
    """Alignment by projections."""

    weight: float = Field(
        1.0, ge=0, title="Weight", description="Of the distance beside the classification loss."
    )
    projections: int = Field(
        128, ge=1, title="Projections", description="Random directions, drawn anew in each step."
    )

    def distance(self, source: Tensor, target: Tensor, seed: int) -> Tensor:
        """Sliced Wasserstein distance of features along directions of this seed."""
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(source.shape[1], self.projections, generator=generator)
        directions = nn.functional.normalize(directions, dim=0)
        return sliced_wasserstein(source, target, directions.to(source.device))


def coral_distance(source: Tensor, target: Tensor, seed: int) -> Tensor:
    """Distance of Deep CORAL, which has nothing random."""
    return coral_loss(source, target)
