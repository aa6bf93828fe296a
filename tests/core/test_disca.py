import dataclasses
import itertools

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch.utils.flop_counter import FlopCounterMode

from napari_cryoshift.core.clustering import fit_mixture, principal_axes, surprise
from napari_cryoshift.core.losses import categorical_hinge
from napari_cryoshift.core.methods import disca
from napari_cryoshift.core.methods.disca import Disca
from napari_cryoshift.core.methods.disca_params import PAPER, DiscaParams
from napari_cryoshift.core.methods.disca_rounds import draws
from napari_cryoshift.core.metrics import evaluate_clusters
from napari_cryoshift.core.networks.protonet3d import StridedEncoder
from napari_cryoshift.core.networks.yopo import YOPO, GaussianDropout
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import Subtomograms, TrainingData
from napari_cryoshift.core.volumes import (
    half_turned,
    random_rotations,
    rotated_at_random,
    sample_rotated,
)
from napari_cryoshift.core.workflows import shipped_checkpoint

BOX = 16


def params(**changes):
    tiny = {"clusters": (3,), "components": 4, "iterations": 4, "batch": 16, "seed": 3}
    return DiscaParams(**(tiny | changes))


@pytest.fixture(scope="module")
def target(shapes):
    return shapes(20, 1, noise=0.7)


@pytest.fixture(scope="module")
def data(target):
    return TrainingData(target=target)


def rounds(method, data):
    """Fit, and return the figures of each round of grouping."""
    return [r.metrics for r in method.fit(data) if "groups" in r.metrics]


# --- the network ---


def test_yopo_is_that_of_the_paper():
    with torch.device("meta"):
        network = YOPO(24)
        assert sum(p.numel() for p in network.parameters()) == 6_295_888
        maps = []
        for block in network.blocks:
            block.register_forward_hook(lambda _, __, out: maps.append(tuple(out.shape[1:])))
        assert network(torch.empty(2, 24, 24, 24)).shape == (2, 1024)
    sides = range(22, 2, -2)
    assert maps == [(f, s, s, s) for f, s in zip(range(64, 209, 16), sides, strict=True)]
    assert network.norm.num_features == 1360


def test_yopo_needs_a_box_of_21():
    with torch.device("meta"):
        assert YOPO(21)(torch.empty(2, 21, 21, 21)).shape == (2, 1024)
    with pytest.raises(ValueError, match="box 20 is too small for 10 valid convolutions; give at"):
        YOPO(20)


def test_the_small_one_has_a_hundredth_to_compute_and_takes_small_boxes():
    flops = []
    for network in (YOPO(24), YOPO.small(24)):
        counter = FlopCounterMode(display=False)
        with counter:
            network.eval()(torch.zeros(1, 24, 24, 24))
        flops.append(counter.get_total_flops())
    assert flops[1] < flops[0] / 100
    for box in (8, 9, 12, 16, 21, 32):
        with torch.device("meta"):
            assert YOPO.small(box)(torch.empty(2, box, box, box)).shape == (2, 256)


def test_its_layers_begin_orthogonal():
    torch.manual_seed(0)
    for block in YOPO(21, (4, 6, 8), 16).blocks:
        rows = block[0].weight.detach().flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)
        assert not block[0].bias.any()


def test_where_in_the_box_something_is_does_not_matter():
    torch.manual_seed(0)
    network = YOPO(21, (4, 6, 8), 16).eval()
    volume = torch.zeros(21, 21, 21)
    volume[8:11, 8:11, 8:11] = torch.randn(3, 3, 3)
    moved = volume.roll((2, -1, 1), (0, 1, 2))
    torch.testing.assert_close(network(volume[None]), network(moved[None]))
    other = volume.flip(0)
    assert not torch.allclose(network(volume[None]), network(other[None]))


def test_every_weight_takes_part():
    torch.manual_seed(0)
    network = YOPO.small(16)
    network(torch.randn(4, 16, 16, 16)).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name


def test_gaussian_dropout_multiplies_by_noise_of_the_variance_of_dropout():
    torch.manual_seed(0)
    layer, ones = GaussianDropout(0.5), torch.ones(100_000)
    noise = layer(ones)
    assert noise.mean().item() == pytest.approx(1, abs=0.02)
    assert noise.var().item() == pytest.approx(1, abs=0.02)  # p / (1 - p)
    assert (noise == 0).sum() == 0
    assert torch.equal(layer.eval()(ones), ones)
    assert GaussianDropout(0.2)(ones).var().item() == pytest.approx(0.25, abs=0.01)


# --- what it learns from ---


def test_volumes_are_turned_as_the_simulator_turns_densities_and_voids_are_noise():
    volumes = 5 + torch.randn(6, 15, 15, 15, generator=torch.Generator().manual_seed(0))
    made = rotated_at_random(volumes, np.random.default_rng(8))
    rotations = random_rotations(6, np.random.default_rng(8)).transpose(1, 2)
    inside = 0
    for volume, rotation, found in zip(volumes, rotations, made, strict=True):
        expected = sample_rotated(volume, rotation[None], box=15, step=1.0)[0]
        whole = sample_rotated(torch.ones(15, 15, 15), rotation[None], box=15, step=1.0)[0] > 0.9999
        torch.testing.assert_close(found[whole], expected[whole], atol=1e-3, rtol=0)
        inside += whole.float().mean().item() / 6
    assert 0.6 < inside < 0.95
    corners = torch.stack([made[..., 0, 0, 0], made[..., -1, -1, -1], made[..., 0, -1, 0]])
    assert corners.mean().abs() < 1.5  # of noise about 0, not of the volumes, which are about 5
    again = rotated_at_random(volumes, np.random.default_rng(8))
    assert torch.equal(made, again)


def test_an_even_box_turns_about_its_centre_voxel():
    volumes = torch.zeros(8, 16, 16, 16)
    volumes[:, 8, 8, 8] = 100.0
    made = rotated_at_random(volumes, np.random.default_rng(0))
    torch.testing.assert_close(made[:, 8, 8, 8], torch.full((8,), 100.0), atol=1e-2, rtol=0)


def test_turning_is_as_exact_in_half_precision():
    volumes = torch.randn(4, 16, 16, 16)
    made = rotated_at_random(volumes, np.random.default_rng(0))
    with torch.autocast("cpu", torch.bfloat16):
        half = rotated_at_random(volumes, np.random.default_rng(0))
    assert torch.equal(made, half)


def test_an_epoch_has_each_particle_as_it_is_and_turned():
    drawn = list(itertools.islice(draws(12, 8, seed=0), 3))
    seen = [(row, turned) for draw in drawn for row, turned in zip(*draw[:2], strict=True)]
    assert sorted(seen) == sorted(itertools.product(range(12), [False, True]))
    assert len({draw.seed for draw in drawn}) == 3


def test_the_hinge_is_that_of_keras():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    hot = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    # max(0, 1 + 0.2 - 0.7) and max(0, 1 + 0.6 - 0.3)
    assert categorical_hinge(probabilities, hot).item() == pytest.approx((0.5 + 1.3) / 2)
    soft = torch.tensor([[0.8, 0.1, 0.1]])
    # right 0.56 + 0.02 + 0.01, wrong max(0.14, 0.18, 0.09)
    found = categorical_hinge(probabilities[:1], soft).item()
    assert found == pytest.approx(1 + 0.18 - 0.59)


# --- the rounds ---


def test_the_first_round_groups_the_features_of_the_untrained_network(data, target):
    method = Disca(params(iterations=1), BOX)
    features = method.embed(target[:]).double().numpy()
    mean, axes = principal_axes(features, 4)
    expected = fit_mixture((features - mean) @ axes.T, 3, seed=3)
    finish(method.fit(data))
    found = method.predict(target[:]).argmax(1).numpy()
    np.testing.assert_array_equal(found, expected.labels)
    assert method.classes == ("cluster 1", "cluster 2", "cluster 3")


def test_the_last_layer_begins_as_a_linear_discriminant_of_the_groups(data, target):
    method = Disca(params(iterations=1, clusters=(3, 6), regularisation=1e-9), BOX)
    finish(method.fit(data))
    features = method.embed(target[:])
    groups = method.predict(target[:]).argmax(1).numpy()
    points = ((features - method.mean) @ method.axes.T).double().numpy()
    peer = LinearDiscriminantAnalysis(solver="lsqr").fit(points, groups)
    logits = method.head(features)[:, : len(method.classes)].detach()
    np.testing.assert_allclose(logits.softmax(1), peer.predict_proba(points), atol=1e-3)


def test_it_finds_how_many_kinds_there_are(shapes):
    target = shapes(40, 1, noise=0.7)
    method = Disca(params(clusters=(2, 3, 5)), BOX)
    assert rounds(method, TrainingData(target=target))[-1]["groups"] == 3
    found = method.predict(target[:]).argmax(1).numpy()
    assert evaluate_clusters(target.labels, found).accuracy > 0.95


def test_it_ends_when_groups_stay_as_they_are(data):
    figures = rounds(Disca(params(iterations=20), BOX), data)
    assert 1 < len(figures) < 20
    assert figures[-1]["unchanged"] > 0.999
    assert all(f["unchanged"] <= 0.999 for f in figures[:-1])


def test_the_round_of_lowest_distortion_is_kept_from_the_second_on(data, monkeypatch):
    indices = iter([0.1, 0.5, 0.2, 0.4])
    monkeypatch.setattr(disca, "distortion_index", lambda *_: next(indices))
    monkeypatch.setattr(disca, "_SETTLED", 2.0)
    method, kept = Disca(params(iterations=4), BOX), []
    for report in method.fit(data):
        if "groups" in report.metrics:
            kept.append(method.mean.clone())
    assert len({tuple(mean.tolist()) for mean in kept}) == 3  # of the rounds 1, 2 and 3
    assert torch.equal(kept[3], kept[2])


def test_the_labels_of_the_target_are_not_looked_at(data, target):
    found = []
    for labels in (target.labels, None, target.labels[::-1].copy()):
        method = Disca(params(), BOX)
        finish(method.fit(TrainingData(target=dataclasses.replace(target, labels=labels))))
        found.append(method.predict(target[:]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_the_loss_is_cross_entropy_with_smoothed_labels_of_the_groups_there_are():
    torch.manual_seed(0)
    method = Disca(params(clusters=(3, 5)), BOX)
    features, labels = torch.randn(6, 256), torch.tensor([0, 1, 2, 2, 1, 0])
    targets = 0.8 * torch.eye(3)[labels] + 0.2 / 3
    logits = features @ method.head.weight[:3].T + method.head.bias[:3]
    peer = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.2)
    torch.testing.assert_close(method._criterion(features, targets), peer)
    hinge = Disca(params(clusters=(3, 5), loss="hinge"), BOX)
    hinge.load_state_dict(method.state_dict())
    expected = categorical_hinge(logits.softmax(1), targets)
    torch.testing.assert_close(hinge._criterion(features, targets), expected)


def test_a_resumed_run_is_to_the_bit_what_an_unbroken_one_is(shapes, resumed):
    hard = TrainingData(target=shapes(12, 5, noise=3.0))
    tiny = params(clusters=(2, 4), iterations=4, regularisation=1e-2)
    whole = Disca(tiny, BOX)
    reports = list(whole.fit(hard))
    grouped = [i for i, report in enumerate(reports) if "groups" in report.metrics]
    assert len(grouped) > 2
    for count in (1, grouped[0], grouped[1], grouped[1] + 1, grouped[1] + 3, grouped[-1]):
        method = resumed(lambda: Disca(tiny, BOX), hard, count)
        assert method.classes == whole.classes
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, method.state_dict()[name]), (count, name)


# --- from an embedding ---


def test_it_goes_on_from_the_shipped_embedding():
    start = shipped_checkpoint().encoder
    volumes = Subtomograms.from_memory(torch.randn(12, 24, 24, 24), 16.0)
    method = Disca(params(network="embedding", width=128, iterations=1), 24)
    finish(method.fit(TrainingData(target=volumes, start=start)))
    for name, tensor in method.encoder.state_dict().items():
        assert torch.equal(tensor, start[name])


def test_an_embedding_is_trained_on(target, monkeypatch):
    torch.manual_seed(0)
    start = StridedEncoder(BOX, 8).state_dict()
    indices = iter([0.5, 0.1])
    monkeypatch.setattr(disca, "surprise", lambda *_: next(indices))
    method = Disca(params(network="embedding", width=8, iterations=2), BOX)
    finish(method.fit(TrainingData(target=target, start=start)))
    assert not torch.equal(method.encoder.head.weight, start["head.weight"])


def test_the_groups_of_an_embedding_as_it_is_are_kept_if_learning_makes_none_better(
    data, monkeypatch
):
    indices = iter([0.1, 0.5, 0.2])
    monkeypatch.setattr(disca, "surprise", lambda *_: next(indices))
    monkeypatch.setattr(disca, "_SETTLED", 2.0)
    torch.manual_seed(0)
    start = StridedEncoder(BOX, 8).state_dict()
    method = Disca(params(network="embedding", width=8, iterations=3), BOX)
    finish(method.fit(dataclasses.replace(data, start=start)))
    assert torch.equal(method.encoder.head.weight, start["head.weight"])


@pytest.mark.parametrize("seed", range(3))
def test_from_an_embedding_the_result_describes_its_features_no_worse_than_the_start(seed, shapes):
    torch.manual_seed(seed)
    start, target = StridedEncoder(BOX, 8).state_dict(), shapes(20, seed, noise=1.5)
    changes = {"clusters": (2, 3, 4), "network": "embedding", "width": 8, "covariance": "spherical"}
    labels, data = {}, TrainingData(target=target, start=start)
    for iterations in (1, 4):
        method = Disca(params(**changes, iterations=iterations, learning_rate=0.01), BOX)
        finish(method.fit(data))
        labels[iterations] = method.predict(target[:]).argmax(1).numpy()
    assert len(set(labels[1])) == len(set(labels[4]))  # the first round says how many there are
    features = Disca(params(**changes), BOX)
    features.encoder.load_state_dict(start)
    vectors = features.embed(target[:]).double().numpy()
    mean, axes = principal_axes(vectors, 4)
    described = [
        surprise((vectors - mean) @ axes.T, labels[n], covariance="spherical") for n in (1, 4)
    ]
    assert described[1] <= described[0] + 1e-6


def test_half_turns_make_features_the_same_for_a_particle_that_is_turned_so():
    volumes = torch.randn(2, BOX, BOX, BOX)
    method = Disca(params(half_turns=True), BOX)
    for turned in half_turned(volumes):
        torch.testing.assert_close(method.embed(turned), method.embed(volumes))
    plain = Disca(params(), BOX)
    expected = torch.stack([plain.embed(turned) for turned in half_turned(volumes)]).mean(0)
    torch.testing.assert_close(method.embed(volumes), expected)


@pytest.mark.parametrize(
    ("changes", "start", "sentence"),
    [
        ({"clusters": (60,)}, None, "60 particles are too few for 60 groups; pick more or ask"),
        ({"network": "embedding"}, None, "there is no embedding to go on from; give one, or"),
        (
            {"network": "embedding", "width": 9},
            StridedEncoder(BOX, 8).state_dict(),
            "another network than a strided one of 9 features for boxes of 16 voxels; give one",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_sentence(data, changes, start, sentence):
    with pytest.raises(ValueError, match=sentence):
        finish(Disca(params(**changes), BOX).fit(dataclasses.replace(data, start=start)))


def test_before_training_it_says_what_to_do(target):
    with pytest.raises(ValueError, match="0 groups are known; fit with picked particles first"):
        Disca(params(), BOX).predict(target[:2])


def test_one_group_is_none():
    with pytest.raises(ValueError, match="1 groups are none; give numbers of at least 2"):
        DiscaParams(clusters=(5, 1))


def test_the_parameters_of_the_paper_are_those_of_its_code():
    assert (PAPER.network, PAPER.loss, PAPER.learning_rate) == ("yopo", "hinge", 1e-5)
    assert (PAPER.clusters, PAPER.iterations, PAPER.batch) == ((5, 10, 20), 20, 64)
    assert (PAPER.components, PAPER.smoothing, PAPER.regularisation) == (16, 0.2, 1e-5)
    assert (PAPER.restarts, PAPER.decay, PAPER.noise) == (5, 0.95, 0.5)
