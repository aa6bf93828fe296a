"""Sliced Wasserstein distance: the features of both domains are made to be distributed alike."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from napari_cryoshift.core.domains import Domains
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark

from .alignment import ProjectionParams
from .base import MethodParams
from .domain_classifier import DomainClassifier, DomainClassifierParams
from .unlabelled_classifier import UnlabelledClassifier


class SwdParams(DomainClassifierParams):
    """Parameters of `Swd`."""

    alignment: ProjectionParams = Field(
        ProjectionParams(learning_rate=2e-4),
        title="Aligning",
        description="Source and target are learnt from together.",
    )


class Swd(UnlabelledClassifier):
    """Learn the source, and bring the features of the target to the same distribution.

    By the sliced Wasserstein distance (Gabourie et al. 2019, without pseudo-labels).
    """

    name: ClassVar[str] = "swd"
    title: ClassVar[str] = "Known classes, aligned by projections"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, and brings the picked particles in "
        "line without a label (sliced Wasserstein distance): some minutes on a processor."
    )
    params_type: ClassVar[type[MethodParams]] = SwdParams
    adapting: ClassVar[str] = DomainClassifier.aligning

    params: SwdParams

    def learn(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Learn the source, then align the target."""
        p = self.params.alignment
        yield from self.learn_source(domains, bookmark)
        yield from self.align(domains, p.distance, p, bookmark)
