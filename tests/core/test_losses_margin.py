"""Losses of MLUDA, each recomputed by hand in plain numpy."""

import itertools

import numpy as np
import pytest
import torch

from napari_cryoshift.core.losses import (
    cognition_loss,
    inter_class_loss,
    intra_class_loss,
    moved_centres,
)

CLASSES, WIDTH = 4, 5


@pytest.fixture
def batch():
    """Twelve features of three of four classes, and centres of all."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(12, WIDTH))
    labels = np.array([0, 1, 3] * 4)  # none of class 2
    return features, labels, generator.normal(size=(CLASSES, WIDTH))


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


def gradient(loss, features):
    """Of a function of the features."""
    leaf = torch.from_numpy(features).requires_grad_()
    loss(leaf).backward()
    return leaf.grad.numpy()


def numeric(loss, features):
    """The same by differences."""
    found = np.zeros_like(features)
    for index in np.ndindex(*features.shape):
        step = np.zeros_like(features)
        step[index] = 1e-6
        ends = [float(loss(torch.from_numpy(features + s * step))) for s in (1, -1)]
        found[index] = (ends[0] - ends[1]) / 2e-6
    return found


@pytest.mark.parametrize("margin", [0.0, 1.5])
def test_the_intra_class_term_is_the_mean_square_beyond_the_margin(batch, margin):
    features, labels, centres = batch
    expected = np.mean(
        [
            max(0.0, ((h - centres[y]) ** 2).sum() - margin**2)
            for h, y in zip(features, labels, strict=True)
        ]
    )
    found = intra_class_loss(*tensors(features, labels, centres), margin)
    assert float(found) == pytest.approx(expected)


def test_within_the_inner_margin_nothing_pulls_and_beyond_it_straight_to_the_centre(batch):
    _, _, centres = batch
    labels = np.array([0, 1])
    features = centres[labels] + np.array([[0.5], [2.0]]) * np.eye(WIDTH)[:2]
    pull = gradient(lambda h: intra_class_loss(h, *tensors(labels, centres), 1.0), features)
    assert (pull[0] == 0).all()
    np.testing.assert_allclose(pull[1], 2 * (features[1] - centres[1]) / 2)


def test_the_inter_class_term_is_of_pairs_of_means_of_the_batch(batch):
    features, labels, _ = batch
    margin = 2.0
    means = [features[labels == k].mean(0) for k in (0, 1, 3)]
    expected = np.mean(
        [
            max(0.0, margin**2 - ((one - other) ** 2).sum())
            for one, other in itertools.combinations(means, 2)
        ]
    )
    assert expected > 0
    found = inter_class_loss(*tensors(features, labels), CLASSES, margin)
    assert float(found) == pytest.approx(expected)


def test_the_inter_class_term_parts_the_means_by_its_gradient(batch):
    features, labels, _ = batch

    def loss(h):
        return inter_class_loss(h, torch.from_numpy(labels), CLASSES, 3.0)

    push = gradient(loss, features)
    np.testing.assert_allclose(push, numeric(loss, features), atol=1e-6)
    assert (np.abs(push).sum(1) > 0).all()
    assert float(loss(torch.from_numpy(features - 0.1 * push))) < float(
        loss(torch.from_numpy(features))
    )


def test_one_class_alone_is_parted_from_nothing(batch):
    features, _, _ = batch
    lone = torch.zeros(len(features), dtype=torch.int64)
    push = gradient(lambda h: inter_class_loss(h, lone, CLASSES, 3.0), features)
    assert (push == 0).all()


def test_the_cognition_term_is_of_the_nearest_centre_beyond_the_margin(batch):
    features, _, centres = batch
    margin = 2.5
    nearest = [min(((h - c) ** 2).sum() for c in centres) for h in features]
    expected = np.mean([max(0.0, margin**2 - d) for d in nearest])
    found = cognition_loss(*tensors(features, centres), margin)
    assert float(found) == pytest.approx(expected)

    push = gradient(lambda h: cognition_loss(h, torch.from_numpy(centres), margin), features)
    near = np.array(nearest) < margin**2
    assert near.any()
    assert not near.all()
    assert (push[~near] == 0).all()
    closest = centres[[((h - centres) ** 2).sum(1).argmin() for h in features]]
    expected_push = -2 * (features - closest) / len(features)
    np.testing.assert_allclose(push[near], expected_push[near], atol=1e-9)


def test_a_batch_without_unknown_volumes_costs_nothing(batch):
    _, _, centres = batch
    none = torch.zeros(0, WIDTH, dtype=torch.float64, requires_grad=True)
    loss = cognition_loss(none, torch.from_numpy(centres), 2.0)
    assert loss.item() == 0
    loss.backward()


def test_centres_move_as_in_equations_3_and_4(batch):
    features, labels, centres = batch
    rate = 0.3
    expected = centres.copy()
    for j in range(CLASSES):
        mine = labels == j
        step = (centres[j] - features[mine]).sum(0) / (1 + mine.sum())
        expected[j] = centres[j] - rate * step
    moved = moved_centres(*tensors(centres, features, labels), rate)
    np.testing.assert_allclose(moved.numpy(), expected)
    np.testing.assert_array_equal(moved[2].numpy(), centres[2])  # of which there was none


def test_centres_come_to_the_means_and_no_gradient_flows_through_them(batch):
    features, labels, centres = batch
    h, y, c = tensors(features, labels, centres)
    assert not moved_centres(c, h.requires_grad_(), y, 0.5).requires_grad
    for _ in range(100):
        c = moved_centres(c, h, y, 0.5)
    for k in (0, 1, 3):
        np.testing.assert_allclose(c[k].numpy(), features[labels == k].mean(0), atol=1e-6)
