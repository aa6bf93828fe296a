"""FADA: few-shot adversarial domain adaptation, by a discriminator of pairs."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.shots import Shots
from napari_cryoshift.core.types import TrainingData

from .alignment import StageParams
from .base import MethodParams
from .domain_classifier import DomainClassifier, DomainClassifierParams
from .pair_stages import PairStages, TuningParams


class FadaParams(DomainClassifierParams):
    """Parameters of `Fada`."""

    grouping: StageParams = Field(
        StageParams(steps=200, batch=40),
        title="Discriminator of pairs",
        description="It learns to tell four groups of pairs apart, alone at first.",
    )
    tuning: TuningParams = Field(
        TuningParams(steps=200, batch=20),
        title="Learning from labelled particles",
        description="Encoder, classifier and discriminator learn together.",
    )


class Fada(DomainClassifier):
    """Learn the source, then the labelled volumes of the target, against a discriminator of pairs.

    Motiian et al. 2017. The discriminator tells whether two volumes are of one domain, and of one
    class; the encoder learns to make it mistake pairs of both domains for pairs of the source. In
    the last stage both take their steps at once, where the paper has them take turns.
    """

    name: ClassVar[str] = "fada"
    title: ClassVar[str] = "Known classes, few labels, adversarial"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, then adapts by a few labelled "
        "particles of each, labelled by the same names (FADA): some minutes on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"source", "target", "support"})
    params_type: ClassVar[type[MethodParams]] = FadaParams
    adapting: ClassVar[str] = PairStages.tuning

    params: FadaParams

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Learn the source, then the support.

        Parameters
        ----------
        data
            ``source`` and ``support`` with labels; ``target`` without: its volumes give statistics
            for batch norm.
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
        pairs = PairStages(self, domains, shots, of_maps=False)
        yield from self.learn_source(domains, bookmark)
        yield from self.measure(domains, bookmark)
        yield from pairs.learn_groups(p.grouping, bookmark)
        yield from pairs.tune(p.tuning, bookmark, adversarial=True)
