"""What methods have in common that learn a source and a target of which no label is known."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from napari_cryoshift.core.domains import Domains
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.types import TrainingData

from .domain_classifier import DomainClassifier


class UnlabelledClassifier(DomainClassifier):
    """A classifier of the source, for a target without labels."""

    needs: ClassVar[frozenset[str]] = frozenset({"source", "target"})

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Learn the source, with what is known of the target.

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
        yield from self.learn(domains, bookmark)
        yield from self.measure(domains, bookmark)

    @abstractmethod
    def learn(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Run all stages but the last, which measures the statistics of the target."""
