import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial.distance import cdist, pdist
from threadpoolctl import threadpool_info, threadpool_limits

from napari_cryoshift.core import pick as pick_module
from napari_cryoshift.core import tiles
from napari_cryoshift.core.pick import PickParams, pick, separate
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import Tomogram

VOXEL = 10.0
DIAMETER = 80.0  # 8 voxels, so sigma is 2.3 and a Gaussian reaches 10 voxels


def run(volume, mask=None, dark=False, **params):
    tomogram = Tomogram(volume, VOXEL, "ts_01", dark=dark)
    return finish(pick(tomogram, PickParams(**{"diameter": DIAMETER, **params}), mask))


def noise(shape=(37, 53, 61), seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def ball(shape, centre, radius):
    zyx = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (np.square(zyx).sum(0) <= radius**2).astype(np.float32)


def separate_slowly(positions, distance):
    """Greedy separation as one reads it in the paper: every candidate against all better ones."""
    kept = []
    for i, position in enumerate(positions):
        if not kept or cdist([position], positions[kept]).min() > distance:
            kept.append(i)
    return np.array(kept, dtype=int)


def pick_whole(volume, k=1.1, min_distance=0.5):
    """Pick light particles with scipy's own filter on the whole volume at once."""
    sigma = DIAMETER / 2 / np.sqrt(3) / VOXEL
    volume = volume.astype(np.float64)
    dog = gaussian_filter(volume, sigma) - gaussian_filter(volume, k * sigma)
    positions = np.argwhere((dog == maximum_filter(dog, 3)) & (dog > 0))
    values = dog[tuple(positions.T)]
    order = np.argsort(-values)
    order = order[separate_slowly(positions[order], min_distance * DIAMETER / VOXEL)]
    return positions[order], values[order] / np.sqrt(np.mean(dog**2))


@pytest.fixture(params=[5, 16, 29, 1000])
def side(request, monkeypatch):
    """Make the tiles this large: less than the margin, more, no divisor of the shape, one tile."""
    monkeypatch.setattr(tiles, "_tile_side", lambda reach: request.param)
    return request.param


@pytest.mark.parametrize("k", [1.1, 1.6])
def test_tiles_give_what_scipy_gives_on_the_whole_volume(side, k):
    volume = noise().astype(np.float32)
    found = run(volume, sigma_ratio=k)
    positions, scores = pick_whole(volume, k)
    assert_array_equal(found.positions, positions)
    assert_allclose(found.score, scores, rtol=1e-5)


def test_axes_shorter_than_the_gaussians_reach(side):
    volume = noise((9, 8, 40))
    positions, scores = pick_whole(volume)
    found = run(volume)
    assert_array_equal(found.positions, positions)
    assert_allclose(found.score, scores, rtol=1e-5)


def test_exact_ties_are_broken_alike_in_every_tiling(monkeypatch):
    # Each particle is symmetric about a voxel's corner: eight voxels are equally best. The first
    # in the order z, y, x lies in a later tile.
    volume = np.zeros((44, 40, 80), dtype=np.int8)
    volume[20:24, 18:22, 58:62] = 100
    volume[21:25, 18:22, 18:22] = 100
    lists = []
    for side in (5, 20, 1000):
        monkeypatch.setattr(tiles, "_tile_side", lambda reach, side=side: side)
        lists.append(run(volume, strictness=10))
    for other in lists[1:]:
        assert_array_equal(other.positions, lists[0].positions)
        assert_allclose(other.score, lists[0].score, rtol=1e-6)
    assert_array_equal(lists[0].positions, [[21, 19, 59], [22, 19, 19]])


def test_particles_are_found_where_they_are():
    rng = np.random.default_rng(1)
    truth = np.array([[15, 15, 15], [15, 40, 50], [33, 20, 40], [34, 47, 17.0]])
    truth += rng.uniform(-0.5, 0.5, truth.shape)
    volume = 0.3 * noise((48, 60, 64), seed=2)
    for centre in truth:
        volume += ball(volume.shape, centre, DIAMETER / 2 / VOXEL)
    found = run(volume)
    nearest = cdist(truth, found.positions[:4]).min(axis=1)
    assert nearest.max() < 1.0
    assert found.score[3] > 2 * found.score[4]


def test_of_equally_dense_balls_that_of_the_given_diameter_is_best():
    diameters = {20: 4, 50: 8, 90: 16}
    volume = np.zeros((40, 40, 120), dtype=np.float32)
    for x, across in diameters.items():
        volume += ball(volume.shape, (20, 20, x), across / 2)
    assert_allclose(run(volume).positions[0], (20, 20, 50))


def test_dark_particles_are_the_light_ones_of_the_negative():
    volume = noise((24, 30, 30))
    dark, light = run(volume, dark=True), run(-volume)
    assert_array_equal(dark.positions, light.positions)
    assert_allclose(dark.score, light.score, rtol=1e-12)
    assert not np.array_equal(dark.positions, run(volume).positions)


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint16", ">i2", "float64"])
def test_any_grey_values_are_read_from_a_memory_map(tmp_path, dtype):
    grey = np.round(100 + 10 * noise((30, 40, 50))).clip(0, 127).astype(dtype)
    np.save(tmp_path / "tomogram.npy", grey)
    mapped = np.load(tmp_path / "tomogram.npy", mmap_mode="r+")
    found, expected = run(mapped), run(grey.astype(np.float32))
    assert_array_equal(found.positions, expected.positions)
    assert_allclose(found.score, expected.score, rtol=1e-6)
    assert_array_equal(mapped, grey)  # also where no conversion, and so no copy, was needed


def test_a_flat_padded_region_has_no_candidates():
    volume = 30_000 + 100 * noise((40, 50, 150))
    volume[..., 60:] = 50_000
    x = run(volume.astype(np.uint16)).positions[:, 2]
    assert (x < 60 + 11).all()  # 11 voxels: as far as the wider Gaussian reaches
    assert (x < 50).any()


def test_score_does_not_depend_on_the_unit_of_grey():
    volume = noise((30, 30, 30))
    one, other = run(volume), run(37 * volume + 1000)
    assert_array_equal(one.positions, other.positions)
    assert_allclose(one.score, other.score, rtol=1e-5)


def test_table_is_sorted_and_complete():
    found = run(noise((30, 30, 30)))
    assert len(found) > 10
    assert_array_equal(found.id, np.arange(len(found)))
    assert (np.diff(found.score) <= 0).all()
    assert found.score[-1] > 0
    assert set(found.source) == {"pick"}
    assert set(found.tomogram) == {"ts_01"}


def test_border_keeps_its_distance_from_every_face():
    volume = noise((30, 40, 50))
    border = 55.0  # so that the centre of voxel 5, at 5.5 voxels from the face, just stays
    found, everything = run(volume, border=border), run(volume)
    assert found.positions.min() >= 5
    assert (np.array(volume.shape) - 1 - found.positions).min() >= 5
    assert everything.positions.min() < 5
    far = ((everything.positions >= 5) & (everything.positions <= np.array([24, 34, 44]))).all(1)
    assert {*map(tuple, everything.positions[far])} <= {*map(tuple, found.positions)}


@pytest.mark.parametrize("mapped", [False, True])
def test_mask_keeps_only_candidates_inside(tmp_path, mapped):
    volume = noise((30, 40, 110))
    mask = np.zeros(volume.shape, dtype=np.uint8)
    mask[5:25, :, 30:70] = 3
    if mapped:
        np.save(tmp_path / "mask.npy", mask)
        mask = np.load(tmp_path / "mask.npy", mmap_mode="r")
    inside = run(volume, mask=mask, min_distance=0.01)
    everything = run(volume, min_distance=0.01)
    wanted = mask[tuple(everything.positions.astype(int).T)] != 0
    assert_array_equal(inside.positions, everything.positions[wanted])
    assert_array_equal(inside.score, everything.score[wanted])


def test_an_empty_mask_gives_an_empty_list():
    assert len(run(noise((20, 20, 20)), mask=np.zeros((20, 20, 20)))) == 0


def test_max_count_keeps_the_best():
    volume = noise((30, 30, 30))
    few, many = run(volume, max_count=7), run(volume)
    assert len(few) == 7 < len(many)
    assert_array_equal(few.positions, many.positions[:7])


def test_strictness_is_the_threshold_of_the_paper():
    volume = noise((40, 40, 40))
    everything = run(volume, min_distance=0.01)
    best, worst = everything.score[0], everything.score[-1]
    for strictness in (3, 10, 20):
        kept = run(volume, min_distance=0.01, strictness=strictness)
        threshold = worst + strictness * (best - worst) / 20
        assert len(kept) == np.count_nonzero(everything.score >= threshold - 1e-6)
    assert len(kept) == 1


@given(
    points=arrays(np.int64, st.tuples(st.integers(0, 60), st.just(3)), elements=st.integers(0, 12)),
    distance=st.floats(0.1, 8),
)
@settings(deadline=None, max_examples=60)
def test_separation_is_greedy_and_complete(points, distance):
    chosen = separate(points, distance)
    assert_array_equal(chosen, separate_slowly(points, distance))
    assert len(chosen) < 2 or pdist(points[chosen]).min() > distance


def test_no_two_candidates_are_closer_than_asked():
    found = run(noise((40, 40, 40)), min_distance=1.2)
    assert pdist(found.positions).min() > 1.2 * DIAMETER / VOXEL


@pytest.fixture
def many_small_tiles(monkeypatch):
    monkeypatch.setattr(pick_module.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(tiles, "_tile_side", lambda reach: 32)


def blas_threads():
    return {p["filepath"]: p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}


@pytest.mark.usefixtures("many_small_tiles")
def test_cancelling_stops_every_thread_and_leaves_the_threads_of_others_alone():
    tomogram = Tomogram(noise((60, 150, 150)), VOXEL, "ts_01")
    threads = threading.active_count()
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        job = pick(tomogram, PickParams(diameter=DIAMETER))
        progress = next(job)
        assert 0 < progress.step < progress.total
        assert threading.active_count() > threads
        assert blas_threads() == before
        job.close()
    assert threading.active_count() == threads


@pytest.mark.usefixtures("many_small_tiles")
def test_progress_rises_to_its_total():
    job = pick(Tomogram(noise((60, 150, 150)), VOXEL, "ts_01"), PickParams(diameter=DIAMETER))
    steps = list(job)
    assert len(steps) > 1
    assert all(before.step < after.step for before, after in pairwise(steps))
    assert steps[-1].step == steps[-1].total


class NeverWhole:
    """Answers slices like an array, and refuses to be read in large pieces."""

    ndim = 3

    def __init__(self, data):
        self.data, self.shape, self.largest = data, data.shape, 0

    def __getitem__(self, window):
        piece = self.data[window]
        self.largest = max(self.largest, piece.size)
        return piece


@pytest.mark.usefixtures("many_small_tiles")
def test_pieces_read_do_not_grow_with_the_tomogram():
    small, large = NeverWhole(noise((60, 160, 160))), NeverWhole(noise((60, 160, 320)))
    run(small)
    run(large)
    assert large.largest == small.largest < small.data.size


def test_large_tiles_are_read_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(pick_module.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(tiles, "_tile_side", lambda reach: 32)
    volume, at_work, most = noise((60, 96, 96)), [], []

    class Watched(NeverWhole):
        def __getitem__(self, window):
            at_work.append(threading.get_ident())
            return super().__getitem__(window)

    for memory in (2**40, 1):
        monkeypatch.setattr(pick_module, "_MEMORY", memory)
        at_work.clear()
        found = run(Watched(volume))
        most.append(len(set(at_work)))
        assert_array_equal(found.positions, run(volume).positions)
    assert most[1] == 1 < most[0]


def with_bad(value):
    volume = noise((20, 20, 20))
    volume[3, 4, 5] = value
    return volume


@pytest.mark.parametrize(
    ("volume", "voxel_size", "diameter", "says"),
    [
        (with_bad(np.nan), 10, 80, "NaN or infinite"),
        (with_bad(np.inf), 10, 80, "NaN or infinite"),
        (np.full((20, 20, 20), 7.5), 10, 80, "every voxel .* 7.5"),
        (np.zeros((200, 200)), 10, 80, "2 dimensions"),
        (noise((20, 20, 20)), 0, 80, "voxel size .* 0 Å"),
        (noise((20, 20, 20)), np.nan, 80, "voxel size .* nan Å"),
        (noise((20, 20, 20)), 10, 25, "2.5 voxels wide"),
        (noise((20, 20, 20)), 10, 300, "20 × 20 × 20 voxels .* 30.0 voxels wide"),
    ],
)
def test_what_cannot_be_picked_is_refused_in_one_sentence(volume, voxel_size, diameter, says):
    tomogram = Tomogram(volume, voxel_size, "ts_01")
    with pytest.raises(ValueError, match=says):
        finish(pick(tomogram, PickParams(diameter=diameter)))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        run(noise((20, 20, 20)), mask=np.ones((20, 20, 21)))


def test_every_parameter_has_a_title_a_description_and_bounds():
    for name, field in PickParams.model_fields.items():
        assert field.title, name
        assert field.description, name
        assert field.metadata, name


def test_particles_that_reach_beyond_the_tomogram_are_flagged_not_lost():
    centres = [(3, 20, 20), (20, 20, 20), (20, 37, 20)]
    z, y, x = np.indices((40, 40, 40))
    volume = np.zeros((40, 40, 40), np.float32)
    for a, b, c in centres:
        volume += np.exp(-((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) / 18).astype(np.float32)
    noise = 0.01 * np.random.default_rng(0).normal(size=volume.shape).astype(np.float32)
    found = finish(pick(Tomogram(volume + noise, 10.0, "t", dark=False), PickParams(diameter=100)))
    distances = cdist(centres, found.positions)
    assert (distances.min(1) <= 2).all()  # the border mirrors a blob beside it
    assert found.edge[distances.argmin(1)].tolist() == [True, False, True]
