"""Sliced Wasserstein distance: the features of both domains are made to be distributed alike."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.types import TrainingData

from .alignment import ProjectionParams
from .base import MethodParams
from .domain_classifier import DomainClassifier, DomainClassifierParams


class SwdParams(DomainClassifierParams):
    """Parameters of `Swd`."""

    alignment: ProjectionParams = Field(
        ProjectionParams(learning_rate=2e-4),
        title="Aligning",
        description="Source and target are learnt from together.",
    )


class Swd(DomainClassifier):
    """Learn the source, and bring the features of the target to the same distribution.

    By the sliced Wasserstein distance (Gabourie et al. 2019, without pseudo-labels).
    """

    name: ClassVar[str] = "swd"
    title: ClassVar[str] = "Known classes, aligned by projections"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, and brings the picked particles in "
        "line without a label (sliced Wasserstein distance): some minutes on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"source", "target"})
    params_type: ClassVar[type[MethodParams]] = SwdParams
    adapting: ClassVar[str] = DomainClassifier.aligning

    params: SwdParams

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
        p, bookmark = self.params.alignment, bookmark or Bookmark()
        domains = self.begin(data)
        yield from self.learn_source(domains, bookmark)
        yield from self.align(domains, p.distance, p, bookmark)
        yield from self.measure(domains, bookmark)
