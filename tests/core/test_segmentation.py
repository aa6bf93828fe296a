import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_cryoshift.core import segmentation
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.segmentation import QUICK, segment
from napari_cryoshift.core.types import Particles, Tomogram

SHAPE = (40, 120, 150)
POSITIONS = np.array([(20, y, x) for y in (18, 58, 98) for x in (18, 58, 98)], dtype=float)


@pytest.fixture(scope="module")
def balls():
    """Nine balls of 70 Å radius, dark in a little noise; a third of it is empty."""
    volume = np.random.default_rng(0).normal(0, 0.2, SHAPE).astype(np.float32)
    z, y, x = np.indices(SHAPE)
    truth = np.zeros(SHAPE, dtype=bool)
    for a, b, c in POSITIONS:
        truth |= (z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 < 49
    return Tomogram(volume - truth, 10.0, "balls"), truth


def test_the_voxels_that_are_marked_lie_at_the_particles(balls, monkeypatch):
    tomogram, truth = balls
    monkeypatch.setattr(
        segmentation,
        "_DRAWING",
        segmentation._DRAWING.model_copy(
            update={"filters": 4, "passes": 30, "batch": 4, "learning_rate": 5e-3}
        ),
    )
    params = QUICK.model_copy(
        update={"filters": 4, "passes": 40, "batch": 2, "learning_rate": 5e-3}
    )
    # Two of the nine were never picked.
    picked = Particles.at(POSITIONS[:7])
    marked = finish(segment(tomogram, picked, np.ones(7, dtype=np.int64), params))
    assert marked.shape == SHAPE
    assert marked.dtype == np.uint8
    assert set(np.unique(marked)) == {0, 1}
    for z, y, x in POSITIONS.astype(int):
        assert marked[z, y, x] == 1
    away, _ = cKDTree(POSITIONS).query(np.argwhere(marked))
    assert (away < 13).mean() > 0.95  # in a volume of which balls of 13 voxels are 11 %
    assert marked[truth].mean() > 0.9
    assert marked[:, :, 115:].mean() < 0.01


@pytest.mark.parametrize("length", [1, 5, 19, 20, 40, 97, 150])
@pytest.mark.parametrize("step", [0.7, 1.6, 4.0])
def test_boxes_side_by_side_cover_an_axis(length, step):
    side = 12
    centres = segmentation._centres(length, side, step)
    assert ((centres >= 0) & (centres <= length - 1)).all()
    away = np.arange(length)[:, None] - centres
    covered = (away >= -(side / 2 + 0.5) * step) & (away <= (side / 2 - 0.5) * step)
    assert covered.any(1).all()


def test_what_cannot_be_learnt_from_is_refused(balls):
    tomogram, _ = balls
    picked = Particles.at(POSITIONS)
    for classes, sentence in (
        (np.eye(9, dtype=np.int64)[0], "the chosen groups have 1 members; choose larger ones"),
        (np.full(9, 256), "256 groups were chosen; choose 255 or fewer"),
    ):
        with pytest.raises(ValueError, match=sentence):
            finish(segment(tomogram, picked, classes))
