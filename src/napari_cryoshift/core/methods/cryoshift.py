"""Cryo-Shift: a classifier of simulated particles, adapted to real ones without a label."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from napari_cryoshift.core.augment import half_turns, randomised
from napari_cryoshift.core.domains import Domains, Draw
from napari_cryoshift.core.epochs import BestEpoch, epochs
from napari_cryoshift.core.losses import domain_accuracy, domain_loss
from napari_cryoshift.core.networks.statistics import measuring, normalises
from napari_cryoshift.core.networks.warp import extremes, unit_range
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import descend, seeded
from napari_cryoshift.core.types import TrainingData

from .base import Method, MethodParams
from .cryoshift_criterion import Figure, adapted_loss, source_loss
from .cryoshift_networks import step_zero_network, warp_network
from .cryoshift_params import CryoShiftParams
from .cryoshift_step import Adversaries, adaptation_losses, domain_labels

_BATCH = 32


class CryoShift(Method):
    """Learn classes from simulated volumes, then make the features of real ones look the same.

    Bandyopadhyay et al. 2022. Stage one trains a classifier M on the source. Stage two goes on
    with a warp network W, which learns to make simulated volumes look like the target, against a
    discriminator D of volumes; and with one discriminator F_d of features a class, against which
    the features of M are trained. M's predictions of the target are made informative too, which is
    no part of the paper.

    No label of the target is used, nor how many of a class are in it. Which epoch is the best, and
    when the learning rate falls, is decided by the loss on source volumes that were held out, less
    the mutual information of target volumes and their predicted classes (Shi & Sha 2012): a good
    model still knows the source, is sure about the target, and finds all classes in it.
    """

    name: ClassVar[str] = "cryoshift"
    title: ClassVar[str] = "Known classes, adapted"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, then adapts to the picked particles "
        "without a label: 20 minutes or more on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"source", "target"})
    params_type: ClassVar[type[MethodParams]] = CryoShiftParams
    adapting: ClassVar[str] = "adapting to the target"

    params: CryoShiftParams

    def __init__(self, params: CryoShiftParams, box: int, classes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.params, self.box, self.classes = params, box, classes
        # Before there are classes there is one, so that the network stands on its device.
        self._build(max(1, len(classes)))

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Train on the source, then adapt to the target.

        At any time the weights are those of the best epoch so far of the stage.

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
        bookmark, device = bookmark or Bookmark(), self._device
        domains = self._domains(data)
        self.classes = domains.source.classes
        self._build(len(self.classes))
        self.to(device).eval()
        yield from self._learn_source(domains, bookmark)
        yield from self._adapt(domains, bookmark)

    def adapt(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Adapt to a target what has learnt the source already, on its own or for another target.

        Parameters
        ----------
        data, bookmark
            As in `fit`; the source is of the same classes.

        Raises
        ------
        ValueError
            If a set is missing, they do not fit, or the classes are others.
        """
        domains = self._domains(data)
        if domains.source.classes != self.classes:
            raise ValueError(
                f"the source has the classes {', '.join(domains.source.classes)} but what was "
                f"learnt are {', '.join(self.classes) or 'none'}; give a source of the same "
                "classes, or fit anew"
            )
        yield from self._adapt(domains, bookmark or Bookmark())

    def embed(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, e) features of M."""
        self.eval()
        with torch.no_grad():
            return self.network.features(volumes.to(self._device)).float()

    def embed_source(self, volumes: Tensor) -> Tensor:
        """The same, normalised by the statistics of these volumes where each domain has its own."""
        if self.params.adaptation.statistics != "own" or not normalises(self.network):
            return self.embed(volumes)
        network = copy.deepcopy(self.network).eval()
        given = volumes.to(self._device)
        batches = [given[i : i + _BATCH] for i in range(0, len(given), _BATCH)]
        with torch.no_grad():
            with measuring(network):
                for batch in batches:
                    network(batch)
            return torch.cat([network.features(batch) for batch in batches]).float()

    def predict(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, k) probabilities.

        Raises
        ------
        ValueError
            If it was not trained yet.
        """
        if not self.classes:
            raise ValueError("0 classes are known; fit with a labelled source and a target first")
        features = self.embed(volumes)
        with torch.no_grad():
            logits: Tensor = self.network.classifier(features)
        return logits.softmax(1)

    def warp(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → the same as W makes them, in the grey values of what is given.

        Raises
        ------
        ValueError
            If there is no warp network.
        """
        if self.warper is None:
            raise ValueError("noise and distortion are 0; train with one of them above 0")
        self.eval()
        given = volumes.to(self._device)
        low, high = extremes(given)
        with torch.no_grad():
            warped: Tensor = self.warper(unit_range(given))
        return low + (high - low) * warped

    def views(self, volumes: Tensor) -> Mapping[str, Tensor]:
        """(n, d, d, d) → the same as W warps them, if there is a W."""
        return {} if self.warper is None else {"warped": self.warp(volumes)}

    def _build(self, classes: int) -> None:
        """Make M and W anew, from the seed."""
        p = self.params
        with seeded(p.seed, torch.device("cpu")):
            self.network = step_zero_network(p.step_zero, self.box, classes)
            self.warper = warp_network(p.warp, self.box)

    def _domains(self, data: TrainingData) -> Domains:
        return Domains.of(data, seed=self.params.seed, device=self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _learn_source(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Stage one: M learns the classes of the source."""
        p = self.params
        trained = copy.deepcopy(self)
        optimiser = torch.optim.Adam(trained.network.parameters(), p.step_zero.learning_rate)
        best = BestEpoch(self, trained, optimiser, patience=6, factor=0.9)
        phase, steps = "learning the source", p.step_zero.epochs * p.iterations

        def loss(draw: Draw) -> Mapping[str, Tensor]:
            trained.train()
            volumes, labels = self._read_source(domains, draw), domains.labels[draw.source]
            with seeded(draw.seed, self._device):
                logits = trained.network(volumes).float()
            accuracy = (logits.argmax(1) == labels).float().mean()
            return {
                "loss": nn.functional.cross_entropy(logits, labels),
                "source accuracy": accuracy,
            }

        if bookmark.begin(trained=trained, optimiser=optimiser, best=best):
            yield from epochs(
                optimiser,
                domains.draws(p.step_zero.batch, stage=1, first=bookmark.step),
                loss,
                phase=phase,
                count=p.step_zero.epochs,
                iterations=p.iterations,
                best=best,
                criterion=lambda: source_loss(
                    trained, domains, Progress(phase, bookmark.step, steps)
                ),
                bookmark=bookmark,
            )

    def _pretrain(
        self, adversaries: Adversaries, domains: Domains, bookmark: Bookmark
    ) -> Job[None]:
        """D learns to tell source from target as they are, if W is to be trained against it."""
        p, discriminator = self.params.discriminator, adversaries.of_volumes
        if discriminator is None:
            return
        optimiser = torch.optim.Adam(discriminator.parameters(), p.pretraining_rate)

        def loss(draw: Draw) -> Mapping[str, Tensor]:
            simulated, real = self._read_source(domains, draw), self._read_target(domains, draw)
            judged = discriminator(torch.cat([simulated, real]))
            is_real = domain_labels(len(simulated), len(real), judged.device)
            accuracy = domain_accuracy(judged, is_real)
            return {"loss": domain_loss(judged, is_real), "discriminator accuracy": accuracy}

        if bookmark.begin(adversaries=adversaries, optimiser=optimiser):
            yield from descend(
                optimiser,
                domains.draws(self.params.step_zero.batch, stage=0, first=bookmark.step),
                loss,
                phase="learning to tell simulated from real",
                steps=p.pretraining,
                bookmark=bookmark,
            )

    def _adapt(self, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Stage two: M, W, D and F_d are trained together."""
        p = self.params
        with seeded(p.seed, torch.device("cpu")):
            adversaries = Adversaries(p, self.network.width, len(self.classes)).to(self._device)
        if self.warper is None and not p.adaptation.present:
            return
        yield from self._pretrain(adversaries, domains, bookmark)
        trained = copy.deepcopy(self)
        adversaries.train()
        rates = {
            trained.network: p.learning_rate,
            trained.warper: p.warp.learning_rate,
            adversaries.of_volumes: p.discriminator.learning_rate,
            adversaries.of_features: p.adaptation.learning_rate,
        }
        optimiser = torch.optim.Adam(
            {"params": list(module.parameters()), "lr": rate}
            for module, rate in rates.items()
            if module is not None
        )
        best = BestEpoch(self, trained, optimiser, patience=3, factor=0.8)
        before, phase, steps = Figure(), self.adapting, p.epochs * p.iterations

        def loss(draw: Draw) -> Mapping[str, Tensor]:
            trained.train()
            simulated, real = self._read_source(domains, draw), self._read_target(domains, draw)
            with seeded(draw.seed, self._device):
                return adaptation_losses(
                    p,
                    trained.network,
                    trained.warper,
                    adversaries,
                    simulated=simulated,
                    labels=domains.labels[draw.source],
                    real=real,
                    share=bookmark.step / steps,
                )

        if bookmark.begin(
            trained=trained,
            adversaries=adversaries,
            optimiser=optimiser,
            best=best,
            before=before,
        ):
            if bookmark.step == 0:
                before.value = yield from adapted_loss(trained, domains, Progress(phase, 0, steps))
            yield from epochs(
                optimiser,
                domains.draws(p.batch, stage=2, first=bookmark.step),
                loss,
                phase=phase,
                count=p.epochs,
                iterations=p.iterations,
                best=best,
                criterion=lambda: adapted_loss(
                    trained, domains, Progress(phase, bookmark.step, steps)
                ),
                bookmark=bookmark,
            )
            after = best.state_dict()["lowest"]
            figures = {"criterion before": before.value, "criterion after": after}
            yield Progress(phase, steps, steps, figures)

    def _read_source(self, domains: Domains, draw: Draw) -> Tensor:
        generator = np.random.default_rng(draw.seed)
        volumes = self._turned(domains.source[draw.source], generator)
        return unit_range(randomised(volumes, generator) if self.params.randomise else volumes)

    def _read_target(self, domains: Domains, draw: Draw) -> Tensor:
        generator = np.random.default_rng(draw.seed + 1)
        return unit_range(self._turned(domains.target[draw.target], generator))

    def _turned(self, volumes: Tensor, generator: np.random.Generator) -> Tensor:
        volumes = volumes.to(self._device)
        return half_turns(volumes, generator) if self.params.augment else volumes
