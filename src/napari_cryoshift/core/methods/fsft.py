"""FSFT: few-shot fine-tuning across domains."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.shots import Shots
from napari_cryoshift.core.types import TrainingData

from .alignment import AlignmentParams, ProjectionParams, StageParams, coral_distance
from .base import MethodParams
from .domain_classifier import DomainClassifier, DomainClassifierParams
from .pair_stages import PairStages, TuningParams


class FsftParams(DomainClassifierParams):
    """Parameters of `Fsft`."""

    align: Literal["swd", "coral", "none"] = Field(
        "swd",
        title="Align first",
        description=(
            "By what the unlabelled target is brought in line: the sliced Wasserstein distance, "
            "or Deep CORAL as published."
        ),
    )
    projections: ProjectionParams = Field(
        ProjectionParams(learning_rate=2e-4),
        title="Aligning by swd",
        description="Source and target are learnt from together, without labels of the target.",
    )
    alignment: AlignmentParams = Field(
        AlignmentParams(learning_rate=2e-4),
        title="Aligning by coral",
        description="The same with Deep CORAL.",
    )
    volume_discriminator: bool = Field(
        True,
        title="Discriminator in 3-D",
        description="The discriminator of pairs sees the maps after the front of the encoder too.",
    )
    grouping: StageParams = Field(
        StageParams(steps=200, batch=40),
        title="Discriminator of pairs",
        description="It learns to tell four groups of pairs apart.",
    )
    adversarial: bool = Field(
        False,
        title="Adversarial",
        description="The discriminator goes on learning in the last stage, as in FADA.",
    )
    tuning: TuningParams = Field(
        TuningParams(steps=200, batch=20, learning_rate=3e-4),
        title="Learning from labelled particles",
        description="Encoders and classifier learn the labelled particles beside the source.",
    )


class Fsft(DomainClassifier):
    """Learn the source, align the target without labels, then learn its few labelled volumes.

    Yu et al. 2020. The front of the encoder is each domain's own, the back is shared. Stage 1
    learns the source. Stage 2.1 aligns the features of both domains: their covariances in the paper
    (Deep CORAL), their distributions by default (sliced Wasserstein distance). Stage 2.2 trains a
    discriminator of pairs: are they of one domain, and of one class. Stage 3 learns the labelled
    volumes beside the source, and to make the discriminator, which stays as it is, mistake pairs
    of both domains for pairs of the source.
    """

    name: ClassVar[str] = "fsft"
    title: ClassVar[str] = "Known classes, few labels"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, then adapts to the picked particles "
        "and a few labelled ones of each, labelled by the same names (FSFT): some minutes on a "
        "processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"source", "target", "support"})
    params_type: ClassVar[type[MethodParams]] = FsftParams
    own_blocks: ClassVar[int] = 2
    adapting: ClassVar[str] = DomainClassifier.aligning

    params: FsftParams

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Learn the source, the unlabelled target, and the support, one stage after the other.

        Parameters
        ----------
        data
            ``source`` and ``support`` with labels; ``target``, whose labels are not looked at.
        bookmark
            To go on with a run that was stopped.

        Raises
        ------
        ValueError
            If a set is missing, or they do not fit.
        """
        p, bookmark = self.params, bookmark or Bookmark()
        shots = Shots.of(data.need("support"), data.need("source"))
        domains = self.begin(data, shots)
        pairs = PairStages(self, domains, shots, of_maps=p.volume_discriminator)
        yield from self.learn_source(domains, bookmark)
        if p.align == "swd":
            yield from self.align(domains, p.projections.distance, p.projections, bookmark)
        elif p.align == "coral":
            yield from self.align(domains, coral_distance, p.alignment, bookmark)
        yield from self.measure(domains, bookmark)
        yield from pairs.learn_groups(p.grouping, bookmark)
        yield from pairs.tune(p.tuning, bookmark, adversarial=p.adversarial)
