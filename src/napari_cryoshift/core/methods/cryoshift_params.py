"""Parameters of Cryo-Shift, a group for each of its networks."""

from typing import Literal

from pydantic import Field, model_validator

from napari_cryoshift.core.params import Params

from .base import MethodParams


class StepZeroParams(Params):
    """The classifier M, and stage one: training it on the source alone."""

    network: Literal["strided", "fsda", "cb3d", "dsrf3d", "densenet3d", "resnet3d"] = Field(
        "strided",
        title="Network",
        description="strided and fsda are small enough for a CPU; all but strided are the paper's.",
    )
    width: int = Field(128, ge=2, le=4096, title="Features", description="Of the strided network.")
    epochs: int = Field(30, ge=1, title="Epochs", description="120 in the paper.")
    batch: int = Field(32, ge=2, title="Batch", description="Volumes a step.")
    learning_rate: float = Field(
        1e-3, gt=0, le=1, title="Learning rate", description="Of Adam; 1e-4 for the large networks."
    )


class WarpParams(Params):
    """The warp network W; noise and distortion of 0 leave it out."""

    noise: float = Field(
        0.1,
        ge=0,
        le=1,
        title="Noise",
        description="Bound of what is added to a voxel, as a share of its volume's range of greys.",
    )
    distortion: float = Field(
        0.2,
        ge=0,
        le=8,
        title="Distortion",
        description="Bound of the displacement along each axis, voxels.",
    )
    filters: int = Field(
        4, ge=2, le=256, title="Filters", description="Of its first layer; 64 in the paper."
    )
    against: Literal["discriminator", "task"] = Field(
        "discriminator",
        title="Trained against",
        description=(
            "discriminator: to look like the target. task: to be hard to classify (DeceptionNet)."
        ),
    )
    reversal: float = Field(
        1.0, ge=0, title="Reversal", description="Weight of the reversed gradient."
    )
    learning_rate: float = Field(5e-3, gt=0, le=1, title="Learning rate", description="Of Adam.")

    @property
    def present(self) -> bool:
        """There is a warp network."""
        return self.noise > 0 or self.distortion > 0


class DiscriminatorParams(Params):
    """The discriminator D of volumes, against which W is trained; trained alone at first."""

    filters: int = Field(
        16, ge=1, le=256, title="Filters", description="Of its first layer; 64 in the paper."
    )
    pretraining: int = Field(
        300, ge=1, title="Steps before", description="On source and target as they are."
    )
    pretraining_rate: float = Field(
        1e-5, gt=0, le=1, title="Learning rate before", description="Of Adam."
    )
    learning_rate: float = Field(1e-6, gt=0, le=1, title="Learning rate", description="Of Adam.")
    weight: float = Field(10.0, ge=0, title="Weight", description="Of its loss in the sum.")


class AdaptationParams(Params):
    """The feature discriminators F_d, one a class, against which the features are trained.

    By default the reversed gradient has at the end the weight of the task's (40 · ¼ = 10), as in
    Ganin & Lempitsky 2015. That of the published code, 2.5 times the task's from the first step
    on, makes small networks forget the source.
    """

    weighting: Literal["loss", "features", "none"] = Field(
        "loss",
        title="Weighting",
        description=(
            "The predicted probability of its class weights the loss of a discriminator, or the "
            "features that it sees (MADA); none leaves the discriminators out."
        ),
    )
    reversal: float = Field(
        40.0,
        ge=0,
        title="Reversal",
        description="Weight of the reversed gradient; 100 as published, with large networks.",
    )
    ramp: bool = Field(
        True,
        title="Set in gently",
        description="Let the reversal grow from 0, as in MADA; else it is constant, as published.",
    )
    statistics: Literal["own", "joint"] = Field(
        "own",
        title="Batch norm",
        description=(
            "own: simulated and real volumes are normalised apart, each by their own statistics, "
            "and predictions use those of the real ones (AdaBN). joint: all in one, as published."
        ),
    )
    weight: float = Field(0.25, ge=0, title="Weight", description="Of their loss in the sum.")
    learning_rate: float = Field(5e-4, gt=0, le=1, title="Learning rate", description="Of Adam.")
    information: float = Field(
        3.0,
        ge=0,
        title="Information",
        description=(
            "Weight of the mutual information of real volumes and their predicted classes, which "
            "is made larger: predictions get surer, and no class is forgotten (SHOT). It sets in "
            "as the reversal does; 0, as published, leaves it out."
        ),
    )

    @property
    def present(self) -> bool:
        """Real volumes have a part in how the classifier is trained."""
        return self.weighting != "none" or self.information > 0


class CryoShiftParams(MethodParams):
    """Parameters of `CryoShift`; the defaults suit a CPU, `PAPER` is that of the paper."""

    step_zero: StepZeroParams = Field(
        StepZeroParams(),
        title="Classifier",
        description="What it is, and how it learns the source.",
    )
    warp: WarpParams = Field(
        WarpParams(), title="Warping", description="How simulated volumes are made harder."
    )
    discriminator: DiscriminatorParams = Field(
        DiscriminatorParams(), title="Discriminator", description="It judges what warping does."
    )
    adaptation: AdaptationParams = Field(
        AdaptationParams(), title="Adaptation", description="How features are made alike."
    )
    iterations: int = Field(
        60, ge=1, title="Steps an epoch", description="In both stages; 120 as published."
    )
    epochs: int = Field(
        20, ge=1, title="Epochs", description="Of the second stage; 50 in the paper."
    )
    batch: int = Field(
        16,
        ge=2,
        title="Batch",
        description="Simulated volumes a step, and as many warped and real ones; 4 as published.",
    )
    learning_rate: float = Field(
        1e-4,
        gt=0,
        le=1,
        title="Learning rate",
        description="Of Adam, of the classifier in the second stage.",
    )
    task_weight: float = Field(
        10.0, gt=0, title="Weight of the task", description="Of the classification loss in the sum."
    )
    augment: bool = Field(
        True,
        title="Half turns",
        description="Turn volumes by 180° at random about the axes; the missing wedge stays.",
    )
    randomise: bool = Field(
        True,
        title="Vary the imaging",
        description=(
            "Move, filter and cover with noise simulated volumes at random, so that less depends "
            "on how they were simulated."
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> "CryoShiftParams":
        by_task = self.warp.present and self.warp.against == "task"
        if by_task and self.adaptation.weighting != "none":
            raise ValueError(
                "warping is trained against the task, and features are adapted too, which would "
                "reach it; train it against the discriminator, or set the weighting to none"
            )
        return self


PAPER = CryoShiftParams(
    step_zero=StepZeroParams(network="cb3d", epochs=120, learning_rate=1e-4),
    warp=WarpParams(filters=64),
    discriminator=DiscriminatorParams(filters=64),
    adaptation=AdaptationParams(
        reversal=100.0, ramp=False, statistics="joint", learning_rate=1e-5, information=0.0
    ),
    iterations=120,
    epochs=50,
    batch=4,
    learning_rate=1e-5,
    augment=False,
    randomise=False,
)
"""Bandyopadhyay et al. 2022, section 2.7, for CB3D; weights, reversals, batches and steps an epoch,
which the paper leaves out, are those of its published code."""
