import numpy as np
import pytest
import torch

from napari_cryoshift.core.fewshot import FewShotParams, fit_head, with_score
from napari_cryoshift.core.types import OTHER, Particles

CLASSES = ("ribosome", "proteasome", OTHER)
RULE = FewShotParams(shrinkage=1.0, reach=1.5)


@pytest.fixture
def support():
    """Twelve labelled embeddings of three classes about corners of a triangle."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor([[4.0, 0, 0], [0, 4, 0], [-3, -3, 0]])
    labels = torch.arange(3).repeat_interleave(4)
    return corners[labels] + 0.5 * torch.randn(12, 3, generator=generator), labels


def by_hand(embeddings, labels, query, *, shrinkage, reach):
    """The few-shot rule written out in loops of double precision."""
    x, y, q = (np.asarray(a, dtype=np.float64) for a in (embeddings, labels, query))
    classes = range(int(y.max()) + 1)
    origin = x.mean(0)
    x, q = x - origin, q - origin
    prototypes = [x[y == c].sum(0) / ((y == c).sum() + shrinkage) for c in classes]

    left_out = np.empty((len(x), len(classes)))
    for i in range(len(x)):
        for c in classes:
            rest = (y == c) & (np.arange(len(x)) != i)
            prototype = x[rest].sum(0) / (rest.sum() + shrinkage)
            left_out[i, c] = ((x[i] - prototype) ** 2).sum()
    own = left_out[np.arange(len(x)), y.astype(int)]
    spread = own[y < len(classes) - 1].mean()

    def surprise(temperature):
        p = np.exp(-left_out / temperature)
        return -np.log(p[np.arange(len(x)), y.astype(int)] / p.sum(1)).mean()

    temperature = min(spread * np.array([0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2]), key=surprise)
    odds = np.array([[np.exp(-((a - p) ** 2).sum() / temperature) for p in prototypes] for a in q])
    odds[:, -1] += np.exp(-(reach**2) * spread / temperature)
    return odds / odds.sum(1, keepdims=True)


def test_probabilities_are_those_computed_by_hand(support):
    embeddings, labels = support
    query = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)) * 3
    head = fit_head(embeddings, labels, CLASSES, RULE)
    expected = by_hand(embeddings, labels, query, shrinkage=1.0, reach=1.5)
    np.testing.assert_allclose(head.predict(query).numpy(), expected, rtol=2e-3, atol=1e-5)


def test_prototypes_are_class_means_pulled_to_the_mean_of_all_by_the_shrinkage(support):
    embeddings, labels = support
    for shrinkage in (0.0, 2.0):
        head = fit_head(embeddings, labels, CLASSES, FewShotParams(shrinkage=shrinkage))
        for label, prototype in enumerate(head.prototypes):
            mean = embeddings[labels == label].mean(0) - embeddings.mean(0)
            torch.testing.assert_close(prototype, mean * 4 / (4 + shrinkage))


def test_rows_sum_to_1_and_members_get_their_class(support):
    embeddings, labels = support
    probabilities = fit_head(embeddings, labels, CLASSES, RULE).predict(embeddings)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(12))
    assert (probabilities.argmax(1) == labels).all()


def test_a_point_far_from_all_is_other_even_if_nobody_labelled_an_other(support):
    embeddings, labels = support
    named = labels < 2
    head = fit_head(embeddings[named], labels[named], CLASSES, RULE)
    near_and_far = torch.tensor([[4.0, 0, 0], [60, 0, 0], [0, 0, -60]])
    assert head.predict(near_and_far).argmax(1).tolist() == [0, 2, 2]


def test_a_longer_reach_calls_fewer_particles_other(support):
    embeddings, labels = support
    query = torch.randn(200, 3, generator=torch.Generator().manual_seed(2)) * 4
    share = [
        float(
            fit_head(embeddings, labels, CLASSES, FewShotParams(reach=r)).predict(query)[:, 2].sum()
        )
        for r in (0.8, 1.6, 3.2)
    ]
    assert share[0] > share[1] > share[2]


def test_moving_and_scaling_the_embedding_space_changes_nothing(support):
    embeddings, labels = support
    query = torch.randn(10, 3, generator=torch.Generator().manual_seed(3)) * 3
    plain = fit_head(embeddings, labels, CLASSES, RULE).predict(query)

    def moved(x):
        return 25 * x + torch.tensor([7.0, -40, 3])

    again = fit_head(moved(embeddings), labels, CLASSES, RULE).predict(moved(query))
    torch.testing.assert_close(again, plain, atol=1e-4, rtol=1e-3)


def test_the_order_of_the_labelled_particles_does_not_matter(support):
    embeddings, labels = support
    order = torch.randperm(12, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(
        fit_head(embeddings[order], labels[order], CLASSES, RULE).predict(embeddings),
        fit_head(embeddings, labels, CLASSES, RULE).predict(embeddings),
    )


def test_one_label_a_class_is_enough():
    embeddings = torch.tensor([[3.0, 0], [0, 3.0]])
    head = fit_head(embeddings, torch.tensor([0, 1]), CLASSES, RULE)
    probabilities = head.predict(embeddings)
    assert torch.isfinite(probabilities).all()
    assert probabilities.argmax(1).tolist() == [0, 1]


def test_identical_labelled_particles_give_finite_probabilities():
    head = fit_head(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), CLASSES, RULE)
    assert torch.isfinite(head.predict(torch.zeros(1, 2))).all()


@pytest.mark.parametrize(
    ("labels", "seen"),
    [
        ([0, 0], "2 ribosome, 0 proteasome, 0 other"),
        ([0, 2], "1 ribosome, 0 proteasome, 1 other"),
        ([], "0 ribosome, 0 proteasome, 0 other"),
    ],
)
def test_too_few_labelled_classes_is_one_clear_sentence(labels, seen):
    with pytest.raises(ValueError, match=f"labelled so far: {seen}; label at least one"):
        fit_head(torch.zeros(len(labels), 2), torch.tensor(labels).long(), CLASSES, RULE)


def test_an_other_that_nobody_labelled_leaves_no_nan_behind():
    for shrinkage in (0.0, 1.0):
        params = FewShotParams(shrinkage=shrinkage)
        head = fit_head(torch.eye(4), torch.tensor([0, 0, 1, 1]), CLASSES, params)
        assert torch.isfinite(head.prototypes).all()
        assert torch.isfinite(head.predict(torch.eye(4))).all()


# -------------------------------------------------------------------------------- picking scores


@pytest.fixture
def scored():
    """200 embeddings and particles with picking scores."""
    generator = np.random.default_rng(5)
    vectors = generator.normal(3, 2, (200, 8)).astype(np.float32)
    particles = Particles.at(generator.uniform(0, 100, (200, 3)), score=generator.gamma(4, 2, 200))
    return vectors, particles


def test_the_score_is_one_more_feature(scored):
    vectors, particles = scored
    joined = with_score(vectors, particles)
    assert joined.shape == (200, 9)
    assert np.square(joined[:, :8]).sum(1).mean() == pytest.approx(1, rel=1e-4)
    assert joined[:, 8].std() == pytest.approx(1, rel=1e-4)
    order = np.argsort(particles.score)
    assert (np.diff(joined[order, 8]) >= 0).all()


def test_without_scores_only_the_looks_count(scored):
    vectors, particles = scored
    plain = with_score(vectors, Particles.at(particles.positions))
    centred = vectors - vectors.mean(0)
    expected = centred / np.sqrt((centred**2).sum(1).mean())
    np.testing.assert_allclose(plain, expected, atol=1e-5)
    np.testing.assert_allclose(with_score(vectors, particles)[:, :8], plain, atol=1e-6)


def test_a_gold_bead_does_not_flatten_the_scores_of_particles(scored):
    vectors, particles = scored
    score = particles.score.copy()
    score[17] = 1e6
    column = with_score(vectors, particles.replace(score=score))[:, 8]
    rest = np.arange(200) != 17
    assert column[rest].std() > 0.8
    assert column[17] == column.max()


def test_a_clicked_particle_takes_the_score_of_the_nearest(scored):
    vectors, particles = scored
    score, positions = particles.score.copy(), particles.positions.copy()
    score[3], positions[3] = np.nan, positions[8] + 0.1
    joined = with_score(vectors, particles.replace(score=score, positions=positions))
    assert joined[3, 8] == joined[8, 8]
    assert np.isfinite(joined).all()


def test_equal_scores_and_equal_embeddings_stay_finite():
    particles = Particles.at(np.zeros((4, 3)), score=1.0)
    assert np.isfinite(with_score(np.ones((4, 2), np.float32), particles)).all()
