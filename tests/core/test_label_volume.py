import gzip

import mrcfile
import numpy as np
import pytest

from napari_cryoshift.core.label_volume import Balls, write_label_volume
from napari_cryoshift.core.tomograms import open_tomogram, read_header
from napari_cryoshift.core.types import Tomogram

SHAPE = (4, 5, 6)


def tomogram_file(path, voxel_size=13.48):
    with mrcfile.new(path) as file:
        file.set_data(np.zeros(SHAPE, np.float32))
        file.voxel_size = voxel_size
        file.header.origin = (-100.5, 20.25, 7)
        file.nstart = (1, -2, 30)
    return path


def numbered():
    return np.arange(np.prod(SHAPE)).reshape(SHAPE) * 250


def test_labels_lie_where_the_tomogram_lies(tmp_path):
    tomogram = open_tomogram(tomogram_file(tmp_path / "t.mrc"))
    write_label_volume(tmp_path / "labels.mrc", numbered(), tomogram)
    assert mrcfile.validate(tmp_path / "labels.mrc")
    with mrcfile.open(tmp_path / "labels.mrc") as file, mrcfile.open(tmp_path / "t.mrc") as like:
        assert file.header.mode == 1
        np.testing.assert_array_equal(file.data, numbered())
        assert file.header.origin.tolist() == like.header.origin.tolist() == (-100.5, 20.25, 7)
        assert file.nstart.tolist() == like.nstart.tolist() == (1, -2, 30)
        assert file.voxel_size.tolist() == like.voxel_size.tolist()


def test_a_voxel_size_that_differs_between_the_axes_is_kept(tmp_path):
    tomogram = open_tomogram(tomogram_file(tmp_path / "t.mrc", (10.0, 11.0, 12.0)))
    write_label_volume(tmp_path / "labels.mrc", numbered(), tomogram)
    assert read_header(tmp_path / "labels.mrc").voxel_sizes == pytest.approx((12, 11, 10))


def test_a_voxel_size_that_was_corrected_is_written(tmp_path):
    tomogram = open_tomogram(tomogram_file(tmp_path / "t.mrc", 1.0), voxel_size=7.84)
    write_label_volume(tmp_path / "labels.mrc", numbered(), tomogram)
    header = read_header(tmp_path / "labels.mrc")
    assert header.voxel_sizes == pytest.approx((7.84,) * 3)
    assert header.origin == (7, 20.25, -100.5)


def test_a_packed_tomogram_and_packed_labels(tmp_path):
    raw = tomogram_file(tmp_path / "t.mrc").read_bytes()
    (tmp_path / "t.mrc.gz").write_bytes(gzip.compress(raw))
    write_label_volume(tmp_path / "labels.mrc.gz", numbered(), open_tomogram(tmp_path / "t.mrc.gz"))
    assert read_header(tmp_path / "labels.mrc.gz").start == (30, -2, 1)


def test_a_tomogram_without_a_file(tmp_path):
    simulated = Tomogram(np.zeros(SHAPE), voxel_size=10.0, name="simulated")
    write_label_volume(tmp_path / "labels.mrc", numbered() > 0, simulated)
    opened = open_tomogram(tmp_path / "labels.mrc")
    assert opened.voxel_size == 10
    np.testing.assert_array_equal(opened.data, numbered() > 0)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.zeros((5, 4, 6)), r"the labels have 6 × 4 × 5 voxels but t has 6 × 5 × 4"),
        (np.full(SHAPE, 40_000), "go from 40000 to 40000, but 16 bits hold -32768 to 32767"),
        (np.full(SHAPE, 0.5), "the labels hold 0.5; give whole numbers"),
    ],
)
def test_labels_that_cannot_be_written(tmp_path, labels, sentence):
    tomogram = Tomogram(np.zeros(SHAPE), voxel_size=10.0, name="t")
    with pytest.raises(ValueError, match=sentence):
        write_label_volume(tmp_path / "labels.mrc", labels, tomogram)
    assert not any(tmp_path.iterdir())


BALLS = {"radius": 3.2, "shape": (12, 20, 24)}


def balls(n=9, seed=0):
    """Balls, and the same painted voxel by voxel: of the nearest particle within the radius."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-2, np.array(BALLS["shape"]) + 2, (n, 3))
    labels = np.arange(n) % 4
    voxels = np.stack(np.indices(BALLS["shape"]), -1).astype(float)
    away = np.linalg.norm(voxels[..., None, :] - positions[labels > 0], axis=-1)
    nearest = labels[labels > 0][away.argmin(-1)]
    whole = np.where(away.min(-1) < BALLS["radius"], nearest, 0)
    return Balls(positions, labels, **BALLS), whole


def test_balls_are_those_of_the_nearest_particle():
    lazy, whole = balls()
    assert (whole > 0).any()
    np.testing.assert_array_equal(np.asarray(lazy), whole)
    assert lazy.dtype == np.uint8
    assert np.asarray(lazy).dtype == np.uint8


@pytest.mark.parametrize(
    "key",
    [
        np.s_[5],
        np.s_[5, 3:9],
        np.s_[:, 7, 2:20:3],
        np.s_[..., 4],
        np.s_[3, 4, 5],
        np.s_[-1, ...],
        np.s_[4:4],
        np.s_[2:6, :, np.int64(3)],
        np.s_[:],
    ],
    ids=str,
)
def test_balls_are_read_like_an_array(key):
    lazy, whole = balls(30)
    read = lazy[key]
    assert np.shape(read) == np.shape(whole[key])
    np.testing.assert_array_equal(read, whole[key])


def test_a_section_of_a_volume_far_larger_than_memory_is_painted():
    lazy = Balls(
        np.array([[5e4, 100.0, 90.0]]), np.array([300]), radius=4.0, shape=(100_000, 2_000, 2_000)
    )
    section = lazy[50_000]
    assert section.shape == (2_000, 2_000)
    assert section[100, 90] == 300
    assert np.count_nonzero(section) == sum(
        y * y + x * x < 16 for y in range(-4, 5) for x in range(-4, 5)
    )


def test_labels_of_balls_have_to_fit():
    with pytest.raises(ValueError, match="go from 0 to 70000"):
        Balls(np.zeros((2, 3)), np.array([0, 70_000]), radius=1.0, shape=(2, 2, 2))
