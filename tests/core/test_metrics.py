import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.stats import bootstrap
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    classification_report,
    confusion_matrix,
    f1_score,
)

from napari_cryoshift.core.metrics import (
    class_table,
    evaluate_classes,
    evaluate_detections,
    match_positions,
    mean_interval,
    precision_recall,
)
from napari_cryoshift.core.types import OTHER, Particles


def on_a_line(*x):
    return np.array([[0.0, 0.0, value] for value in x])


def test_the_better_of_two_takes_the_true_position_even_if_it_is_farther():
    matching = match_positions(on_a_line(90, 101), on_a_line(100), radius=20)
    assert_array_equal(matching, [0, -1])


def test_each_takes_the_nearest_that_is_free():
    truth = on_a_line(0, 10, 100)
    assert_array_equal(match_positions(on_a_line(6, 7, 8, 100), truth, radius=12), [1, 0, -1, 2])


def test_the_radius_itself_still_matches():
    found = on_a_line(30)
    assert_array_equal(match_positions(found, on_a_line(50), radius=20), [0])
    assert_array_equal(match_positions(found, on_a_line(50), radius=19.999), [-1])


@given(
    found=arrays(float, st.tuples(st.integers(0, 25), st.just(3)), elements=st.floats(0, 20)),
    truth=arrays(float, st.tuples(st.integers(0, 25), st.just(3)), elements=st.floats(0, 20)),
    radius=st.floats(0.5, 15),
)
@settings(deadline=None, max_examples=60)
def test_matching_is_one_to_one_near_and_maximal(found, truth, radius):
    matching = match_positions(found, truth, radius)
    hit = matching >= 0
    assert len(set(matching[hit])) == hit.sum()
    if not (len(found) and len(truth)):
        assert not hit.any()
        return
    distances = cdist(found, truth)
    assert (distances[hit, matching[hit]] <= radius).all()
    left = np.setdiff1d(np.arange(len(truth)), matching)
    assert not (distances[~hit][:, left] < radius).any()


def test_detection_by_hand():
    truth = on_a_line(0, 100, 200, 300)
    found = on_a_line(500, 1, 199, 2)  # the last is a second one at the first true position
    report = evaluate_detections(found, [0.1, 0.9, 0.5, 0.7], truth, radius=10, at=(1, 2, 3, 50))
    # Ranked: hit (1 of 1), double (no), hit (2 of 3), nothing (no); two true ones are missed.
    assert (report.found, report.truth, report.matched) == (4, 4, 2)
    assert report.recall == 0.5
    assert report.precision == 0.5
    assert report.f1 == 0.5
    assert report.average_precision == pytest.approx((1 + 2 / 3 + 0 + 0) / 4)
    assert report.recall_at == {1: 0.25, 2: 0.25, 3: 0.5, 50: 0.5}


def test_average_precision_is_scikit_learns_when_all_is_found():
    rng = np.random.default_rng(0)
    hits = np.append(rng.random(60) < 0.4, True)
    scores = rng.integers(0, 15, len(hits)).astype(float)  # with ties
    found = on_a_line(*(100.0 * np.arange(len(hits))))
    report = evaluate_detections(found, scores, found[hits], radius=1)
    assert report.average_precision == pytest.approx(average_precision_score(hits, scores))
    missed = np.concatenate([found[hits], -found[1:] - 50])
    halved = evaluate_detections(found, scores, missed, radius=1)
    share = hits.sum() / len(missed)
    assert halved.average_precision == pytest.approx(report.average_precision * share)


def test_nothing_found_is_a_result_and_no_truth_is_an_error():
    report = evaluate_detections(np.empty((0, 3)), [], on_a_line(1, 2), radius=5, at=(10,))
    assert (report.recall, report.precision, report.f1, report.average_precision) == (0, 0, 0, 0)
    assert report.recall_at == {10: 0}
    with pytest.raises(ValueError, match="true positions is empty"):
        evaluate_detections(on_a_line(1), [1.0], np.empty((0, 3)), radius=5)


def test_curve_ends_at_the_figures_of_the_report():
    rng = np.random.default_rng(3)
    found, truth = rng.uniform(0, 50, (40, 3)), rng.uniform(0, 50, (30, 3))
    scores = rng.permutation(40.0 * np.arange(1, 41))
    precision, recall = precision_recall(found, scores, truth, radius=12)
    report = evaluate_detections(found, scores, truth, radius=12, at=(1, 20))
    assert 0 < report.recall < 1
    assert precision.shape == recall.shape == (40,)
    assert precision[-1] == pytest.approx(report.precision)
    assert recall[-1] == pytest.approx(report.recall)
    assert recall[[0, 19]] == pytest.approx([report.recall_at[1], report.recall_at[20]])
    steps = np.diff(recall, prepend=0)
    assert report.average_precision == pytest.approx((precision * steps).sum())


@pytest.mark.parametrize(
    ("found", "scores", "radius", "says"),
    [
        (on_a_line(1, 2), [1.0], 5, "2 found positions but scores of shape"),
        (on_a_line(1, 2), [1.0, np.nan], 5, "1 of 2 scores are not finite"),
        (np.ones((4, 2)), np.ones(4), 5, r"found positions have shape \(4, 2\)"),
        (on_a_line(1, 2), [1.0, 2.0], 0, "radius is 0 Å"),
        (on_a_line(1, 2), [1.0, 2.0], np.nan, "radius is nan Å"),
    ],
)
def test_what_cannot_be_compared_is_refused(found, scores, radius, says):
    with pytest.raises(ValueError, match=says):
        evaluate_detections(found, scores, on_a_line(1), radius)


def test_the_recall_of_none_is_refused():
    with pytest.raises(ValueError, match="no recall of the 0 best; give lengths of at least 1"):
        evaluate_detections(on_a_line(1), [1.0], on_a_line(1), 5, at=(10, 0))


def classified(x, predicted, score):
    return Particles.at(on_a_line(*x), predicted=np.array(predicted, dtype=object), score=score)


def test_classes_by_hand():
    truth = on_a_line(0, 10, 20, 30, 40)
    classes = ["ribosome", "ribosome", "ribosome", "proteasome", "proteasome"]
    particles = classified(
        x=[0, 10, 20, 30, 70, 80],
        predicted=["ribosome", "proteasome", OTHER, "proteasome", "ribosome", OTHER],
        score=[6, 5, 4, 3, 2, 1],
    )
    report = evaluate_classes(particles, truth, classes, radius=20, voxel_size=10)
    assert report.matched == 4
    assert report.accuracy == 2 / 4
    # Of two called ribosome one is; of three ribosomes one is called so. Likewise the proteasomes.
    assert report.precision == pytest.approx({"ribosome": 1 / 2, "proteasome": 1 / 2})
    assert report.recall == pytest.approx({"ribosome": 1 / 3, "proteasome": 1 / 2})
    assert report.f1 == pytest.approx({"ribosome": 2 / 5, "proteasome": 1 / 2})
    assert report.macro_f1 == pytest.approx((2 / 5 + 1 / 2) / 2)


def test_classes_agree_with_scikit_learn_where_every_position_has_a_particle():
    rng = np.random.default_rng(5)
    names = np.array(["a", "b", "c"], dtype=object)
    true, said = names[rng.integers(0, 3, 50)], names[rng.integers(0, 3, 50)]
    x = 10.0 * np.arange(50)
    report = evaluate_classes(
        classified(x, said, rng.random(50)), on_a_line(*x), true, radius=1, voxel_size=1
    )
    assert report.accuracy == pytest.approx(accuracy_score(true, said))
    assert report.macro_f1 == pytest.approx(f1_score(true, said, average="macro"))


def test_the_radius_of_classes_is_in_angstrom():
    particles = classified([13], ["a"], [1.0])
    near = evaluate_classes(particles, on_a_line(10), ["a"], radius=31, voxel_size=10)
    far = evaluate_classes(particles, on_a_line(10), ["a"], radius=29, voxel_size=10)
    assert (near.matched, near.accuracy, near.macro_f1) == (1, 1, 1)
    assert (far.matched, far.accuracy, far.macro_f1) == (0, 0, 0)


def test_particles_without_a_score_match_last():
    particles = classified([11, 10], ["a", "b"], [np.nan, 0.1])
    report = evaluate_classes(particles, on_a_line(10), ["b"], radius=5, voxel_size=1)
    assert report.accuracy == 1


def test_one_class_a_true_position():
    with pytest.raises(ValueError, match="2 true positions but 1 classes"):
        evaluate_classes(classified([1], ["a"], [1.0]), on_a_line(1, 2), ["a"], 5, voxel_size=1)
    with pytest.raises(ValueError, match="true positions is empty"):
        evaluate_classes(classified([1], ["a"], [1.0]), np.empty((0, 3)), [], 5, voxel_size=1)


def test_interval_by_hand():
    # s = √2.5 and the tabulated t(0.975, 4) = 2.776
    mean, half_width = mean_interval([1, 2, 3, 4, 5])
    assert mean == 3
    assert half_width == pytest.approx(2.776 * np.sqrt(2.5 / 5), rel=1e-3)
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([0.5])


def test_interval_of_many_values_is_that_of_the_bootstrap():
    values = np.random.default_rng(7).beta(5, 2, 600)
    mean, half_width = mean_interval(values)
    interval = bootstrap((values,), np.mean, n_resamples=2000, rng=8).confidence_interval
    assert_allclose([mean - half_width, mean + half_width], interval, atol=0.1 * half_width)


# --- classes, name by name ---

TRUE = ["a", "a", "a", "b", "b", OTHER, OTHER, "c"]
SAID = ["a", "a", "b", "b", OTHER, OTHER, "d", "a"]


def test_a_class_table_is_that_of_scikit_learn():
    table = class_table(TRUE, SAID)
    assert table.classes == ("a", "b", "c", "d", OTHER)
    names = list(table.classes)
    assert_array_equal(table.confusion, confusion_matrix(TRUE, SAID, labels=names))
    report = classification_report(TRUE, SAID, labels=names, output_dict=True, zero_division=0)
    for i, name in enumerate(names):
        figures = [table.precision[i], table.recall[i], table.f1[i], table.support[i]]
        assert figures == pytest.approx(list(report[name].values()))
    assert table.accuracy == pytest.approx(accuracy_score(TRUE, SAID))
    assert table.weighted == pytest.approx(list(report["weighted avg"].values())[:3])
    # "d" never truly occurs, and is no class to do well in.
    occur = ["a", "b", "c", OTHER]
    real = classification_report(TRUE, SAID, labels=occur, output_dict=True, zero_division=0)
    assert table.macro == pytest.approx(list(real["macro avg"].values())[:3])


def test_a_class_table_by_hand():
    table = class_table(TRUE, SAID)
    assert table.precision.tolist() == pytest.approx([2 / 3, 1 / 2, 0, 0, 1 / 2])
    assert table.recall.tolist() == pytest.approx([2 / 3, 1 / 2, 0, 0, 1 / 2])
    assert table.support.tolist() == [3, 2, 1, 0, 2]
    assert table.accuracy == 0.5


def test_a_class_table_needs_a_pair_of_names_each():
    with pytest.raises(ValueError, match="2 true classes but 1 to compare; give one each"):
        class_table(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="0 true classes but 0 to compare"):
        class_table([], [])
