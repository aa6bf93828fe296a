"""Calibration: temperatures that are known are found, and figures are those counted by hand."""

import numpy as np
import pytest

from napari_cryoshift.core.calibration import kept, reliability, scaled, temperature


def drawn(n, sharper, seed=0):
    """Probabilities that are `sharper` than the truth, and classes drawn from the truth."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, 4)) * 2
    truth = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = np.array([generator.choice(4, p=row) for row in truth])
    return scaled(truth, 1 / sharper), true


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_that_makes_it_true_is_found(sharper):
    assert temperature(*drawn(4000, sharper)) == pytest.approx(sharper, rel=0.1)


def test_it_repairs_the_confidence_and_changes_no_answer():
    given, true = drawn(4000, 3.0)
    held_out = temperature(given[:2000], true[:2000])
    after = scaled(given, held_out)
    assert (after.argmax(1) == given.argmax(1)).all()
    right = (given.argmax(1) == true)[2000:]
    before_error = reliability(given.max(1)[2000:], right).error
    after_error = reliability(after.max(1)[2000:], right).error
    assert after_error < 0.03 < 0.15 < before_error


def test_scaling_is_the_softmax_of_logarithms():
    given, _ = drawn(10, 1.0)
    expected = np.exp(np.log(given) / 1.7)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(scaled(given, 1.7), expected)
    np.testing.assert_allclose(scaled([[1.0, 0.0]], 2.0), [[1.0, 0.0]], atol=1e-12)


def test_a_few_right_answers_make_nothing_certain():
    given = np.tile([0.7, 0.2, 0.1], (4, 1))
    few = temperature(given, np.zeros(4, int))
    many = temperature(np.tile(given, (100, 1)), np.zeros(400, int))
    assert many < few < 1
    assert scaled(given, few).max() < 0.95
    assert temperature(np.empty((0, 3)), []) == 1


def test_reliability_is_counted_bin_by_bin():
    sure = [0.05, 0.45, 0.41, 1.0, 0.95]
    right = [True, False, True, True, True]
    found = reliability(sure, right, bins=10)
    np.testing.assert_allclose(found.sure, [0.05, 0.43, 0.975])
    np.testing.assert_allclose(found.right, [1, 0.5, 1])
    np.testing.assert_array_equal(found.count, [1, 2, 2])
    assert found.error == pytest.approx((0.95 + 2 * 0.07 + 2 * 0.025) / 5)


def test_a_threshold_keeps_what_is_as_sure_or_surer():
    sure, right = [0.2, 0.5, 0.7, 0.9], [True, False, True, True]
    found = kept(sure, right, 0.5)
    assert (found.count, found.of, found.right) == (3, 4, 2)
    assert found.share == 0.75
    assert found.precision == pytest.approx(2 / 3)
    low, high = found.interval
    assert low < 2 / 3 < high
    nothing = kept(sure, right, 0.95)
    assert np.isnan(nothing.precision)
    assert nothing.interval == (0.0, 1.0)


def test_the_share_kept_never_grows_with_the_threshold():
    generator = np.random.default_rng(0)
    sure, right = generator.random(50), generator.random(50) < 0.5
    shares = [kept(sure, right, t).share for t in np.linspace(0, 1, 21)]
    assert shares[0] == 1
    assert all(np.diff(shares) <= 0)


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match="give one an answer"):
        kept([0.5], [True, False], 0.5)
    with pytest.raises(ValueError, match="one row and one class"):
        temperature(np.ones((2, 2)), [0])
    with pytest.raises(ValueError, match="at least one"):
        reliability([], [])
