"""Deep CORAL: covariances of the features of both domains are made alike."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.types import TrainingData

from .alignment import AlignmentParams, coral_distance
from .base import MethodParams
from .domain_classifier import DomainClassifier, DomainClassifierParams


class CoralParams(DomainClassifierParams):
    """Parameters of `Coral`."""

    alignment: AlignmentParams = Field(
        AlignmentParams(learning_rate=2e-4),
        title="Aligning",
        description="Source and target are learnt from together.",
    )


class Coral(DomainClassifier):
    """Learn the source, and make the covariance of the features of the target the same.

    Sun & Saenko 2016, with the loss of eq. 1 on the features before the classifier.
    """

    name: ClassVar[str] = "coral"
    title: ClassVar[str] = "Known classes, aligned"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, and brings the picked particles in "
        "line without a label (Deep CORAL): some minutes on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"source", "target"})
    params_type: ClassVar[type[MethodParams]] = CoralParams
    adapting: ClassVar[str] = DomainClassifier.aligning

    params: CoralParams

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Learn the source, then align the target.

        Parameters
        ----------
        data
            ``source`` with labels, and ``target``, whose labels are not looked at.
        bookmark
            To go on with a run that was stopped.

        Raises
        ------
        ValueError
            If either is missing, or they do not fit.
        """
        bookmark = bookmark or Bookmark()
        domains = self.begin(data)
        yield from self.learn_source(domains, bookmark)
        yield from self.align(domains, coral_distance, self.params.alignment, bookmark)
        yield from self.measure(domains, bookmark)
