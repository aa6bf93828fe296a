import numpy as np
import pytest
import torch

from napari_cryoshift.core.losses import class_means, prototypical_loss, squared_distances


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
