"""Metrics of open-set recognition: by hand, and what must hold whatever the answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from napari_cryoshift.core.open_set import (
    auroc,
    guesses,
    is_unknown,
    nearest_known,
    open_set_report,
    oscr,
    withheld,
)
from napari_cryoshift.core.types import OTHER, Particles

NAMES = ("a", "b", "c", OTHER)


def test_the_four_accuracies_are_those_counted_by_hand():
    true = ["a"] * 4 + ["b"] * 2 + [OTHER] * 10
    said = ["a", "a", "a", "b"] + ["b", OTHER] + [OTHER] * 9 + ["a"]
    report = open_set_report(true, said)
    assert report.overall == pytest.approx(13 / 16)
    assert report.known == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert report.unknown == pytest.approx(9 / 10)
    assert report.per_class == pytest.approx((3 / 4 + 1 / 2 + 9 / 10) / 3)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from((*NAMES, "d"))), max_size=40),
    st.sampled_from(NAMES[:3]),
    st.sampled_from(NAMES),
)
def test_os_lies_between_os_of_the_known_and_the_unknown(pairs, known, answer):
    true, said = zip(*pairs, (known, answer), (OTHER, answer), strict=True)
    report = open_set_report(true, said)
    low, high = sorted((report.known, report.unknown))
    assert low - 1e-9 <= report.per_class <= high + 1e-9
    every = (report.overall, report.per_class, report.known, report.unknown)
    assert all(0 <= figure <= 1 for figure in every)


def test_a_name_that_is_no_class_is_merely_wrong():
    report = open_set_report(["a", "a", OTHER], ["a", "no class", OTHER])
    assert (report.known, report.unknown) == (0.5, 1.0)


@pytest.mark.parametrize("true", [["a", "b"], [OTHER, OTHER]])
def test_without_known_or_unknown_ones_it_says_so(true):
    with pytest.raises(ValueError, match="at least one of each"):
        open_set_report(true, true)


@pytest.fixture
def answers():
    """Sureness with ties, whether the name is right, and whether there is one."""
    generator = np.random.default_rng(0)
    known = generator.random(60) < 0.6
    sure = np.round(generator.random(60) + 0.3 * known, 1)
    return sure, known & (generator.random(60) < 0.7), known


def test_auroc_is_that_of_scikit_learn_and_of_pairs(answers):
    sure, _, known = answers
    pairs = np.sign(sure[known][:, None] - sure[~known][None])
    assert auroc(sure, known) == pytest.approx(roc_auc_score(known, sure))
    assert auroc(sure, known) == pytest.approx(((pairs + 1) / 2).mean())


def test_oscr_is_the_area_under_the_curve_of_its_definition(answers):
    """Correct classification rate over false positive rate, threshold by threshold."""
    sure, right, known = answers
    thresholds = [np.inf, *np.unique(sure)[::-1]]
    rate = [(known & right & (sure >= t)).sum() / known.sum() for t in thresholds]
    false = [(~known & (sure >= t)).sum() / (~known).sum() for t in thresholds]
    assert oscr(sure, right, known) == pytest.approx(np.trapezoid(rate, false))
    assert oscr(sure, right, known) < auroc(sure, known)


def test_with_all_names_right_it_is_the_area_under_roc(answers):
    sure, _, known = answers
    assert oscr(sure, known, known) == pytest.approx(auroc(sure, known))


# --- what stays without an answer ---


def predicted():
    """Two classes and other; the last particle was not looked at."""
    probabilities = np.array([[0.9, 0.1, 0], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6], [np.nan] * 3])
    return Particles.at(
        np.zeros((4, 3)),
        predicted=np.array(["a", "b", OTHER, ""], dtype=object),
        confidence=probabilities.max(1),
        probabilities=probabilities,
        classes=("a", "b", OTHER),
    )


def test_an_answer_that_is_not_sure_enough_is_taken_back_and_nothing_else():
    table = predicted()
    after = withheld(table, 0.55)
    assert after.predicted.tolist() == ["a", "", OTHER, ""]
    assert is_unknown(after).tolist() == [False, True, False, False]
    np.testing.assert_array_equal(after.probabilities, table.probabilities)
    np.testing.assert_array_equal(after.confidence, table.confidence)
    assert guesses(after).tolist() == ["a", "b", OTHER, ""]
    assert not is_unknown(withheld(table, 0.0)).any()


def test_the_nearest_known_class_is_never_other():
    table = predicted().take([0, 1, 2])
    sure, names = nearest_known(table.probabilities, table.classes)
    np.testing.assert_allclose(sure, [0.9, 0.5, 0.2])
    assert names.tolist()[:2] == ["a", "b"]
    assert names[2] != OTHER
