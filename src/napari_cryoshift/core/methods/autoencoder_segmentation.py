"""Which voxels around the particles of chosen groups are particle: by EDSS3D, from no label."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

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


class SegmentationParams(Params):
    """Parameters of `segment_groups`."""

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


def segment_groups(
    method: Autoencoder,
    volumes: Subtomograms,
    chosen: Sequence[int],
    params: SegmentationParams = SegmentationParams(),  # noqa: B008 (frozen)
) -> Job[npt.NDArray[np.int16]]:
    """Train a network on the groups that a person chose, and mark the particles by it.

    It learns from the volumes of the chosen groups, in which the bright part of what the
    autoencoder draws is class 1 for the first chosen group, 2 for the second and so on, and from
    as many others, in which nothing is (Zeng et al. 2018).

    Parameters
    ----------
    method
        Trained on these volumes.
    volumes
        n of them.
    chosen
        Groups that are particles, counted from 0.
    params
        Of the training.

    Returns
    -------
    ndarray
        (n, d, d, d) class of each voxel, 0 for none; see `label_volume.painted`.

    Raises
    ------
    ValueError
        If no group is chosen, there is no such group, or the chosen ones have no member.
    """
    if not chosen or not set(chosen) <= set(range(len(method.classes))):
        raise ValueError(
            f"groups {list(chosen)} were chosen of {len(method.classes)}; "
            "choose at least one of those there are"
        )
    groups, brightness = yield from _looked_at(method, volumes, params.threshold)
    generator = np.random.default_rng(params.seed)
    device = method.centres.device
    number = np.zeros(len(method.classes), dtype=np.int64)
    number[list(chosen)] = np.arange(len(chosen)) + 1
    classes = number[groups]
    rows = np.flatnonzero(classes)
    if len(rows) < 2:
        raise ValueError(f"the chosen groups have {len(rows)} members; choose larger ones")
    others = generator.permutation(np.flatnonzero(classes == 0))[: len(rows)]
    rows = generator.permutation(np.concatenate([rows, others]))
    held_out, learnt = np.split(rows, [max(1, len(rows) // 10)])
    with seeded(params.seed, torch.device("cpu")):
        kept = EDSS3D(len(chosen) + 1, params.filters).to(device)
    trained = copy.deepcopy(kept)
    optimiser = torch.optim.Adam(trained.parameters(), params.learning_rate)
    best = BestEpoch(kept, trained, optimiser, patience=params.passes, factor=1.0)
    iterations = math.ceil(len(learnt) / params.batch)
    phase, bookmark = "learning which voxels are particle", Bookmark()
    # Each class counts alike, for most voxels are none.
    shares = np.bincount(classes[learnt], brightness[learnt], len(chosen) + 1) / len(learnt)
    shares[0] = 1 - shares[1:].sum()
    weights = torch.from_numpy(1 / shares.clip(1e-6)).float().to(device)

    def loss(some: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        read = volumes[some].to(device)
        bright = _bright(method, read, params.threshold)
        wanted = bright * torch.from_numpy(classes[some]).to(device)[:, None, None, None]
        return {"loss": nn.functional.cross_entropy(trained(read).float(), wanted, weights)}

    def criterion() -> Job[float]:
        total = 0.0
        for some in np.array_split(held_out, math.ceil(len(held_out) / _READ)):
            with torch.no_grad():
                total += len(some) * float(loss(some)["loss"])
            yield Progress(phase, bookmark.step, params.passes * iterations)
        return total / len(held_out)

    bookmark.begin()
    yield from epochs(
        optimiser,
        (learnt[some] for some in shuffled(len(learnt), params.batch, generator)),
        loss,
        phase=phase,
        count=params.passes,
        iterations=iterations,
        best=best,
        criterion=criterion,
        bookmark=bookmark,
        give_up=params.patience,
    )
    parts = []
    for some in _batches(len(volumes)):
        with torch.no_grad():
            logits = kept(volumes[some].to(device))
        parts.append(logits.argmax(1).cpu().numpy().astype(np.int16))
        yield Progress("marking the particles", some[-1] + 1, len(volumes))
    return np.concatenate(parts)


def _bright(method: Autoencoder, volumes: Tensor, threshold: float) -> Tensor:
    """Say which voxels are bright in volumes as they are drawn again."""
    return standardise(method.decode(method.embed(volumes))) > threshold


def _looked_at(
    method: Autoencoder, volumes: Subtomograms, threshold: float
) -> Job[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Tell group and share of bright voxels of each volume."""
    groups, brightness = [], []
    for some in _batches(len(volumes)):
        read = volumes[some]
        groups.append(method.predict(read).argmax(1).cpu().numpy())
        bright = _bright(method, read, threshold)
        brightness.append(bright.double().mean((1, 2, 3)).cpu().numpy())
        yield Progress("looking at the particles", some[-1] + 1, len(volumes))
    return np.concatenate(groups), np.concatenate(brightness)


def _batches(count: int) -> list[npt.NDArray[np.int64]]:
    return np.array_split(np.arange(count), math.ceil(count / _READ))
