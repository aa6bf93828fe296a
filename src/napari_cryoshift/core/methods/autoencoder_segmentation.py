"""Which voxels around the particles of chosen groups are particle: by EDSS3D, from no label."""

from __future__ import annotations

import copy
import math

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from napari_cryoshift.core.epochs import BestEpoch, epochs
from napari_cryoshift.core.networks.edss3d import EDSS3D
from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import seeded, shuffled
from napari_cryoshift.core.types import Subtomograms
from napari_cryoshift.core.volumes import standardise

from .autoencoder import Autoencoder

_READ = 64
_UNKNOWN = -100
"""Where nothing is learnt."""


class SegmentationParams(Params):
    """Parameters of `learn_segmentation`."""

    threshold: float = Field(
        1.0,
        gt=-10,
        lt=10,
        title="Threshold",
        description=(
            "What is brighter in a particle as the autoencoder draws it is particle; in standard "
            "deviations above its mean."
        ),
    )
    filters: int = Field(32, ge=1, le=512, title="Filters", description="Of each convolution.")
    passes: int = Field(
        100, ge=1, title="Epochs", description="How often each volume is seen, at most."
    )
    patience: int = Field(
        20,
        ge=1,
        title="Patience",
        description="Epochs in a row without a better one after which training ends.",
    )
    batch: int = Field(32, ge=1, title="Batch", description="Volumes a step.")
    learning_rate: float = Field(
        1e-3, gt=0, le=1, title="Learning rate", description="Of Adam, constant."
    )
    seed: int = Field(0, ge=0, title="Seed", description="Same seed, same result (on a CPU).")


def learn_segmentation(
    method: Autoencoder,
    volumes: Subtomograms,
    classes: npt.NDArray[np.int64],
    params: SegmentationParams = SegmentationParams(),  # noqa: B008 (frozen)
) -> Job[EDSS3D]:
    """Train a network to say which voxels are particle.

    It learns from the volumes of the classes that are particles, in which the bright part of what
    the autoencoder draws is of that class, and from as many others, in which nothing is (Zeng et
    al. 2018). Each is moved at random, all around, as a tile of a tomogram holds particles
    anywhere.

    Parameters
    ----------
    method
        Trained on such volumes.
    volumes
        n of them.
    classes
        (n,) from 1 on, one or more for each class up to the highest; 0 is no particle.
    params
        Of the training.

    Returns
    -------
    EDSS3D
        (b, d, d, d) → logits (b, classes, d, d, d), the first of them for nothing.

    Raises
    ------
    ValueError
        If there are fewer than two particles, or none of some class.
    """
    if len(classes) != len(volumes):
        raise ValueError(f"{len(volumes)} volumes but {len(classes)} classes; give one a volume")
    rows = np.flatnonzero(classes)
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} particles are too few to learn from; choose larger groups")
    count = int(classes.max()) + 1
    if missing := sorted(set(range(1, count)) - set(classes.tolist())):
        raise ValueError(f"class {missing[0]} has 0 particles; number the classes from 1 on")
    generator = np.random.default_rng(params.seed)
    device = method.centres.device
    others = generator.permutation(np.flatnonzero(classes == 0))[: len(rows)]
    rows = generator.permutation(np.concatenate([rows, others]))
    held_out, learnt = np.split(rows, [max(1, len(rows) // 10)])
    with seeded(params.seed, torch.device("cpu")):
        kept = EDSS3D(count, params.filters).to(device)
    trained = copy.deepcopy(kept)
    optimiser = torch.optim.Adam(trained.parameters(), params.learning_rate)
    best = BestEpoch(kept, trained, optimiser, patience=params.passes, factor=1.0)
    iterations = math.ceil(len(learnt) / params.batch)
    phase, bookmark = "learning which voxels are particle", Bookmark()
    # Around a particle there may be others, which the autoencoder does not draw.
    inner = slice(volumes.box // 8, volumes.box - volumes.box // 8)
    # Most voxels are none; but if each class counted alike, too many would be particle.
    brightness = yield from _brightness(method, volumes, learnt, params.threshold)
    shares = np.bincount(classes[learnt], brightness, count) / len(learnt)
    shares[0] = 1 - shares[1:].sum()
    weights = torch.from_numpy(shares.clip(1e-6) ** -0.5).float().to(device)

    def read(some: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        seen = volumes[some].to(device)
        bright = _bright(method, seen, params.threshold)
        wanted = torch.full(seen.shape, _UNKNOWN, device=device)
        of_each = torch.from_numpy(classes[some]).to(device)[:, None, None, None]
        wanted[:, inner, inner, inner] = (bright * of_each)[:, inner, inner, inner]
        return seen, wanted

    def loss(seen: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        logits = trained(seen).float()
        error = nn.functional.cross_entropy(logits, wanted, weights, ignore_index=_UNKNOWN)
        return {"loss": error}

    def moved(some: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        shifts = generator.integers(volumes.box, size=(len(some), 3)).tolist()
        seen, wanted = (
            torch.stack([one.roll(by, (0, 1, 2)) for one, by in zip(part, shifts, strict=True)])
            for part in read(some)
        )
        return loss(seen, wanted)

    def criterion() -> Job[float]:
        total = 0.0
        for some in np.array_split(held_out, math.ceil(len(held_out) / _READ)):
            with torch.no_grad():
                total += len(some) * float(loss(*read(some))["loss"])
            yield Progress(phase, bookmark.step, params.passes * iterations)
        return total / len(held_out)

    bookmark.begin()
    yield from epochs(
        optimiser,
        (learnt[some] for some in shuffled(len(learnt), params.batch, generator)),
        moved,
        phase=phase,
        count=params.passes,
        iterations=iterations,
        best=best,
        criterion=criterion,
        bookmark=bookmark,
        give_up=params.patience,
    )
    return kept


def _bright(method: Autoencoder, volumes: Tensor, threshold: float) -> Tensor:
    """Say which voxels are bright in volumes as they are drawn again."""
    return standardise(method.decode(method.embed(volumes))) > threshold


def _brightness(
    method: Autoencoder, volumes: Subtomograms, rows: npt.NDArray[np.int64], threshold: float
) -> Job[npt.NDArray[np.float64]]:
    """Tell the share of bright voxels of some of the volumes."""
    batches = np.array_split(rows, math.ceil(len(rows) / _READ))
    shares: list[npt.NDArray[np.float64]] = []
    for done, some in enumerate(batches, start=1):
        bright = _bright(method, volumes[some], threshold)
        shares.append(bright.double().mean((1, 2, 3)).cpu().numpy())
        yield Progress("looking at the particles", done, len(batches))
    return np.concatenate(shares)
