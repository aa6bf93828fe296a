"""Deep CORAL: covariances of the features of both domains are made alike."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from napari_cryoshift.core.domains import Domains
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark

from .alignment import AlignmentParams, coral_distance
from .base import MethodParams
from .domain_classifier import DomainClassifier, DomainClassifierParams
from .unlabelled_classifier import UnlabelledClassifier


class CoralParams(DomainClassifierParams):
    """Parameters of `Coral`."""

    alignment: AlignmentParams = Field(
        AlignmentParams(learning_rate=2e-4),
        title="Aligning",
        description="Source and target are learnt from together.",
    )


class Coral(UnlabelledClassifier):
    """Learn the source, and make the covariance of the features of the target the same.

    Sun & Saenko 2016, with the loss of eq. 1 on the features before the classifier.
    """

    name: ClassVar[str] = "coral"
    title: ClassVar[str] = "Known classes, aligned"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, and brings the picked particles in "
        "line without a label (Deep CORAL): some minutes on a processor."
    )
    params_type: ClassVar[type[MethodParams]] = CoralParams
    adapting: ClassVar[str] = DomainClassifier.aligning

    params: CoralParams

    def learn(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Learn the source, then align the target."""
        yield from self.learn_source(domains, bookmark)
        yield from self.align(domains, coral_distance, self.params.alignment, bookmark)
