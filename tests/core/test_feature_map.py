import itertools

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from napari_cryoshift.core.feature_map import mixing, tsne
from napari_cryoshift.core.progress import finish

RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(4), 50)
FEATURES = 6 * np.eye(16)[GROUPS] + RNG.normal(0, 1, (200, 16))


@pytest.fixture(scope="module")
def plane():
    pytest.importorskip("openTSNE")
    return finish(tsne(FEATURES))


def test_neighbours_in_the_plane_are_neighbours_in_the_features(plane):
    assert plane.shape == (200, 2)
    away = np.linalg.norm(plane[:, None] - plane[None], axis=2) + np.diag(np.full(200, np.inf))
    assert (GROUPS[away.argmin(1)] == GROUPS).mean() > 0.98
    chance = trustworthiness(FEATURES, RNG.normal(size=(200, 2)), n_neighbors=10)
    assert trustworthiness(FEATURES, plane, n_neighbors=10) > chance + 0.3


def test_the_same_features_give_the_same_map(plane):
    np.testing.assert_array_equal(plane, finish(tsne(FEATURES)))


def test_a_map_says_how_far_it_is_and_stops_anywhere():
    pytest.importorskip("openTSNE")
    job = tsne(FEATURES)
    steps = [(progress.step, progress.total) for progress in itertools.islice(job, 5)]
    assert [step for step, _ in steps] == sorted({step for step, _ in steps})
    assert steps[-1][0] < steps[-1][1]
    job.close()
    assert list(job) == []


def test_without_opentsne_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("napari_cryoshift.core.feature_map.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"openTSNE is not installed.*; pip install .*\[tsne\]"):
        finish(tsne(FEATURES))


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (FEATURES[:9], "9 particles are too few to lay out; give 10 or more"),
        (np.where(np.arange(200)[:, None] == 7, np.nan, FEATURES), "of 1 of 200 particles are not"),
    ],
)
def test_what_cannot_be_laid_out_is_one_sentence(features, sentence):
    pytest.importorskip("openTSNE")
    with pytest.raises(ValueError, match=sentence):
        finish(tsne(features))


# --- mixing ---


def test_domains_that_lie_apart_do_not_mix_and_those_of_one_distribution_do():
    features = RNG.normal(size=(600, 8))
    target = np.arange(600) < 150
    assert mixing(features + 50 * target[:, None], target) == 0
    assert mixing(features, target) == pytest.approx(1, abs=0.1)
    half = mixing(features + 1.5 * target[:, None] / np.sqrt(8), target)
    assert 0.2 < half < 0.9


def test_mixing_by_hand():
    features = RNG.normal(size=(40, 3))
    target = np.arange(40) < 12
    away = ((features[:, None] - features[None]) ** 2).sum(2)
    shares = np.empty(40)
    for i in range(40):
        nearest = [j for j in np.argsort(away[i]) if j != i][:15]
        shares[i] = np.mean([target[j] != target[i] for j in nearest])
    of_source, of_target = shares[~target].mean() / (12 / 39), shares[target].mean() / (28 / 39)
    assert mixing(features, target) == pytest.approx((of_source + of_target) / 2)


def test_one_domain_alone_cannot_mix():
    with pytest.raises(ValueError, match="200 rows of one domain and 0 of the other; give both"):
        mixing(FEATURES, np.zeros(200, dtype=bool))
