import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from napari_cryoshift.core import segmentation
from napari_cryoshift.core.methods.autoencoder_segmentation import (
    SegmentationParams,
    draw_particles,
    inner,
    learn_segmentation,
)
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.segmentation import QUICK, segment
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram

SHAPE = (40, 120, 160)
PLACES = np.array([(20, y, x) for y in (20, 60, 100) for x in (20, 60, 100, 140)], dtype=float)
BALLS, RODS = PLACES[::2], PLACES[1::2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tomogram():
    """Six balls of 70 Å radius and six rods of 40 Å radius and 220 Å length, dark in some noise."""
    z, y, x = np.mgrid[-11:12, -11:12, -11:12]
    balls, rods = np.zeros((2, *SHAPE), dtype=bool)
    for found, places, shape in (
        (balls, BALLS, z**2 + y**2 + x**2 < 49),
        (rods, RODS, z**2 + x**2 < 16),
    ):
        for a, b, c in places.astype(int):
            found[a - 11 : a + 12, b - 11 : b + 12, c - 11 : c + 12] = shape
    volume = np.random.default_rng(0).normal(0, 0.2, SHAPE).astype(np.float32)
    return Tomogram(volume - (balls | rods), 10.0, "shapes"), balls, rods


@pytest.fixture
def small(monkeypatch):
    """Parameters for a few particles that are easily seen."""
    drawing = {"filters": 4, "passes": 14, "batch": 4, "learning_rate": 5e-3}
    monkeypatch.setattr(segmentation, "_DRAWING", segmentation._DRAWING.model_copy(update=drawing))
    return QUICK.model_copy(update={"filters": 4, "passes": 16, "batch": 2, "learning_rate": 5e-3})


def test_the_voxels_of_the_chosen_kind_are_marked_and_no_others(tomogram, small):
    volume, balls, rods = tomogram
    # The last of each kind was never picked.
    picked = Particles.at(np.concatenate([BALLS[:5], RODS[:5]]))
    chosen = np.repeat([1, 0], 5)
    marked = finish(segment(volume, picked, chosen, small))
    assert marked.shape == SHAPE
    assert marked.dtype == np.uint8
    assert set(np.unique(marked)) == {0, 1}
    for z, y, x in BALLS.astype(int):
        assert marked[z, y, x] == 1
    for z, y, x in RODS.astype(int):
        assert marked[z, y, x] == 0
    assert 0.5 < marked.sum() / balls.sum() < 1.2  # no wider than they are
    assert 2 * marked[balls].sum() / (marked.sum() + balls.sum()) > 0.7  # Dice
    assert marked[rods].mean() < 0.02
    away, _ = cKDTree(BALLS).query(np.argwhere(marked))
    assert (away < 10).mean() > 0.98


class Drawn:
    """Stands for an autoencoder that draws volumes as they are."""

    def embed(self, volumes):
        return volumes

    decode = embed


def test_a_particle_is_what_is_bright_at_the_centre_without_its_neighbours():
    volume = torch.zeros(2, 24, 24, 24)
    volume[0, 9:15, 10:14, 11:13] = 10.0
    volume[0, 9:15, 10:14, 13] = 4.0
    volume[0, :, :, 20:] = 30.0  # brighter, but far off the centre
    volume[1, 7:10, 7:10, 7:10] = 1.0  # off the centre
    volume[1, 14:16, 14:16, 14:16] = 1.0  # smaller
    volumes = Subtomograms.from_memory(volume, 16.0)
    for threshold, thickness in ((0.3, 3), (0.5, 2)):
        first, second = finish(draw_particles(Drawn(), volumes, threshold))
        assert first.sum() == 6 * 4 * thickness
        assert first[9:15, 10:14, 11 : 11 + thickness].all()
        assert second.sum() == 27
        assert second[8, 8, 8]


def test_every_particle_in_reach_of_a_box_is_labelled_where_it_lies():
    positions = np.array([[50.0, 50, 50], [50, 66, 50], [50, 200, 50]])
    shapes = np.zeros((3, 24, 24, 24), dtype=np.uint8)
    shapes[0, 12, 12, 12], shapes[1, 12, 12, 12:14], shapes[2] = 1, 2, 3
    places = np.array([[50.0, 50, 50], [46, 58, 50], [50, 120, 50]])
    # A voxel of a box is two of the tomogram wide.
    labels = segmentation._labels(places, positions, shapes, 2.0)
    expected = np.zeros((3, 24, 24, 24), dtype=np.uint8)
    expected[0, 12, 12, 12], expected[0, 12, 20, 12:14] = 1, 2
    expected[1, 14, 8, 12], expected[1, 14, 16, 12:14] = 1, 2
    np.testing.assert_array_equal(labels[:2], expected[:2])
    assert not (labels[2] == 1).any()  # 35 voxels of the box away
    assert not (labels[2] == 2).any()


def test_pieces_that_are_small_or_hold_only_others_are_dropped():
    marked = np.zeros((8, 8, 40), dtype=np.uint8)
    for first, label in ((0, 1), (6, 1), (12, 1), (18, 1), (30, 2)):
        marked[2:5, 2:5, first : first + 3] = label
    marked[2, 2, 25] = 1
    # The first holds a chosen one, the second another, the third both and the fourth none.
    at = [(3, 3, 1), (3, 3, 7), (3, 3, 13), (3, 4, 14), (3, 3, 31)]
    before = marked.copy()
    classes = np.array([1, 0, 1, 0, 2])
    finish(segmentation._keep_particles(marked, Particles.at(at), classes, [27, 27]))
    kept = before.copy()
    kept[:, :, 6:9] = kept[:, :, 25] = 0
    np.testing.assert_array_equal(marked, kept)
    finish(segmentation._keep_particles(marked, Particles.at(at), classes, [27, 28]))
    kept[:, :, 30:33] = 0
    np.testing.assert_array_equal(marked, kept)


def test_as_much_is_marked_as_was_labelled():
    """Of two kinds that are a few voxels in a hundred, in noise."""
    generator = np.random.default_rng(1)
    z, y, x = np.mgrid[-8:8, -8:8, -8:8]
    kinds = np.array([z**2 + y**2 + x**2 < 14, 2 * ((z**2 + y**2 < 3) & (abs(x) < 6))])
    labels = np.tile(kinds, (24, 1, 1, 1)).astype(np.uint8)
    noisy = (labels > 0) + generator.normal(0, 0.5, labels.shape)
    volumes = Subtomograms.from_memory(torch.from_numpy(noisy).float(), 16.0)
    params = SegmentationParams(filters=4, passes=16, batch=4, learning_rate=5e-3)
    network = finish(learn_segmentation(volumes, labels, params, CPU))
    part = (slice(None), *inner(16))
    with torch.no_grad():
        marked = network(volumes[:]).argmax(1).numpy()[part]
    for kind in (1, 2):
        wanted = labels[part] == kind
        assert (marked == kind).sum() == pytest.approx(wanted.sum(), rel=0.1)
        assert (marked == kind)[wanted].mean() > 0.5


@pytest.mark.parametrize("length", [1, 5, 19, 20, 40, 97, 150])
@pytest.mark.parametrize("step", [0.7, 1.6, 4.0])
def test_boxes_side_by_side_cover_an_axis(length, step):
    side = 12
    centres = segmentation._centres(length, side, step)
    assert ((centres >= 0) & (centres <= length - 1)).all()
    away = np.arange(length)[:, None] - centres
    covered = (away >= -(side / 2 + 0.5) * step) & (away <= (side / 2 - 0.5) * step)
    assert covered.any(1).all()


def test_what_cannot_be_learnt_from_is_refused(tomogram):
    for classes, sentence in (
        (np.eye(12, dtype=np.int64)[0], "the chosen groups have 1 members; choose larger ones"),
        (np.full(12, 256), "256 groups were chosen; choose 255 or fewer"),
        (np.repeat([0, 2], 6), "class 1 has 0 particles; number the classes from 1 on"),
    ):
        with pytest.raises(ValueError, match=sentence):
            finish(segment(tomogram[0], Particles.at(PLACES), classes))
    volumes = Subtomograms.from_memory(torch.zeros(3, 8, 8, 8), 16.0)
    with pytest.raises(
        ValueError, match=r"3 volumes .* 8 voxels but labels of shape \(2, 8, 8, 8\)"
    ):
        finish(learn_segmentation(volumes, np.zeros((2, 8, 8, 8), np.uint8), QUICK, CPU))


def test_nothing_is_marked_where_nothing_is_drawn():
    flat = Subtomograms.from_memory(torch.ones(2, 24, 24, 24), 16.0)
    assert not finish(draw_particles(Drawn(), flat, 0.5)).any()
    drawn = torch.randn(4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = Subtomograms.from_memory(drawn, 16.0)
    once = SegmentationParams(filters=2, passes=1, batch=4)
    network = finish(learn_segmentation(noise, np.zeros((4, 16, 16, 16), np.uint8), once, CPU))
    with torch.no_grad():
        marked = network(noise[:]).argmax(1)[:, *inner(16)]
    assert marked.float().mean() < 1e-3


def test_no_more_boxes_are_learnt_from_than_that_of_a_large_group(monkeypatch):
    monkeypatch.setattr(segmentation, "_MOST", 5)
    tomogram = Tomogram(np.zeros((60, 60, 60), np.float32), 16.0, "flat")
    generator = np.random.default_rng(0)
    particles = Particles.at(generator.uniform(0, 59, (40, 3)))
    classes = np.repeat([1, 2, 0], [30, 3, 7])
    places = segmentation._places(tomogram, particles, classes, 24.0, 0)
    # Twice 5 and 3 chosen, as many others, and as many empty ones as are found.
    assert 32 <= len(places) <= 48
