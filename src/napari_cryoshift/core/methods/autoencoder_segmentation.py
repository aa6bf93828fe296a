"""Which voxels are of chosen particles: drawn by the autoencoder, then learnt by EDSS3D."""

from __future__ import annotations

import copy
import math

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy import ndimage
from torch import Tensor, nn

from napari_cryoshift.core.epochs import BestEpoch, epochs
from napari_cryoshift.core.networks.edss3d import EDSS3D
from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import seeded, shuffled
from napari_cryoshift.core.types import Subtomograms
from napari_cryoshift.core.volumes import half_turned

from .autoencoder import Autoencoder

_READ = 64


class SegmentationParams(Params):
    """Parameters of `draw_particles` and `learn_segmentation`."""

    threshold: float = Field(
        0.35,
        gt=0,
        lt=1,
        title="Threshold",
        description=(
            "What is brighter in a particle as the autoencoder draws it is particle; 0 is the "
            "median of the volume, 1 its brightest voxel near the centre."
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


def draw_particles(
    method: Autoencoder, volumes: Subtomograms, threshold: float
) -> Job[npt.NDArray[np.bool_]]:
    """Say which voxels are of the particle at the centre of each volume.

    They are bright as the autoencoder draws them (Zeng et al. 2018), and hang together: what is
    bright beside them is of a neighbour.

    Parameters
    ----------
    method
        Trained on such volumes.
    volumes
        n of them, with sides of d voxels.
    threshold
        As in `SegmentationParams`.

    Returns
    -------
    ndarray
        (n, d, d, d).
    """
    middle = slice(volumes.box // 4, volumes.box - volumes.box // 4)
    batches = np.array_split(np.arange(len(volumes)), math.ceil(len(volumes) / _READ))
    masks: list[npt.NDArray[np.bool_]] = []
    for done, rows in enumerate(batches, start=1):
        for drawn in method.decode(method.embed(volumes[rows])).cpu().numpy():
            low, high = np.median(drawn), drawn[middle, middle, middle].max()
            pieces, count = ndimage.label(drawn > low + threshold * (high - low))
            sizes = np.bincount(pieces[middle, middle, middle].ravel(), minlength=count + 1)
            sizes[0] = 0
            masks.append(pieces == max(1, sizes.argmax()))
        yield Progress("looking at the particles", done, len(batches))
    return np.array(masks)


def learn_segmentation(
    volumes: Subtomograms,
    labels: npt.NDArray[np.uint8],
    params: SegmentationParams,
    device: torch.device,
) -> Job[EDSS3D]:
    """Train a network to say which voxels are particle (Zeng et al. 2018).

    Each volume is seen as it is or by half turns, which leave a missing wedge where it is. In the
    end the answers are shifted so that as many voxels are marked as have labels: a class counts by
    one over its share of voxels, or nothing of it would be learnt, but a network that
    is not sure then marks far too much.

    Parameters
    ----------
    volumes
        n of them, with sides of d voxels.
    labels
        (n, d, d, d) class of each voxel, from 1 on; 0 is no particle.
    params
        Of the training.
    device
        Where it is trained.

    Returns
    -------
    EDSS3D
        (b, d, d, d) → logits (b, classes, d, d, d), the first of them for nothing. It is right in
        the `inner` of a volume.

    Raises
    ------
    ValueError
        If there are fewer than two volumes, or labels of another shape.
    """
    if len(volumes) < 2 or labels.shape != (len(volumes), *(volumes.box,) * 3):
        raise ValueError(
            f"{len(volumes)} volumes with sides of {volumes.box} voxels but labels of shape "
            f"{labels.shape}; give two or more volumes, and a label a voxel"
        )
    count = max(2, int(labels.max()) + 1)  # where nothing is drawn, nothing is marked
    generator = np.random.default_rng(params.seed)
    rows = generator.permutation(len(volumes))
    held_out, learnt = np.split(rows, [max(1, len(rows) // 10)])
    with seeded(params.seed, torch.device("cpu")):
        kept = EDSS3D(count, params.filters).to(device)
    trained = copy.deepcopy(kept)
    optimiser = torch.optim.Adam(trained.parameters(), params.learning_rate)
    best = BestEpoch(kept, trained, optimiser, patience=params.passes, factor=1.0)
    iterations = math.ceil(len(learnt) / params.batch)
    phase, bookmark = "learning which voxels are particle", Bookmark()
    part = inner(volumes.box)

    def read(some: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return volumes[some].to(device), torch.from_numpy(labels[some]).long().to(device)

    # Most voxels are none, and would be all that is learnt if each counted alike.
    shares = np.bincount(labels[:, *part].ravel(), minlength=count) / labels[:, *part].size
    weights = torch.from_numpy(1 / shares.clip(1e-6)).float().to(device)

    def loss(seen: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        logits = trained(seen).float()[:, :, *part]
        return {"loss": nn.functional.cross_entropy(logits, wanted[:, *part], weights)}

    def turned(some: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        turn = generator.integers(4)
        seen, wanted = (half_turned(one)[turn] for one in read(some))
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
        turned,
        phase=phase,
        count=params.passes,
        iterations=iterations,
        best=best,
        criterion=criterion,
        bookmark=bookmark,
        give_up=params.patience,
    )
    yield from _mark_as_many(kept, volumes, labels)
    return kept


def inner(box: int) -> tuple[slice, slice, slice]:
    """Where in a box of such a side enough is seen all around to say what is there."""
    return (slice(box // 6, box - box // 6),) * 3


def _mark_as_many(
    network: EDSS3D, volumes: Subtomograms, labels: npt.NDArray[np.uint8]
) -> Job[None]:
    """Shift the logits of each class so that it wins in as many voxels as have its label."""
    part = inner(volumes.box)
    last = network.layers[-1]
    assert isinstance(last, nn.Conv3d)
    assert last.bias is not None
    margins: list[Tensor] = []
    batches = np.array_split(np.arange(len(volumes)), math.ceil(len(volumes) / _READ))
    for done, rows in enumerate(batches, start=1):
        with torch.no_grad():
            logits = network(volumes[rows].to(last.weight.device)).float()[:, :, *part]
        others = [
            logits[:, np.delete(np.arange(logits.shape[1]), one)].amax(1)
            for one in range(1, logits.shape[1])
        ]
        margins.append((logits[:, 1:] - torch.stack(others, 1)).cpu())
        yield Progress("looking at what is marked", done, len(batches))
    for one in range(1, last.out_channels):
        share = float((labels[:, *part] == one).mean())
        at_stake = np.concatenate([margin[:, one - 1].numpy().ravel() for margin in margins])
        with torch.no_grad():
            last.bias[one] -= float(np.quantile(at_stake, 1 - share))
