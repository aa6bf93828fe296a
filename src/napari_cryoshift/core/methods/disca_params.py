"""Parameters of DISCA, and those of the paper."""

from typing import Literal

from pydantic import Field, field_validator

from napari_cryoshift.core.clustering import Covariance

from .base import MethodParams


class DiscaParams(MethodParams):
    """Parameters of `Disca`."""

    clusters: tuple[int, ...] = Field(
        (5, 10, 20),
        min_length=1,
        title="Groups",
        description=(
            "How many groups to try; which of these numbers fits best is decided anew in each "
            "round. A single one is taken as it is."
        ),
    )
    network: Literal["small", "yopo", "embedding"] = Field(
        "small",
        title="Network",
        description=(
            "yopo is that of the paper, for graphics cards; small is one with a hundredth of the "
            "computation. embedding goes on from the embedding that few-shot predictions use."
        ),
    )
    width: int = Field(
        128, ge=2, le=4096, title="Embedding", description="Features of that embedding."
    )
    iterations: int = Field(
        20, ge=1, title="Rounds", description="Of grouping and learning, at most."
    )
    components: int = Field(
        8,
        ge=1,
        le=256,
        title="Principal components",
        description="Of the features, in which groups are looked for; 16 as published.",
    )
    covariance: Covariance = Field(
        "full",
        title="Covariance",
        description=(
            "Of a group: full as published, or spherical, which needs fewer particles. Classes are "
            "balls in features that were learnt for nearest means, as those of the embedding."
        ),
    )
    tolerance: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Tolerance",
        description=(
            "Of the numbers of groups, the smallest is taken whose criterion falls short of the "
            "best by this share of what that gains over a single group; 0 as published."
        ),
    )
    half_turns: bool = Field(
        False,
        title="Half turns",
        description=(
            "Features are the mean of those of a particle as it lies and after half a turn about "
            "each axis, which leaves the missing wedge where it is: four times the computation, "
            "and less noise."
        ),
    )
    restarts: int = Field(
        2, ge=1, title="Fresh starts", description="Of each mixture of Gaussians in each round."
    )
    regularisation: float = Field(
        1e-5,
        gt=0,
        le=1,
        title="Least variance",
        description="Added to those of each group, where 1 is the variance of the first component.",
    )
    loss: Literal["cross-entropy", "hinge"] = Field(
        "cross-entropy", title="Loss", description="hinge is that of the published code."
    )
    learning_rate: float = Field(
        1e-3, gt=0, le=1, title="Learning rate", description="Of Nadam, in the first round."
    )
    decay: float = Field(
        0.95, gt=0, le=1, title="Decay", description="Of the learning rate from round to round."
    )
    smoothing: float = Field(
        0.2,
        ge=0,
        lt=1,
        title="Label smoothing",
        description="Share of a label that is spread over all groups; falls by a tenth a round.",
    )
    noise: float = Field(
        0.5,
        ge=0,
        lt=1,
        title="Noise",
        description="Rate of the Gaussian dropout that volumes are multiplied with.",
    )
    batch: int = Field(64, ge=2, title="Batch", description="Volumes a step.")

    @field_validator("clusters")
    @classmethod
    def _at_least_two(cls, clusters: tuple[int, ...]) -> tuple[int, ...]:
        if min(clusters) < 2:
            raise ValueError(f"{min(clusters)} groups are none; give numbers of at least 2")
        return clusters

    def need_enough(self, particles: int) -> None:
        """Raise ValueError if there are not more particles than groups."""
        if particles <= max(self.clusters):
            raise ValueError(
                f"{particles} particles are too few for {max(self.clusters)} groups; "
                "pick more or ask for fewer groups"
            )


PAPER = DiscaParams(network="yopo", loss="hinge", learning_rate=1e-5, components=16, restarts=5)
"""Zeng et al. 2023 by its published code: ten convolutions, hinge, Nadam at 1e-5, 20 rounds."""
