"""Which voxels of a tomogram are particle, learnt from groups that a person chose."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from .devices import best_device
from .label_volume import paint
from .methods.autoencoder import Autoencoder, AutoencoderParams
from .methods.autoencoder_segmentation import (
    SegmentationParams,
    draw_particles,
    inner,
    learn_segmentation,
)
from .networks.edss3d import EDSS3D
from .progress import Job, Progress
from .types import Particles, Tomogram, TrainingData
from .workflows import crop_for, held_for, shipped_checkpoint, train

_READ = 32
_TRIED = 20
"""Places that are drawn for each one wanted, as most may lie on particles."""

_VIEWS = 2
"""Boxes that are learnt from for each particle, in each of which it lies elsewhere."""

_MOST = 150
"""Particles of a group whose boxes are learnt from, lest time and memory grow with the group."""

_SMALLEST = 0.25
"""Of the median size of the particles: what is marked and smaller is none."""

QUICK = SegmentationParams(filters=8, passes=12, batch=4, learning_rate=3e-3)
"""For a processor."""

_DRAWING = AutoencoderParams(clusters=1, restarts=1, filters=8, passes=30, batch=4)

Labels = npt.NDArray[np.uint8]


def segment(
    tomogram: Tomogram,
    particles: Particles,
    classes: npt.NDArray[np.int64],
    params: SegmentationParams = QUICK,
) -> Job[Labels]:
    """Mark the voxels of particles in a whole tomogram (Zeng et al. 2018).

    An autoencoder learns to draw the chosen particles without their noise; a network, which voxels
    are bright in that. It learns from boxes around them, around others that were not chosen and
    where none is, in all of which the voxels of each chosen particle have its class. Then it looks
    at one box of the tomogram after the other. Pieces far smaller than the particles are dropped,
    and pieces that hold particles that were not chosen, and none that was.

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
        If fewer than two particles are chosen, there are too many groups, one has no particle, or
        a particle lies outside the tomogram.
    """
    highest = int(classes.max(initial=0))
    if highest > np.iinfo(np.uint8).max:
        raise ValueError(f"{highest} groups were chosen; choose 255 or fewer")
    if (chosen := int((classes > 0).sum())) < 2:
        raise ValueError(f"the chosen groups have {chosen} members; choose larger ones")
    if missing := sorted(set(range(1, highest + 1)) - set(classes.tolist())):
        raise ValueError(f"class {missing[0]} has 0 particles; number the classes from 1 on")
    checkpoint = shipped_checkpoint()
    step = checkpoint.voxel_size / tomogram.voxel_size
    rows = np.flatnonzero(classes)
    seen = yield from held_for(tomogram, particles.take(rows), checkpoint)
    drawing = yield from train("autoencoder", _DRAWING, TrainingData(target=seen))
    method = drawing.build().to(best_device())
    assert isinstance(method, Autoencoder)
    masks = yield from draw_particles(method, seen, params.threshold)
    shapes = masks.astype(np.uint8) * classes[rows, None, None, None].astype(np.uint8)
    places = _places(tomogram, particles, classes, checkpoint.box * step, params.seed)
    labels = _labels(places, particles.positions[rows], shapes, step)
    volumes = yield from held_for(tomogram, Particles.at(places), checkpoint)
    network = yield from learn_segmentation(volumes, labels, params, method.centres.device)
    marked = yield from _marked(tomogram, network, method.centres.device)
    sizes = masks.sum((1, 2, 3)) * step**3
    smallest = [_SMALLEST * np.median(sizes[classes[rows] == one]) for one in range(1, highest + 1)]
    yield from _keep_particles(marked, particles, classes, smallest)
    return marked


def _places(
    tomogram: Tomogram,
    particles: Particles,
    classes: npt.NDArray[np.int64],
    side: float,
    seed: int,
) -> npt.NDArray[np.float64]:
    """Draw centres of boxes to learn from: of as many with each of the three sorts of centre."""
    generator = np.random.default_rng(seed)
    groups = [np.flatnonzero(classes == one) for one in range(1, int(classes.max()) + 1)]
    chosen = np.concatenate([generator.permutation(group)[:_MOST] for group in groups])
    others = np.flatnonzero(classes == 0)
    rows = np.tile(chosen, _VIEWS)
    empty = _empty_places(tomogram, particles, side / 2, len(rows), seed)
    if len(others):
        rows = np.concatenate([rows, generator.choice(others, len(rows))])
    # As far off the centre as the inner half of the box is wide, for a tile has them anywhere.
    away = generator.uniform(-side / 4, side / 4, (len(rows), 3))
    near = (particles.positions[rows] + away).clip(0, np.subtract(tomogram.shape, 1))
    return np.concatenate([near, empty])


def _labels(
    places: npt.NDArray[np.float64],
    positions: npt.NDArray[np.float64],
    shapes: npt.NDArray[np.uint8],
    step: float,
) -> Labels:
    """Paint the shapes (n, d, d, d) of particles at n positions into boxes (m, d, d, d)."""
    box = shapes.shape[-1]
    labels = np.zeros((len(places), *shapes.shape[1:]), dtype=np.uint8)
    tree = cKDTree(positions)
    for volume, place in zip(labels, places, strict=True):
        rows = np.array(tree.query_ball_point(place, box * step, p=np.inf), dtype=np.int64)
        away = positions[rows] - place
        nearest = np.square(away).sum(1).argsort()
        paint(volume, shapes[rows[nearest]], away[nearest] / step + box // 2, step=1.0)
    return labels


def _marked(tomogram: Tomogram, network: EDSS3D, device: torch.device) -> Job[Labels]:
    """Let a network look at a tomogram, one box beside the other."""
    checkpoint = shipped_checkpoint()
    step = checkpoint.voxel_size / tomogram.voxel_size
    # What lies at the faces of a box is seen from one side only.
    part = inner(checkpoint.box)
    axes = [_centres(length, part[0].stop - part[0].start, step) for length in tomogram.shape]
    centres = np.array(list(itertools.product(*axes)))
    boxes = crop_for(tomogram, Particles.at(centres), checkpoint)
    volume = np.zeros(tomogram.shape, dtype=np.uint8)
    batches = np.array_split(np.arange(len(centres)), math.ceil(len(centres) / _READ))
    network.eval()
    for done, rows in enumerate(batches, start=1):
        with torch.no_grad():
            logits = network(boxes[rows].to(device))[:, :, *part]
        paint(volume, logits.argmax(1).to(torch.uint8).cpu().numpy(), centres[rows], step=step)
        yield Progress("marking the particles", done, len(batches))
    return volume


def _keep_particles(
    marked: Labels,
    particles: Particles,
    classes: npt.NDArray[np.int64],
    smallest: list[float],
) -> Job[None]:
    """Unmark, in place, pieces that are too small or that hold only particles not chosen."""
    nearest = np.rint(particles.positions).astype(np.int64).clip(0, np.subtract(marked.shape, 1))
    for number, least in enumerate(smallest, start=1):
        pieces, count = ndimage.label(marked == number)
        held = pieces[tuple(nearest.T)]
        kept = np.bincount(pieces.ravel(), minlength=count + 1) >= least
        kept[np.setdiff1d(held[classes != number], held[classes == number])] = False
        kept[0] = False
        marked[(marked == number) & ~kept[pieces]] = 0
        yield Progress("keeping what is a particle", number, len(smallest))


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
