from itertools import permutations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.special import softmax
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from napari_cryoshift.core.clustering import (
    Mixture,
    distortion_index,
    fit_mixture,
    kmeans,
    linear_discriminants,
    matching,
    posterior,
    principal_axes,
    simplest,
    smoothed,
    surprise,
)
from napari_cryoshift.core.metrics import evaluate_clusters


def blobs(sizes=(60, 40, 30), features=4, seed=0, apart=6.0):
    """Gaussian clouds of different shapes, and which one each point is of."""
    generator = np.random.default_rng(seed)
    parts = []
    for cloud, size in enumerate(sizes):
        shape = generator.normal(size=(features, features)) / 2 + np.eye(features)
        middle = apart * generator.normal(size=features) + 2 * cloud
        parts.append(generator.normal(size=(size, features)) @ shape + middle)
    return np.concatenate(parts), np.repeat(np.arange(len(sizes)), sizes)


def mean_squared_distance(points, centres):
    return np.square(points[:, None] - centres).sum(-1).min(1).mean()


def test_kmeans_finds_clouds_and_says_their_middle_and_width():
    points, truth = blobs()
    groups = kmeans(points, 3, seed=1, restarts=5)
    assert adjusted_rand_score(truth, groups.labels) == 1
    for label, centre in enumerate(groups.centres):
        np.testing.assert_allclose(centre, points[groups.labels == label].mean(0))
    assert groups.variance * 4 == pytest.approx(mean_squared_distance(points, groups.centres))


def test_more_starts_of_kmeans_are_no_worse():
    points, _ = blobs(sizes=(20,) * 8, apart=2.0)
    variances = [kmeans(points, 8, seed=3, restarts=n).variance for n in (1, 20)]
    assert variances[1] <= variances[0]


def test_principal_axes_are_those_of_scikit_learn_but_for_sign_and_one_scale():
    points, _ = blobs()
    mean, axes = principal_axes(points, 3)
    peer = PCA(3).fit(points)
    np.testing.assert_allclose(mean, points.mean(0))
    found, theirs = (points - mean) @ axes.T, peer.transform(points)
    np.testing.assert_allclose(np.abs(found), np.abs(theirs) / theirs[:, 0].std(), atol=1e-9)
    assert found[:, 0].std() == pytest.approx(1)


def test_components_without_any_spread_are_zero():
    points = np.ones((10, 5))
    mean, axes = principal_axes(points, 2)
    np.testing.assert_allclose((points - mean) @ axes.T, 0, atol=1e-6)


@pytest.mark.parametrize(("covariance", "numbers"), [("full", 10), ("spherical", 1)])
def test_a_mixture_finds_clouds_and_its_bic_is_that_of_the_formula(covariance, numbers):
    points, truth = blobs()
    found = fit_mixture(points, 3, seed=0, covariance=covariance)
    assert adjusted_rand_score(truth, found.labels) == 1
    np.testing.assert_allclose(sorted(found.weights), np.array([30, 40, 60]) / 130, atol=1e-3)
    densities = [
        weight * multivariate_normal(mean, np.linalg.inv(root @ root.T)).pdf(points)
        for weight, mean, root in zip(found.weights, found.means, found.precisions, strict=True)
    ]
    parameters = 3 * 4 + 3 * numbers + 2  # means, covariances, weights
    bic = parameters * np.log(130) - 2 * np.log(np.sum(densities, 0)).sum()
    assert found.bic == pytest.approx(bic)
    expected = np.transpose(densities) / np.sum(densities, 0)[:, None]
    np.testing.assert_allclose(
        posterior(points, found.weights, found.means, found.precisions), expected, atol=1e-9
    )


def test_the_lowest_bic_says_how_many_clouds_there_are():
    points, _ = blobs(sizes=(80, 80, 80, 80))
    bics = {k: fit_mixture(points, k, seed=0).bic for k in (2, 3, 4, 5, 6)}
    assert min(bics, key=bics.get) == 4


def test_balls_of_few_points_are_counted_where_full_covariances_find_fewer():
    rng = np.random.default_rng(4)
    points = np.concatenate([rng.normal(size=(40, 8)) + 1.5 * rng.normal(size=8) for _ in range(5)])
    numbers = {
        covariance: min(
            (fit_mixture(points, k, seed=0, covariance=covariance) for k in (2, 3, 4, 5, 6, 7)),
            key=lambda fitted: fitted.bic,
        ).count
        for covariance in ("full", "spherical")
    }
    assert numbers["spherical"] == 5
    assert numbers["full"] < 5


@pytest.mark.parametrize("covariance", ["full", "spherical"])
def test_a_warm_start_goes_on_from_the_labels(covariance):
    points, truth = blobs()
    spoiled = truth.copy()
    spoiled[:5] = 2
    warm = fit_mixture(points, 3, seed=0, covariance=covariance, previous=spoiled)
    np.testing.assert_array_equal(warm.labels, truth)
    # One step of the reference by hand: means of what the labels say, before anything is learnt.
    covariances = [np.cov(points[spoiled == k].T) + 1e-5 * np.eye(4) for k in range(3)]
    precisions = {
        "full": [np.linalg.inv(one) for one in covariances],
        "spherical": [4 / np.trace(one) for one in covariances],
    }
    peer = GaussianMixture(
        3,
        covariance_type=covariance,
        reg_covar=1e-5,
        weights_init=np.bincount(spoiled) / len(points),
        means_init=[points[spoiled == k].mean(0) for k in range(3)],
        precisions_init=precisions[covariance],
    ).fit(points)
    assert warm.bic == pytest.approx(peer.bic(points))
    np.testing.assert_allclose(warm.means, peer.means_)


def test_components_that_nobody_belongs_to_are_dropped():
    points = np.repeat(np.array([[0.0, 0.0], [9.0, 9.0]]), 20, axis=0)
    points += 1e-3 * np.random.default_rng(0).normal(size=points.shape)
    found = fit_mixture(points, 6, seed=0, regularisation=1e-2)
    assert found.count < 6
    assert set(found.labels) == set(range(found.count))
    assert found.weights.sum() == pytest.approx(1)
    again = posterior(points, found.weights, found.means, found.precisions).argmax(1)
    np.testing.assert_array_equal(again, found.labels)


def test_linear_discriminants_are_those_of_scikit_learn():
    points, labels = blobs(apart=1.0)
    directions, offsets = linear_discriminants(points, labels, 0.0)
    peer = LinearDiscriminantAnalysis(solver="lsqr").fit(points, labels)
    logits = points @ directions.T + offsets
    np.testing.assert_allclose(softmax(logits, 1), peer.predict_proba(points), atol=1e-9)


def test_matching_keeps_as_many_labels_as_possible():
    previous = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])
    labels = np.array([2, 2, 0, 0, 0, 0, 0, 1, 1])
    numbers = matching(labels, previous)
    np.testing.assert_array_equal(numbers, [1, 2, 0])
    assert (numbers[labels] == previous).sum() == 8


def test_matching_is_the_best_of_all_permutations():
    generator = np.random.default_rng(4)
    previous, labels = generator.integers(4, size=(2, 60))
    kept = (matching(labels, previous)[labels] == previous).sum()
    assert kept == max((np.array(p)[labels] == previous).sum() for p in permutations(range(4)))


def test_clusterings_of_different_numbers_are_not_matched():
    with pytest.raises(ValueError, match="2 clusters cannot be matched with 3; match clusterings"):
        matching(np.array([0, 1, 0]), np.array([0, 1, 2]))


def test_a_renumbered_mixture_is_the_same_with_other_names():
    points, _ = blobs()
    found = fit_mixture(points, 3, seed=0)
    numbers = np.array([2, 0, 1])
    moved = found.renumbered(numbers)
    np.testing.assert_array_equal(moved.labels, numbers[found.labels])
    again = posterior(points, moved.weights, moved.means, moved.precisions).argmax(1)
    np.testing.assert_array_equal(again, moved.labels)


def test_the_simplest_mixture_is_nearly_as_good_as_the_best():
    def mixture(count, bic):
        return Mixture(np.ones(count), np.empty(0), np.empty(0), np.empty(0, int), bic)

    tried = [mixture(k, bic) for k, bic in ((2, 80.0), (4, 14.0), (6, 10.5), (6, 11), (8, 10.0))]
    numbers = {t: simplest(tried, 100.0, t) for t in (0.0, 0.01, 0.05, 1.0)}
    assert [found.count for found in numbers.values()] == [8, 6, 4, 2]
    assert numbers[0.01].bic == 10.5
    worse = [mixture(2, 120.0), mixture(3, 110.0)]  # than a single one: nothing to give away
    assert simplest(worse, 100.0, 0.5).count == 3


def test_stretched_clouds_are_not_cut_into_balls_for_little():
    rng = np.random.default_rng(5)
    centres = 30 * np.eye(4)[:3]
    stretched = np.concatenate([c + rng.normal(size=(80, 4)) * [6, 1, 1, 1] for c in centres])
    fits = [fit_mixture(stretched, k, seed=0, covariance="spherical") for k in (2, 3, 5, 8)]
    alone = fit_mixture(stretched, 1, seed=0, covariance="spherical").bic
    assert simplest(fits, alone, 0.0).count > 3
    assert simplest(fits, alone, 0.25).count == 3


@pytest.mark.parametrize("covariance", ["full", "spherical"])
def test_surprise_is_the_mean_of_the_densities_of_the_own_groups(covariance):
    points, labels = blobs(apart=1.0)
    expected = []
    for k in range(3):
        members = points[labels == k]
        of_all = np.cov(members.T) + 1e-5 * np.eye(4)
        if covariance == "spherical":
            of_all = np.trace(of_all) / 4 * np.eye(4)
        density = multivariate_normal(members.mean(0), of_all).logpdf(members)
        expected.extend(-density - np.log(len(members) / len(points)))
    assert surprise(points, labels, covariance=covariance) == pytest.approx(np.mean(expected))
    mixed = np.random.default_rng(0).permutation(labels)
    assert surprise(points, mixed, covariance=covariance) > np.mean(expected)


def test_smoothed_labels_are_those_of_the_equation():
    soft = smoothed(np.array([2, 0]), 4, 0.2)
    np.testing.assert_allclose(soft, [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]])


def test_the_distortion_index_is_that_of_the_definition():
    points, labels = blobs(apart=1.0)
    means = [points[labels == k].mean(0) for k in range(3)]
    inverses = [np.linalg.inv(np.cov(points[labels == k].T) + 1e-5 * np.eye(4)) for k in range(3)]
    spread = [
        np.mean([mahalanobis(p, means[k], inverses[k]) ** 2 for p in points[labels == k]])
        for k in range(3)
    ]
    worst = [
        max(
            (spread[i] + spread[j])
            / (
                mahalanobis(means[j], means[i], inverses[i]) ** 2
                + mahalanobis(means[i], means[j], inverses[j]) ** 2
            )
            for i in range(3)
            if i != j
        )
        for j in range(3)
    ]
    assert distortion_index(points, labels) == pytest.approx(np.mean(worst))


def test_the_distortion_index_is_low_for_the_right_groups_and_blind_to_axes():
    points, truth = blobs()
    right = distortion_index(points, truth)
    assert right < distortion_index(points, np.roll(truth, 20))
    assert right < distortion_index(points, np.minimum(truth, 1))
    skewed = points @ np.random.default_rng(1).normal(size=(4, 4)) + 5
    assert distortion_index(skewed, truth, 1e-12) == pytest.approx(
        distortion_index(points, truth, 1e-12), rel=1e-6
    )


def test_a_lone_member_is_no_obstacle_and_one_cluster_is_apart_from_nothing():
    points, labels = blobs()
    labels[0] = 3
    assert np.isfinite(distortion_index(points, labels))
    assert distortion_index(points, np.zeros(len(points), dtype=np.int64)) == np.inf


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: kmeans(p[:3], 5, seed=0), "3 particles cannot make 5 groups; ask for fewer"),
        (lambda p: fit_mixture(p[:3], 5, seed=0), "3 particles cannot make 5 groups; ask for few"),
        (lambda p: fit_mixture(p * np.nan, 2, seed=0), "520 of 520 features are not finite; che"),
        (lambda p: principal_axes(p, 5), "5 principal components of 4 features; ask for fewer"),
    ],
)
def test_what_cannot_be_grouped_is_one_clear_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(blobs()[0])


def test_clusters_are_judged_by_their_best_matching():
    truth = np.array(["a"] * 4 + ["b"] * 3 + ["c"] * 3)
    clusters = np.array([5, 5, 5, 7, 7, 7, 7, 5, 9, 9])
    report = evaluate_clusters(truth, clusters)
    assert report.accuracy == pytest.approx(8 / 10)  # a is 5, b is 7, c is 9
    assert report.clusters == 3
    assert report.ari == pytest.approx(adjusted_rand_score(truth, clusters))
    assert report.nmi == pytest.approx(normalized_mutual_info_score(truth, clusters))


def test_more_clusters_than_classes_cost_accuracy_and_names_do_not():
    truth = np.repeat([0, 1], 10)
    assert evaluate_clusters(truth, 1 - truth).accuracy == 1
    split = evaluate_clusters(truth, np.arange(20) // 5)
    assert (split.clusters, split.accuracy) == (4, 0.5)
    assert evaluate_clusters(truth, np.zeros(20)).accuracy == 0.5
    assert evaluate_clusters(truth, np.zeros(20)).ari == 0


def test_clusters_of_other_particles_are_refused():
    with pytest.raises(ValueError, match="3 true classes but 2 clusters; give one of each a part"):
        evaluate_clusters([0, 1, 2], [0, 1])
