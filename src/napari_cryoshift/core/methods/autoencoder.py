"""The autoencoder: groups of particles by k-means on what it takes to draw them again."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from napari_cryoshift.core.clustering import kmeans
from napari_cryoshift.core.epochs import BestEpoch, epochs
from napari_cryoshift.core.losses import squared_distances
from napari_cryoshift.core.networks.autoencoder3d import Autoencoder3D
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import seeded, shuffled
from napari_cryoshift.core.types import Subtomograms, TrainingData

from .base import Method, MethodParams

_READ = 64
_RESTARTS = 10
"""Of k-means, between two reports."""


class AutoencoderParams(MethodParams):
    """Parameters of `Autoencoder`, by default those of the paper."""

    clusters: int = Field(
        10, ge=1, le=1000, title="Groups", description="How many are made; 100 in the paper."
    )
    width: int = Field(
        32, ge=1, le=4096, title="Embedding", description="Features a particle is drawn from."
    )
    filters: int = Field(
        32, ge=1, le=512, title="Filters", description="Of each convolution; fewer are faster."
    )
    sparsity: float = Field(
        1e-4,
        ge=0,
        title="Sparsity",
        description="Weight of the sum of features beside the mean squared error of a voxel.",
    )
    passes: int = Field(
        100, ge=1, title="Epochs", description="How often each particle is seen, at most."
    )
    patience: int = Field(
        20,
        ge=1,
        title="Patience",
        description="Epochs in a row without a better one after which training ends.",
    )
    batch: int = Field(128, ge=1, title="Batch", description="Volumes a step.")
    learning_rate: float = Field(
        1e-3, gt=0, le=1, title="Learning rate", description="Of Adam, constant."
    )
    restarts: int = Field(
        100, ge=1, title="Starts", description="Of k-means, of which the best is kept."
    )


class Autoencoder(Method):
    """Compress each particle to 32 numbers, from which it is drawn again (Zeng et al. 2018).

    What is held out, one particle in ten, chooses the epoch. Groups are made by k-means, which is
    a mixture of equally common Gaussians of one variance; so `predict` gives the probabilities
    under that.
    """

    name: ClassVar[str] = "autoencoder"
    title: ClassVar[str] = "Coarse groups"
    description: ClassVar[str] = (
        "Sorts the picked particles into coarse groups, such as globules and membranes, without a "
        "label, and draws the typical one of each: 10 minutes or more on a processor."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"target"})
    params_type: ClassVar[type[AutoencoderParams]] = AutoencoderParams

    params: AutoencoderParams
    centres: Tensor
    variance: Tensor

    def __init__(self, params: AutoencoderParams, box: int, classes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.params, self.box, self.classes = params, box, classes
        with seeded(params.seed, torch.device("cpu")):
            self.network = Autoencoder3D(box, params.width, params.filters)
        self.register_buffer("centres", torch.zeros(params.clusters, params.width))
        self.register_buffer("variance", torch.ones(()))

    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Learn to draw the target, and group it.

        Parameters
        ----------
        data
            ``target``, whose labels are not looked at.
        bookmark
            To go on with a run that was stopped.

        Raises
        ------
        ValueError
            If there is no target, or it is smaller than the number of groups.
        """
        p, target = self.params, data.need("target")
        if len(target) < max(p.clusters, 2):
            raise ValueError(
                f"{len(target)} particles are too few for {p.clusters} groups; "
                "pick more or ask for fewer groups"
            )
        yield from self._learn(target, bookmark or Bookmark())
        yield from self._group(target)

    def embed(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, e), values from 0 on."""
        self.eval()
        with torch.no_grad():
            vectors: Tensor = self.network.encoder(volumes.to(self.centres.device))
        return vectors.float()

    def decode(self, vectors: Tensor) -> Tensor:
        """(n, e) → (n, d, d, d), the volumes that such vectors stand for."""
        self.eval()
        with torch.no_grad():
            volumes: Tensor = self.network.decoder(vectors.to(self.centres.device))
        return volumes.float()

    def predict(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, k) probabilities of the groups.

        Raises
        ------
        ValueError
            If it was not trained yet.
        """
        if not self.classes:
            raise ValueError("0 groups are known; fit with picked particles first")
        distances = squared_distances(self.embed(volumes), self.centres)
        return (-distances / (2 * self.variance)).softmax(1)

    def typical(self) -> Tensor:
        """(k, d, d, d) what stands in the middle of each group."""
        return self.decode(self.centres)

    def views(self, volumes: Tensor) -> Mapping[str, Tensor]:
        """(n, d, d, d) → the same as they are drawn again."""
        return {"drawn again": self.decode(self.embed(volumes))}

    def _learn(self, target: Subtomograms, bookmark: Bookmark) -> Job[None]:
        p, device = self.params, self.centres.device
        generator = np.random.default_rng(p.seed)
        rows = generator.permutation(len(target))
        held_out, learnt = np.split(rows, [max(1, len(rows) // 10)])
        iterations = math.ceil(len(learnt) / p.batch)
        trained = copy.deepcopy(self)
        optimiser = torch.optim.Adam(trained.network.parameters(), p.learning_rate)
        best = BestEpoch(self, trained, optimiser, patience=p.passes, factor=1.0)

        def terms(some: npt.NDArray[np.int64]) -> dict[str, Tensor]:
            volumes = target[some].to(device)
            vectors, drawn = trained.network(volumes)
            error = nn.functional.mse_loss(drawn.float(), volumes)
            sum_of_features = vectors.float().sum(1).mean()  # they are not negative
            return {"loss": error + p.sparsity * sum_of_features, "error": error}

        def criterion() -> Job[float]:
            total = 0.0
            for some in np.array_split(held_out, math.ceil(len(held_out) / _READ)):
                with torch.no_grad():
                    total += len(some) * float(terms(some)["loss"])
                yield Progress(_LEARNING, bookmark.step, p.passes * iterations)
            return total / len(held_out)

        if bookmark.begin(trained=trained, optimiser=optimiser, best=best):
            batches = (learnt[some] for some in shuffled(len(learnt), p.batch, generator))
            yield from epochs(
                optimiser,
                itertools.islice(batches, bookmark.step, None),
                terms,
                phase=_LEARNING,
                count=p.passes,
                iterations=iterations,
                best=best,
                criterion=criterion,
                bookmark=bookmark,
                give_up=p.patience,
            )

    def _group(self, target: Subtomograms) -> Job[None]:
        p = self.params
        parts = []
        for rows in np.array_split(np.arange(len(target)), math.ceil(len(target) / _READ)):
            parts.append(self.embed(target[rows]).cpu())
            yield Progress("looking at the particles", rows[-1] + 1, len(target))
        vectors = torch.cat(parts).double().numpy()
        fits = []
        for done in range(0, p.restarts, _RESTARTS):
            some = min(_RESTARTS, p.restarts - done)
            fits.append(kmeans(vectors, p.clusters, seed=p.seed + done, restarts=some))
            yield Progress("grouping", done + some, p.restarts)
        best = min(fits, key=lambda fit: fit.variance)
        self.centres.copy_(torch.from_numpy(best.centres))
        self.variance.fill_(max(best.variance, 1e-12))
        self.classes = tuple(f"cluster {i + 1}" for i in range(p.clusters))


_LEARNING = "learning to draw the particles"
