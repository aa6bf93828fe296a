"""Distances between domains, beside independent implementations of them."""

import numpy as np
import ot
import pytest
import torch

from napari_cryoshift.core.losses import coral_loss, group_confusion_loss, sliced_wasserstein


def two_domains(n=40, m=30, width=6):
    generator = np.random.default_rng(0)
    source = generator.normal(size=(n, width))
    target = generator.normal(size=(m, width)) @ generator.normal(size=(width, width)) + 3
    return source, target


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


# --------------------------------------------------------------------------- CORAL


def test_coral_is_the_distance_of_the_covariances_of_numpy():
    source, target = two_domains()
    difference = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    expected = np.linalg.norm(difference, "fro") ** 2 / (4 * 6**2)
    loss = coral_loss(*tensors(source, target))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_coral_is_equations_3_to_5_of_fsft():
    source, target = two_domains(n=7, m=5, width=3)

    def covariance(features):
        one = np.ones((len(features), 1))
        mean_part = (one.T @ features).T @ (one.T @ features) / len(features)
        return (features.T @ features - mean_part) / (len(features) - 1)

    expected = 0.0
    for row in covariance(source) - covariance(target):
        for entry in row:
            expected += entry**2 / (4 * 3**2)
    loss = coral_loss(*tensors(source, target))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_coral_does_not_see_a_shift_of_the_mean_but_a_scale():
    source, _ = tensors(*two_domains())
    assert float(coral_loss(source, source + 5)) == pytest.approx(0, abs=1e-9)
    assert float(coral_loss(source, 2 * source)) > 0.01


def test_whitening_and_colouring_brings_coral_to_nothing():
    """The closed form that Deep CORAL learns (Sun et al. 2016, algorithm 1)."""
    source, target = two_domains()

    def power(matrix, exponent):
        values, vectors = np.linalg.eigh(matrix)
        return vectors @ np.diag(values**exponent) @ vectors.T

    of_source, of_target = (np.cov(x, rowvar=False) for x in (source, target))
    coloured = source @ power(of_source, -0.5) @ power(of_target, 0.5)
    before = coral_loss(*tensors(source, target))
    after = coral_loss(*tensors(coloured, target))
    assert after < 1e-8 * before


# --------------------------------------------------------------- sliced Wasserstein


def directions(width, count):
    drawn = np.random.default_rng(1).normal(size=(width, count))
    return drawn / np.linalg.norm(drawn, axis=0)


def test_the_sliced_wasserstein_distance_is_that_of_pot():
    source, target = two_domains(n=30, m=30)
    projections = directions(6, 50)
    expected = ot.sliced_wasserstein_distance(source, target, projections=projections, p=2) ** 2
    loss = sliced_wasserstein(*tensors(source, target, projections))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_along_one_axis_it_is_the_exact_transport_of_pot():
    source, target = two_domains(n=20, m=20, width=1)
    expected = ot.emd2([], [], ot.dist(source, target))  # squared Euclidean, uniform weights
    loss = sliced_wasserstein(*tensors(source, target, np.ones((1, 1))))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_it_is_nothing_for_the_same_volumes_in_another_order_and_grows_with_their_distance():
    source, _ = two_domains()
    projections = directions(6, 20)
    shuffled = np.random.default_rng(2).permutation(source)
    assert float(sliced_wasserstein(*tensors(source, shuffled, projections))) == 0
    near, far = (
        float(sliced_wasserstein(*tensors(source, source + by, projections))) for by in (1, 3)
    )
    # A shift v costs the mean of (θᵀv)².
    assert near == pytest.approx(np.mean(projections.sum(0) ** 2), rel=1e-5)
    assert far == pytest.approx(9 * near, rel=1e-5)


def test_it_keeps_its_precision_under_autocast():
    source = torch.randn(30, 6)
    projections = torch.from_numpy(directions(6, 20)).float()
    with torch.autocast("cpu", torch.bfloat16):
        half = sliced_wasserstein(source, source + 0.01, projections)
    assert torch.equal(half, sliced_wasserstein(source, source + 0.01, projections))


# ------------------------------------------------------------------- groups of pairs


def test_confusion_is_equation_8_of_fsft_with_a_plus():
    generator = np.random.default_rng(0)
    same, different = generator.normal(size=(3, 4)), generator.normal(size=(3, 4))
    expected = 0.0
    for logits, passes_for in ((same, 0), (different, 2)):  # G2 for G1, G4 for G3
        for row in logits:
            expected -= np.log(np.exp(row[passes_for]) / np.exp(row).sum()) / 6
    loss = group_confusion_loss(*tensors(same, different))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_confusion_never_mixes_classes():
    """G2 is to pass for G1, not for G3 or G4, which are of different classes."""
    surely = 20.0 * torch.eye(4)
    losses = [float(group_confusion_loss(surely[[g]], surely[[2]])) for g in range(4)]
    assert np.argmin(losses) == 0
    losses = [float(group_confusion_loss(surely[[0]], surely[[g]])) for g in range(4)]
    assert np.argmin(losses) == 2
