"""The order in which particles are met."""

import numpy as np
import pytest

from napari_cryoshift.core.types import Particles
from napari_cryoshift.widgets.queue import ORDERS, first_threshold, margin, novelty, priority

TABLE = Particles.at(
    [[0, 0, 0], [0, 0, 9], [0, 0, 3], [0, 0, 5]],
    score=[4.0, 3.0, 2.0, 1.0],
    predicted="a",
    probabilities=np.array([[0.5, 0.5], [0.9, 0.1], [0.7, 0.3], [1.0, 0.0]]),
    classes=("a", "b"),
)


def order_of(order, **context):
    return np.argsort(-priority(TABLE, order, **context), kind="stable").tolist()


def test_the_margin_is_best_minus_second():
    np.testing.assert_allclose(margin(TABLE), [0.0, 0.8, 0.4, 1.0])


def test_least_certain_first():
    assert order_of("least certain") == [0, 2, 1, 3]


def test_highest_score_first():
    assert order_of("highest score") == [0, 1, 2, 3]


def test_nearest_first():
    assert order_of("nearest", here=np.array([0, 0, 4.9])) == [3, 2, 1, 0]


def test_most_informative_is_uncertain_and_new():
    vectors = np.array([[0, 0], [0, 5], [0, 5], [0, 0]], np.float32)
    labelled = TABLE.replace(label=np.array(["", "", "", "a"], dtype=object))
    due = priority(labelled, "most informative", vectors=vectors)
    assert int(due.argmax()) == 2  # as doubtful as any that is far from what is labelled


def test_novelty_is_the_distance_to_the_nearest_labelled():
    vectors = np.array([[0, 0], [3, 4], [10, 0]], np.float32)
    labelled = np.array([True, False, False])
    np.testing.assert_allclose(novelty(vectors, labelled), [0, 5, 10])


@pytest.mark.parametrize("order", ORDERS)
def test_without_predictions_the_score_decides(order):
    bare = Particles.at(np.zeros((3, 3)), score=[1.0, 3.0, 2.0])
    assert int(priority(bare, order).argmax()) == 1


def test_the_first_threshold_parts_particles_from_background():
    rng = np.random.default_rng(0)
    background, particles = rng.normal(1, 0.2, 900), rng.normal(5, 0.5, 100)
    cut = first_threshold(np.concatenate([background, particles]))
    assert (background >= cut).mean() < 0.01
    assert cut < particles.min()


def test_a_few_gold_beads_do_not_count_as_the_particles():
    rng = np.random.default_rng(0)
    background, particles = rng.normal(1, 0.2, 900), rng.normal(5, 0.5, 100)
    beads = np.full(5, 200.0)
    cut = first_threshold(np.concatenate([background, particles, beads]))
    assert (background >= cut).mean() < 0.01
    assert cut < particles.min()


@pytest.mark.parametrize("scores", [[], [2.0], [3.0, 3.0]])
def test_where_there_is_nothing_to_part_all_are_shown(scores):
    scores = np.array(scores)
    assert (scores >= first_threshold(scores)).all()
