import numpy as np
import pytest
import torch

from napari_cryoshift.core.fewshot import FewShotParams, fit_head, horizon
from napari_cryoshift.core.types import OTHER

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
    members = own[y < len(classes) - 1]
    spread = members.mean()

    def surprise(temperature):
        p = np.exp(-left_out / temperature)
        return -np.log(p[np.arange(len(x)), y.astype(int)] / p.sum(1)).mean()

    temperature = min(spread * np.array([0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2]), key=surprise)
    odds = np.array([[np.exp(-((a - p) ** 2).sum() / temperature) for p in prototypes] for a in q])
    odds[:, -1] += np.exp(-(spread + reach * members.std()) / temperature)
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
    # Around the members, where the question is open.
    noise = torch.randn(600, 3, generator=torch.Generator().manual_seed(2))
    query = embeddings.repeat(50, 1) + noise
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


def test_the_horizon_lies_beyond_members_and_before_all_else_in_many_dimensions():
    """Distances of noise hardly vary, so that a multiple of the mean would take in everything."""
    generator = torch.Generator().manual_seed(6)
    members = torch.randn(60, 128, generator=generator)
    strangers = 1.25 * torch.randn(500, 128, generator=generator)
    labels = torch.arange(2).repeat_interleave(30)
    head = fit_head(members, labels, CLASSES, FewShotParams())
    called = head.predict(strangers).argmax(1) == 2
    kept = head.predict(torch.randn(500, 128, generator=generator)).argmax(1) != 2
    assert called.float().mean() > 0.9
    assert kept.float().mean() > 0.8
    few = horizon(torch.tensor([2.0, 4.0]), 1.6)
    assert float(few) == pytest.approx(1.6**2 * 3)


def test_the_losses_are_those_of_the_surprise(support):
    embeddings, labels = support
    head = fit_head(embeddings, labels, CLASSES, RULE)
    assert head.losses.shape == (12,)
    assert float(head.losses.mean()) == pytest.approx(head.surprise, rel=1e-5)
