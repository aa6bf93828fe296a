"""Which voxels of a tomogram are particle, learnt from groups that a person chose."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree

from .devices import best_device
from .label_volume import paint
from .methods.autoencoder import Autoencoder, AutoencoderParams
from .methods.autoencoder_segmentation import SegmentationParams, learn_segmentation
from .networks.edss3d import EDSS3D
from .progress import Job, Progress
from .types import Particles, Subtomograms, Tomogram, TrainingData
from .workflows import crop_for, held_for, shipped_checkpoint, train

_READ = 32
_TRIED = 20
"""Places that are drawn for each one wanted, as most may lie on particles."""

QUICK = SegmentationParams(filters=8, passes=40, batch=16, learning_rate=3e-3)
"""For a processor."""

_DRAWING = AutoencoderParams(clusters=1, restarts=1, filters=8, passes=40, batch=16)

Labels = npt.NDArray[np.uint8]


def segment(
    tomogram: Tomogram,
    particles: Particles,
    classes: npt.NDArray[np.int64],
    params: SegmentationParams = QUICK,
) -> Job[Labels]:
    """Mark the voxels of particles in a whole tomogram (Zeng et al. 2018).

    An autoencoder learns to draw the particles without their noise; a network, which voxels of the
    chosen ones are bright in that; and it looks at one small box of the tomogram after the other.
    Besides the particles that were not chosen, it learns from places where none is.

    Parameters
    ----------
    tomogram
        Where the particles are.
    particles
        n of them; positions in its voxels.
    classes
        (n,) 1 for the first group that was chosen, 2 for the second and so on up to 255; 0 for
        particles of no chosen group.
    params
        Of the network.

    Returns
    -------
    ndarray
        (z, y, x) class of each voxel of the tomogram, 0 for none: one byte a voxel.

    Raises
    ------
    ValueError
        If fewer than two particles are chosen, there are too many groups, or a particle lies
        outside the tomogram.
    """
    highest = int(classes.max(initial=0))
    if highest > np.iinfo(np.uint8).max:
        raise ValueError(f"{highest} groups were chosen; choose 255 or fewer")
    if (chosen := int((classes > 0).sum())) < 2:
        raise ValueError(f"the chosen groups have {chosen} members; choose larger ones")
    checkpoint = shipped_checkpoint()
    apart = checkpoint.box * checkpoint.voxel_size / tomogram.voxel_size / 2
    empty = _empty_places(tomogram, particles, apart, chosen, params.seed)
    places = Particles.at(np.concatenate([particles.positions, empty]))
    volumes = yield from held_for(tomogram, places, checkpoint)
    seen = Subtomograms.from_memory(volumes[np.arange(len(particles))], volumes.voxel_size)
    drawing = yield from train("autoencoder", _DRAWING, TrainingData(target=seen))
    method = drawing.build().to(best_device())
    assert isinstance(method, Autoencoder)
    classes = np.concatenate([classes, np.zeros(len(empty), dtype=np.int64)])
    network = yield from learn_segmentation(method, volumes, classes, params)
    return (yield from _marked(tomogram, network, method.centres.device))


def _marked(tomogram: Tomogram, network: EDSS3D, device: torch.device) -> Job[Labels]:
    """Let a network look at a tomogram, one box beside the other."""
    checkpoint = shipped_checkpoint()
    step = checkpoint.voxel_size / tomogram.voxel_size
    # Of each box the inner half is kept: what lies at its faces is seen from one side only.
    side = checkpoint.box // 2
    first = checkpoint.box // 2 - side // 2
    inner = slice(first, first + side)
    axes = [_centres(length, side, step) for length in tomogram.shape]
    centres = np.array(list(itertools.product(*axes)))
    boxes = crop_for(tomogram, Particles.at(centres), checkpoint)
    volume = np.zeros(tomogram.shape, dtype=np.uint8)
    batches = np.array_split(np.arange(len(centres)), math.ceil(len(centres) / _READ))
    network.eval()
    for done, rows in enumerate(batches, start=1):
        with torch.no_grad():
            logits = network(boxes[rows].to(device))
        marked = logits[:, :, inner, inner, inner].argmax(1).to(torch.uint8).cpu().numpy()
        paint(volume, marked, centres[rows], step=step)
        yield Progress("marking the particles", done, len(batches))
    return volume


def _empty_places(
    tomogram: Tomogram, particles: Particles, apart: float, count: int, seed: int
) -> npt.NDArray[np.float64]:
    """Draw ``count`` positions at most that lie so many voxels from every particle."""
    generator = np.random.default_rng(seed)
    drawn = generator.uniform(0, np.subtract(tomogram.shape, 1), (_TRIED * count, 3))
    away, _ = cKDTree(particles.positions).query(drawn)
    return drawn[away > apart][:count]


def _centres(length: int, side: int, step: float) -> npt.NDArray[np.float64]:
    """Place boxes of ``side`` voxels of ``step`` so that they cover an axis, centres inside it."""
    first = (side // 2 + 0.5) * step - 0.5
    last = length - 0.5 - (side - side // 2 - 0.5) * step
    count = math.ceil(length / (side * step))
    return np.linspace(first, max(first, last), count).clip(0, length - 1)
