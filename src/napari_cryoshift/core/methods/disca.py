"""DISCA: groups of particles found without a label, and the features that tell them apart."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from napari_cryoshift.core.clustering import (
    Floats,
    Mixture,
    distortion_index,
    linear_discriminants,
    matching,
    posterior,
    principal_axes,
    smoothed,
    surprise,
)
from napari_cryoshift.core.losses import categorical_hinge
from napari_cryoshift.core.networks.protonet3d import StridedEncoder
from napari_cryoshift.core.networks.yopo import YOPO
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import descend, seeded
from napari_cryoshift.core.types import Subtomograms, TrainingData
from napari_cryoshift.core.volumes import half_turned, rotated_at_random

from .base import Method
from .disca_params import DiscaParams
from .disca_rounds import Draw, Grouping, best_mixture, draws

_SETTLED = 0.999
_READ = 64


class Disca(Method):
    """Deep iterative subtomogram clustering (Zeng et al. 2023; Uddin et al. 2022, section III.C).

    Round by round, the features of all particles are grouped: by mixtures of Gaussians in their
    principal components, with the number of groups that has the lowest Bayesian information
    criterion. The network then learns these groups for one epoch, from the particles and from a
    copy of each that is turned at random. It ends when the groups stay as they are. What is kept
    is the round with the lowest distortion index (DDBI); the first one, of random weights, counts
    only where these are an embedding's.
    """

    name: ClassVar[str] = "disca"
    title: ClassVar[str] = "Find groups"
    description: ClassVar[str] = (
        "Sorts the picked particles into groups that look alike, without a label, and says how "
        "many kinds there are: 10 minutes or more on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"target"})
    params_type: ClassVar[type[DiscaParams]] = DiscaParams
    builds_on_embedding: ClassVar[bool] = True

    params: DiscaParams
    found: Tensor
    mean: Tensor
    axes: Tensor
    weights: Tensor
    means: Tensor
    precisions: Tensor

    def __init__(self, params: DiscaParams, box: int, classes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.params, self.box, self.classes = params, box, classes
        most = max(params.clusters)
        with seeded(params.seed, torch.device("cpu")):
            self.encoder = _encoder(params, box)
            # There is room for as many groups as there may be, of which the first are there.
            self.head = nn.Linear(self.encoder.width, most)
        width, components = self.encoder.width, min(params.components, self.encoder.width)
        self.register_buffer("found", torch.tensor(len(classes)))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.zeros(components, width))
        self.register_buffer("weights", torch.zeros(most))
        self.register_buffer("means", torch.zeros(most, components))
        self.register_buffer("precisions", torch.zeros(most, components, components))

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Group, learn the groups, and again, until they stay as they are.

        At any time the weights and groups are those of the best round so far.

        Parameters
        ----------
        data
            ``target``, whose labels are not looked at; ``start`` if the network goes on from an
            embedding.
        bookmark
            To go on with a run that was stopped.

        Raises
        ------
        ValueError
            If there is no target, it is smaller than the number of groups, or the start is missing
            or of another network.
        """
        p, target = self.params, data.need("target")
        p.need_enough(len(target))
        self._go_on_from(data.start)
        bookmark = bookmark or Bookmark()
        trained, grouping = copy.deepcopy(self), Grouping(untrained=p.network != "embedding")
        optimiser = torch.optim.NAdam(trained.parameters(), p.learning_rate)
        epoch = math.ceil(2 * len(target) / p.batch)
        if not bookmark.begin(trained=trained, optimiser=optimiser, grouping=grouping):
            return
        self._name_groups()
        drawn = itertools.islice(draws(len(target), p.batch, p.seed), bookmark.step, None)
        for done in range(bookmark.step // epoch, p.iterations):
            if grouping.rounds == done:
                yield from self._group(trained, optimiser, target, grouping)
            if grouping.settled or done + 1 == p.iterations:
                return
            targets = smoothed(grouping.labels, grouping.count, p.smoothing * 0.9**grouping.rounds)
            loss = trained._loss(target, torch.from_numpy(targets).to(self.mean.device))
            for group in optimiser.param_groups:
                group["lr"] = p.learning_rate * p.decay ** (done + 1)
            trained.train()
            yield from descend(
                optimiser,
                drawn,
                loss,
                phase="learning the groups",
                steps=(p.iterations - 1) * epoch,
                until=(done + 1) * epoch,
                bookmark=bookmark,
            )

    def embed(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, e)."""
        self.eval()
        poses = half_turned(volumes) if self.params.half_turns else [volumes]
        with torch.no_grad():
            features = [self.encoder(pose.to(self.mean.device)).float() for pose in poses]
        return torch.stack(features).mean(0)

    def predict(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, k) probabilities of the groups.

        Raises
        ------
        ValueError
            If it was not trained yet.
        """
        found = int(self.found)
        if not found:
            raise ValueError("0 groups are known; fit with picked particles first")
        parts = (self.mean, self.axes, self.weights, self.means, self.precisions)
        mean, axes, weights, means, precisions = (part.cpu().double().numpy() for part in parts)
        points = (self.embed(volumes).cpu().double().numpy() - mean) @ axes.T
        probabilities = posterior(points, weights[:found], means[:found], precisions[:found])
        return torch.from_numpy(probabilities).float().to(self.mean.device)

    def _go_on_from(self, start: Mapping[str, Tensor] | None) -> None:
        if self.params.network != "embedding":
            return
        if start is None:
            raise ValueError(
                "there is no embedding to go on from; give one, or choose another network"
            )
        try:
            self.encoder.load_state_dict(start)
        except RuntimeError as error:
            raise ValueError(
                f"the embedding is of another network than a strided one of {self.params.width} "
                f"features for boxes of {self.box} voxels; give one that is, or choose another "
                "network"
            ) from error

    def _group(
        self,
        trained: Disca,
        optimiser: torch.optim.Optimizer,
        target: Subtomograms,
        grouping: Grouping,
    ) -> Job[None]:
        """One round of grouping; nothing that is kept changes before its last report but the head.

        A run that is stopped amid it does it again from the start, with the same result.
        """
        p = self.params
        features = yield from _features(trained, target)
        mean, axes = principal_axes(features, len(self.axes))
        points = (features - mean) @ axes.T
        best = yield from best_mixture(points, p, grouping)
        unchanged = 0.0
        if best.count == grouping.count:
            best = best.renumbered(matching(best.labels, grouping.labels))
            unchanged = float(np.mean(best.labels == grouping.labels))
        else:
            directions, offsets = linear_discriminants(points, best.labels, p.regularisation)
            trained._begin_head(directions @ axes, offsets - directions @ axes @ mean)
            optimiser.state.clear()
        trained._hold(mean, axes, best)
        distortion = distortion_index(points, best.labels, p.regularisation)
        index = distortion
        if p.network == "embedding":
            if grouping.rounds == 0:
                grouping.points = points
            index = surprise(grouping.points, best.labels, p.regularisation, p.covariance)
        if grouping.rounds == 0 or index < grouping.lowest:
            self.load_state_dict(trained.state_dict())
            self._name_groups()
        grouping.take(best.labels, best.count, index, settled=unchanged > _SETTLED)
        figures = {
            "groups": best.count,
            "bic": best.bic / len(target),
            "distortion": distortion,
            "unchanged": unchanged,
        }
        yield Progress("grouping", grouping.rounds, p.iterations, figures)

    def _loss(
        self, target: Subtomograms, targets: Tensor
    ) -> Callable[[Draw], Mapping[str, Tensor]]:
        """Loss of a step of learning (n, k) soft labels of the target."""

        def loss(draw: Draw) -> Mapping[str, Tensor]:
            volumes = target[draw.rows].to(self.mean.device)
            generator = np.random.default_rng(draw.seed)
            volumes[draw.turned] = rotated_at_random(volumes[draw.turned], generator)
            with seeded(draw.seed, self.mean.device):
                features = self.encoder(volumes)
            return {"loss": self._criterion(features, targets[draw.rows])}

        return loss

    def _criterion(self, features: Tensor, targets: Tensor) -> Tensor:
        logits = self.head(features).float()[:, : targets.shape[1]]
        if self.params.loss == "hinge":
            return categorical_hinge(logits.softmax(1), targets)
        return nn.functional.cross_entropy(logits, targets)

    def _begin_head(self, directions: Floats, offsets: Floats) -> None:
        """Make the last layer anew, for another number of groups: by what tells these apart."""
        with torch.no_grad():
            self.head.weight[: len(offsets)] = torch.from_numpy(directions)
            self.head.bias[: len(offsets)] = torch.from_numpy(offsets)

    def _hold(self, mean: Floats, axes: Floats, groups: Mixture) -> None:
        """Take in how features become groups."""
        self.found.fill_(groups.count)
        self.mean.copy_(torch.from_numpy(mean))
        self.axes.copy_(torch.from_numpy(axes))
        for name in ("weights", "means", "precisions"):
            getattr(self, name)[: groups.count] = torch.from_numpy(getattr(groups, name))

    def _name_groups(self) -> None:
        self.classes = tuple(f"cluster {i + 1}" for i in range(int(self.found)))


def _encoder(params: DiscaParams, box: int) -> YOPO | StridedEncoder:
    match params.network:
        case "small":
            return YOPO.small(box, noise=params.noise)
        case "yopo":
            return YOPO(box, noise=params.noise)
        case "embedding":
            return StridedEncoder(box, params.width)


def _features(method: Disca, target: Subtomograms) -> Job[Floats]:
    parts = []
    batches = np.array_split(np.arange(len(target)), math.ceil(len(target) / _READ))
    for done, rows in enumerate(batches):
        parts.append(method.embed(target[rows]).cpu())
        yield Progress("looking at the particles", done + 1, len(batches))
    return torch.cat(parts).double().numpy()
