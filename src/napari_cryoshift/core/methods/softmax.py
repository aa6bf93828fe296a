"""Cross-entropy alone, normalised by the target: what every other classifier is compared with."""

from __future__ import annotations

from typing import ClassVar

from napari_cryoshift.core.domains import Domains
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark

from .base import MethodParams
from .domain_classifier import DomainClassifierParams
from .unlabelled_classifier import UnlabelledClassifier


class Softmax(UnlabelledClassifier):
    """Learn the source by cross-entropy; of the target, take the statistics of batch norm."""

    name: ClassVar[str] = "softmax"
    title: ClassVar[str] = "Known classes"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, and little of the picked particles "
        "but their statistics: some minutes on a processor."
    )
    params_type: ClassVar[type[MethodParams]] = DomainClassifierParams
    adapting: ClassVar[str] = "measuring the target"

    def learn(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Learn the source."""
        yield from self.learn_source(domains, bookmark)
