"""Cryo-Shift: a classifier of simulated particles, adapted to real ones without a label."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from napari_cryoshift.core.augment import half_turns
from napari_cryoshift.core.domains import Domains, Draw
from napari_cryoshift.core.epochs import BestEpoch, epochs
from napari_cryoshift.core.losses import domain_accuracy, domain_loss
from napari_cryoshift.core.networks.cb3d import CB3D
from napari_cryoshift.core.networks.densenet3d import DenseNet3D
from napari_cryoshift.core.networks.discriminators import VolumeDiscriminator
from napari_cryoshift.core.networks.dsrf3d import DSRF3D
from napari_cryoshift.core.networks.fsda import FSDA
from napari_cryoshift.core.networks.resnet3d import ResNet3D
from napari_cryoshift.core.networks.step_zero import StepZero, Strided
from napari_cryoshift.core.networks.warp import WarpNetwork, extremes, unit_range
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import descend, seeded
from napari_cryoshift.core.types import TrainingData

from .base import Method, MethodParams
from .cryoshift_criterion import Figure, adapted_loss, source_loss
from .cryoshift_params import CryoShiftParams, StepZeroParams, WarpParams
from .cryoshift_step import Adversaries, adaptation_losses, domain_labels


class CryoShift(Method):
    """Learn classes from simulated volumes, then make the features of real ones look the same.

    Bandyopadhyay et al. 2022. Stage one trains a classifier M on the source. Stage two goes on
    with a warp network W, which learns to make simulated volumes look like the target, against a
    discriminator D of volumes; and with one discriminator F_d of features a class, against which
    the features of M are trained.

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
        p, device = self.params, self._device
        domains = Domains.of(data, seed=p.seed, device=device)
        bookmark = bookmark or Bookmark()
        self.classes = domains.source.classes
        self._build(len(self.classes))
        self.to(device).eval()
        with seeded(p.seed, torch.device("cpu")):
            adversaries = Adversaries(p, self.network.width, len(self.classes)).to(device)
        if adversaries.of_volumes is not None:
            yield from self._pretrain(adversaries, adversaries.of_volumes, domains, bookmark)
        yield from self._learn_source(domains, bookmark)
        if self.warper is not None or adversaries.of_features is not None:
            yield from self._adapt(adversaries, domains, bookmark)

    def embed(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, e) features of M."""
        self.eval()
        with torch.no_grad():
            return self.network.features(unit_range(volumes.to(self._device))).float()

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

    def _build(self, classes: int) -> None:
        """Make M and W anew, from the seed."""
        p = self.params
        with seeded(p.seed, torch.device("cpu")):
            self.network = _network(p.step_zero, self.box, classes)
            self.warper = _warper(p.warp, self.box)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _pretrain(
        self,
        adversaries: Adversaries,
        discriminator: VolumeDiscriminator,
        domains: Domains,
        bookmark: Bookmark,
    ) -> Job[None]:
        """Stage zero: D learns to tell source from target as they are."""
        p = self.params.discriminator
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

    def _adapt(self, adversaries: Adversaries, domains: Domains, bookmark: Bookmark) -> Job[None]:
        """Stage two: M, W, D and F_d are trained together."""
        p = self.params
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
        before, phase, steps = Figure(), "adapting to the target", p.epochs * p.iterations

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
        return self._augmented(domains.source[draw.source], draw.seed)

    def _read_target(self, domains: Domains, draw: Draw) -> Tensor:
        return self._augmented(domains.target[draw.target], draw.seed + 1)

    def _augmented(self, volumes: Tensor, seed: int) -> Tensor:
        if self.params.augment:
            volumes = half_turns(volumes, np.random.default_rng(seed))
        return unit_range(volumes.to(self._device))


def _network(params: StepZeroParams, box: int, classes: int) -> StepZero:
    match params.network:
        case "strided":
            return Strided(box, classes, params.width)
        case "fsda":
            return FSDA(box, classes)
        case "cb3d":
            return CB3D(box, classes)
        case "dsrf3d":
            return DSRF3D(box, classes)
        case "densenet3d":
            return DenseNet3D(classes)
        case "resnet3d":
            return ResNet3D(classes)


def _warper(params: WarpParams, box: int) -> WarpNetwork | None:
    if not params.present:
        return None
    return WarpNetwork(box, params.filters, noise=params.noise, distortion=params.distortion)
