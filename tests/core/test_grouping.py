import numpy as np
import pytest

from napari_cryoshift.core import grouping
from napari_cryoshift.core.grouping import (
    WAYS,
    average_group,
    find_compared_groups,
    find_groups,
    group_features,
    halves,
    most_typical,
    plane,
    spreads,
    with_fits,
)
from napari_cryoshift.core.metrics import evaluate_clusters
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.workflows import crop_for

SHAPE, VOXEL_SIZE = (40, 120, 120), 10.0


@pytest.fixture(scope="module")
def balls_and_rods():
    """15 dark balls and 10 dark rods in a little noise, and which is which."""
    rng = np.random.default_rng(0)
    volume = rng.normal(0, 0.3, SHAPE).astype(np.float32)
    z, y, x = np.mgrid[-9:10, -9:10, -9:10].astype(float)
    shapes = (z**2 + y**2 + x**2 < 49) * 1.0, ((y**2 + x**2 < 12) & (abs(z) < 9)) * 1.6
    positions = [(20, y, x) for y in range(15, 110, 22) for x in range(15, 110, 22)]
    kinds = np.arange(25) % 5 % 2
    for (_, b, c), kind in zip(positions, kinds, strict=True):
        volume[11:30, b - 9 : b + 10, c - 9 : c + 10] -= shapes[kind]
    return Tomogram(volume, VOXEL_SIZE, "blobs"), Particles.at(positions), kinds


def test_kinds_that_look_different_are_found_and_numbered_by_size(balls_and_rods):
    tomogram, particles, kinds = balls_and_rods
    params = WAYS["quick"].model_copy(update={"clusters": (2,), "components": 2})
    found = finish(find_groups(tomogram, particles, params))
    assert evaluate_clusters(kinds, found.labels).accuracy == 1
    assert np.bincount(found.labels).tolist() == [15, 10]
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-5)
    assert found.figures["groups"] == 2
    assert np.isfinite(found.figures["bic"])
    assert found.drawn is None


def test_the_autoencoder_finds_groups_and_draws_their_centres(balls_and_rods, monkeypatch):
    tomogram, particles, _ = balls_and_rods
    params = WAYS["autoencoder"].model_copy(
        update={"clusters": 2, "filters": 2, "passes": 2, "restarts": 2}
    )
    original, kept = grouping.train, []

    def spy(*given):
        kept.append((yield from original(*given)))
        return kept[0]

    monkeypatch.setattr(grouping, "train", spy)
    found = finish(find_groups(tomogram, particles, params))
    assert found.probabilities.shape == (25, 2)
    assert "bic" not in found.figures
    assert found.drawn.shape == (2, 24, 24, 24)
    method = kept[0].build()
    own = method.predict(crop_for(tomogram, particles, kept[0])[np.arange(25)]).argmax(1).numpy()
    for group, drawn in enumerate(found.drawn):
        (centre,) = set(own[found.labels == group].tolist())
        np.testing.assert_allclose(drawn, method.decode(method.centres)[centre], atol=1e-5)


def test_what_known_structures_say_tells_apart_what_looks_alike():
    generator = np.random.default_rng(1)
    half = np.arange(60) < 25
    vectors = generator.normal(size=(60, 4))
    scores = generator.normal(0, 0.1, (60, 3)) + half[:, None] * [1, 0, -1]
    params = WAYS["quick"].model_copy(update={"clusters": (2,)})
    for features, apart in ((vectors, False), (with_fits(vectors, scores), True)):
        found = finish(group_features(features, params))
        assert (evaluate_clusters(half, found.labels).accuracy == 1) == apart


def test_the_known_structures_are_compared_with_before_groups_are_found(
    balls_and_rods, monkeypatch, tmp_path
):
    tomogram, particles, kinds = balls_and_rods
    asked = []

    def compare(tomogram, particles, *, cache):
        asked.append((len(particles), cache))
        yield from ()
        return np.zeros((len(particles), 2), np.float32)

    monkeypatch.setattr(grouping, "compare", compare)
    params = WAYS["quick"].model_copy(update={"clusters": (2,), "components": 2})
    found = finish(find_compared_groups(tomogram, particles, params, tmp_path))
    assert asked == [(25, tmp_path)]
    assert evaluate_clusters(kinds, found.labels).accuracy == 1


@pytest.mark.parametrize("way", ["disca", "autoencoder"])
def test_a_way_that_learns_asks_no_structures(balls_and_rods, way):
    tomogram, particles, _ = balls_and_rods
    with pytest.raises(ValueError, match="found in one round; choose quick"):
        finish(find_compared_groups(tomogram, particles, WAYS[way]))
    with pytest.raises(ValueError, match="found in one round; choose quick"):
        finish(find_groups(tomogram, particles, WAYS[way], np.zeros((25, 2))))


def test_fits_count_as_much_as_decided_beside_what_is_seen():
    generator = np.random.default_rng(0)
    features = with_fits(generator.normal(size=(200, 5)), generator.normal(size=(200, 3)))
    seen, fits = (np.square(part).sum(1).mean() for part in np.split(features, [5], axis=1))
    assert seen == pytest.approx(1, rel=1e-4)
    assert fits == pytest.approx(1.4**2, rel=1e-4)


def test_no_particles_are_refused(balls_and_rods):
    tomogram, particles, _ = balls_and_rods
    with pytest.raises(ValueError, match="0 particles to group; pick some"):
        finish(find_groups(tomogram, particles.take([]), WAYS["quick"]))


def test_a_group_is_averaged_from_its_first_members(balls_and_rods):
    tomogram, particles, kinds = balls_and_rods
    average = finish(average_group(tomogram, particles.take(kinds == 0), 160.0))
    assert len(average.fit.score) == 15
    middle = len(average.mean) // 2
    assert average.mean[middle, middle, middle] > 0.5 * average.mean.max()  # protein positive


def test_spreads_are_those_computed_by_hand():
    vectors = np.array([[0.0, 0], [2, 0], [10, 0], [10, 4], [np.nan, 0]])
    whole = np.sqrt(np.mean([5.5**2 + 1, 3.5**2 + 1, 4.5**2 + 1, 4.5**2 + 9]))
    np.testing.assert_allclose(
        spreads(vectors, np.array([0, 0, 2, 2, 2])), [1 / whole, np.nan, 2 / whole]
    )


def test_the_most_typical_are_nearest_to_the_mean_and_unknown_ones_come_last():
    vectors = np.array([[9.0], [np.nan], [4.0], [0.0], [3.0]])  # mean 4
    assert most_typical(vectors).tolist() == [2, 4, 3, 0, 1]


def test_a_group_of_two_kinds_falls_into_them():
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1], [30, 12])
    vectors = rng.normal(size=(42, 20)) + 8 * truth[:, None]
    assert evaluate_clusters(truth, halves(vectors)).accuracy == 1
    with pytest.raises(ValueError, match="1 particle cannot be split"):
        halves(vectors[:1])


def test_the_plane_holds_the_means_of_three_groups_without_loss():
    rng = np.random.default_rng(2)
    labels = np.arange(90) % 3
    means = 5 * rng.normal(size=(3, 12))
    vectors = means[labels] + rng.normal(size=(90, 12))
    seen = plane(vectors, labels)
    assert seen.shape == (90, 2)
    true = np.array([vectors[labels == k].mean(0) for k in range(3)])
    flat = np.array([seen[labels == k].mean(0) for k in range(3)])
    for i in range(3):
        np.testing.assert_allclose(
            np.linalg.norm(flat - flat[i], axis=1), np.linalg.norm(true - true[i], axis=1)
        )


@pytest.mark.parametrize("labels", [np.zeros(20, int), np.full(20, -1), np.arange(20) % 2])
def test_the_plane_of_fewer_groups_is_filled_with_main_axes(labels):
    vectors = np.random.default_rng(3).normal(size=(20, 6)) * [9, 5, 1, 1, 1, 1]
    seen = plane(vectors, labels)
    assert seen.shape == (20, 2)
    assert np.linalg.matrix_rank(seen - seen.mean(0)) == 2
