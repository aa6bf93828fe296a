import numpy as np
import pytest
import torch

from napari_cryoshift.core.losses import (
    class_means,
    domain_accuracy,
    domain_loss,
    feature_domain_loss,
    mutual_information,
    prototypical_loss,
    reversal_ramp,
    reverse_gradient,
    squared_distances,
)


def test_class_means_are_the_means_of_the_classes():
    embeddings = torch.tensor([[1.0, 0], [3, 0], [5, 4]])
    means = class_means(embeddings, torch.tensor([0, 0, 2]), 3)
    torch.testing.assert_close(means, torch.tensor([[2.0, 0], [0, 0], [5, 4]]))


def test_squared_distances_are_those_of_numpy():
    a, b = torch.randn(5, 7), torch.randn(3, 7)
    expected = ((a.numpy()[:, None] - b.numpy()[None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(a, b).numpy(), expected, rtol=1e-5)


def test_squared_distances_keep_their_precision_far_from_the_origin_and_under_autocast():
    a = torch.tensor([[1000.0, 0], [1000, 1]])
    with torch.autocast("cpu", torch.bfloat16):
        distances = squared_distances(a, a)
    torch.testing.assert_close(distances, torch.tensor([[0.0, 1], [1, 0]]))


def test_the_gradient_is_finite_where_a_query_sits_on_its_prototype():
    support = torch.zeros(2, 1, 3, requires_grad=True)
    loss, _ = prototypical_loss(support, torch.zeros(2, 1, 3))
    loss.backward()
    assert torch.isfinite(support.grad).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_prototypical_loss_is_equation_2_of_snell_et_al(temperature):
    generator = np.random.default_rng(0)
    support, query = generator.normal(size=(3, 2, 4)), generator.normal(size=(3, 5, 4))
    prototypes = support.mean(1)
    losses, right = [], []
    for way in range(3):
        for x in query[way]:
            score = np.exp(-((x - prototypes) ** 2).sum(1) / temperature)
            losses.append(-np.log(score[way] / score.sum()))
            right.append(score.argmax() == way)
    loss, accuracy = prototypical_loss(
        torch.from_numpy(support), torch.from_numpy(query), temperature
    )
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-9)
    assert float(accuracy) == pytest.approx(np.mean(right))


# ------------------------------------------------------------------------- domains


def test_a_reversed_gradient_comes_back_times_minus_the_weight():
    x = torch.randn(4, requires_grad=True)
    y = reverse_gradient(x, 2.5)
    assert torch.equal(y, x)
    (y.square().sum()).backward()
    torch.testing.assert_close(x.grad, -2.5 * 2 * x.detach())


def test_the_ramp_is_that_of_ganin_and_lempitsky():
    assert reversal_ramp(0) == 0
    assert reversal_ramp(0.1) == pytest.approx(2 / (1 + np.exp(-1)) - 1)
    assert reversal_ramp(1) == pytest.approx(np.tanh(5))


def bce(logit, truth):
    p = 1 / (1 + np.exp(-logit))
    return -(truth * np.log(p) + (1 - truth) * np.log(1 - p))


def test_domain_loss_is_equation_6_of_cryo_shift():
    logits, real = np.array([0.3, -1.2, 2.0, 0.1]), np.array([0, 0, 1, 1])
    loss = domain_loss(torch.from_numpy(logits), torch.from_numpy(real))
    assert float(loss) == pytest.approx(np.mean(bce(logits, real)), rel=1e-6)


def test_feature_domain_loss_is_equation_5_of_cryo_shift_with_the_right_sign():
    generator = np.random.default_rng(0)
    logits, real = generator.normal(size=(5, 3)), np.array([0, 1, 0, 1, 1])
    weights = generator.dirichlet(np.ones(3), size=5)
    expected = 0.0
    for k in range(3):  # F_k of the class k
        expected += np.mean([weights[j, k] * bce(logits[j, k], real[j]) for j in range(5)])
    loss = feature_domain_loss(*map(torch.from_numpy, (logits, real, weights)))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert loss > 0


def test_domain_losses_are_finite_where_a_discriminator_is_sure_and_wrong():
    logits = torch.tensor([200.0, -200.0], requires_grad=True)
    loss = domain_loss(logits, torch.tensor([0.0, 1.0]))
    loss.backward()
    assert loss == 200
    assert torch.isfinite(logits.grad).all()


def test_domain_accuracy_counts_right_answers_by_their_weight():
    real = torch.tensor([0.0, 0, 1, 1])
    assert domain_accuracy(torch.tensor([-1.0, 2, 3, 4]), real) == 0.75
    logits = torch.tensor([[-1.0, 1], [1, 1], [1, 1], [-1, 1]])
    weights = torch.tensor([[0.9, 0.1], [0.5, 0.5], [1, 0], [0, 1]])
    assert float(domain_accuracy(logits, real, weights)) == pytest.approx((0.9 + 1 + 1) / 4)


def test_mutual_information_is_highest_for_sure_and_balanced_predictions():
    sure = torch.eye(4).repeat(5, 1)
    assert float(mutual_information(sure)) == pytest.approx(np.log(4))
    assert float(mutual_information(torch.full((20, 4), 0.25))) == pytest.approx(0, abs=1e-6)
    collapsed = torch.eye(4)[torch.zeros(20, dtype=torch.int64)]
    assert float(mutual_information(collapsed)) == pytest.approx(0, abs=1e-6)


def test_mutual_information_is_that_of_the_joint_distribution():
    p = np.random.default_rng(1).dirichlet(np.ones(3), size=8)
    joint = p / 8
    expected = (joint * np.log(joint / (joint.sum(0) * joint.sum(1, keepdims=True)))).sum()
    assert float(mutual_information(torch.from_numpy(p))) == pytest.approx(expected, rel=1e-9)
