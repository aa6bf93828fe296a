"""Blocks of features: all of one spread, whatever they are made of."""

import numpy as np
import pytest

from napari_cryoshift.core.features import Block, contrast, fits, joined, learned
from napari_cryoshift.core.types import Particles


@pytest.fixture
def scored():
    """200 particles with picking scores."""
    generator = np.random.default_rng(5)
    return Particles.at(generator.uniform(0, 100, (200, 3)), score=generator.gamma(4, 2, 200))


def spread(values):
    return np.square(values - values.mean(0)).sum(1).mean()


def test_a_block_is_centred_and_of_unit_spread():
    generator = np.random.default_rng(0)
    for shape in ((200, 8), (200,)):
        block = Block.of(generator.normal(40, 7, shape))
        assert block.values.dtype == np.float32
        np.testing.assert_allclose(block.values.mean(0), 0, atol=1e-4)
        assert spread(block.values) == pytest.approx(1, rel=1e-4)


def test_scale_and_offset_of_features_do_not_matter():
    values = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    np.testing.assert_allclose(learned(30 * values - 5).values, learned(values).values, atol=1e-5)
    np.testing.assert_allclose(fits(3 * values + 1).values, fits(values).values, atol=1e-4)


def test_weights_say_how_much_squared_distances_count():
    generator = np.random.default_rng(2)
    one = Block.of(generator.normal(size=(30, 4)))
    other = Block.of(generator.normal(size=(30, 2)), 0.5)

    def apart(values):
        return np.square(values[0] - values[1]).sum()

    expected = apart(one.values) + 0.25 * apart(other.values)
    assert apart(joined([one, other])) == pytest.approx(expected, rel=1e-5)
    twice = joined([one, other.times(2)])
    assert apart(twice) == pytest.approx(apart(one.values) + apart(other.values), rel=1e-5)


def test_what_nobody_has_looked_at_yet_counts_as_the_mean():
    values = np.random.default_rng(3).normal(2, 1, (20, 5)).astype(np.float32)
    some = values.copy()
    some[[4, 9]] = np.nan
    rest = np.setdiff1d(np.arange(20), [4, 9])
    for make in (learned, fits):
        block = make(some)
        np.testing.assert_array_equal(block.values[[4, 9]], 0)
        np.testing.assert_allclose(block.values[rest], make(values[rest]).values, atol=1e-5)
    assert (learned(np.full((3, 2), np.nan, np.float32)).values == 0).all()
    assert (fits(np.full((3, 2), np.nan, np.float32)).values == 0).all()


def test_what_all_fits_have_in_common_does_not_drown_what_tells_them_apart():
    generator = np.random.default_rng(4)
    own = generator.normal(size=(400, 10))
    scores = (own + 5 * generator.normal(size=(400, 1))).astype(np.float32)

    def share_of_the_strongest(values):
        variance = np.linalg.eigvalsh(np.cov(values.T))
        return variance[-1] / variance.sum()

    assert share_of_the_strongest(scores) > 0.9
    assert share_of_the_strongest(fits(scores).values) < 0.6
    assert np.isfinite(fits(np.ones((6, 3), np.float32)).values).all()


def test_a_better_picking_score_stays_better(scored):
    block = contrast(scored)
    assert spread(block.values) == pytest.approx(1, rel=1e-4)
    assert (np.diff(block.values[np.argsort(scored.score), 0]) >= 0).all()


def test_without_scores_there_is_no_such_block(scored):
    assert contrast(Particles.at(scored.positions)) is None


def test_a_gold_bead_does_not_flatten_the_scores_of_particles(scored):
    score = scored.score.copy()
    score[17] = 1e6
    column = contrast(scored.replace(score=score)).values[:, 0]
    assert np.delete(column, 17).std() > 0.8
    assert column[17] == column.max()


def test_a_clicked_particle_takes_the_score_of_the_nearest(scored):
    score, positions = scored.score.copy(), scored.positions.copy()
    score[3], positions[3] = np.nan, positions[8] + 0.1
    column = contrast(scored.replace(score=score, positions=positions)).values
    assert column[3] == column[8]
    assert np.isfinite(column).all()


def test_equal_features_stay_finite():
    alike = Particles.at(np.zeros((4, 3)), score=1.0)
    assert np.isfinite(joined([learned(np.ones((4, 2), np.float32)), contrast(alike)])).all()
