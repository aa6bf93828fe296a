"""Cross-entropy alone, normalised by the target: what every other classifier is compared with."""

from __future__ import annotations

from typing import ClassVar

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.types import TrainingData

from .base import MethodParams
from .domain_classifier import DomainClassifier, DomainClassifierParams


class Softmax(DomainClassifier):
    """Learn the source by cross-entropy; of the target, take the statistics of batch norm."""

    name: ClassVar[str] = "softmax"
    title: ClassVar[str] = "Known classes"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, and little of the picked particles "
        "but their statistics: some minutes on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"source", "target"})
    params_type: ClassVar[type[MethodParams]] = DomainClassifierParams
    adapting: ClassVar[str] = "measuring the target"

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Learn the source.

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
        yield from self.measure(domains, bookmark)
