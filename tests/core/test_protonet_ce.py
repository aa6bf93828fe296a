import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.features import learned
from napari_cryoshift.core.fewshot import FewShotParams, fit_head
from napari_cryoshift.core.losses import attention_loss, squared_distances
from napari_cryoshift.core.methods.protonet_ce import (
    ProtoNetCE,
    ProtoNetCEParams,
    combined_distances,
)
from napari_cryoshift.core.networks.attention import SelfAttention
from napari_cryoshift.core.networks.protonet3d import ProtoNet3D, StridedEncoder
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import OTHER, Particles, Subtomograms, TrainingData
from napari_cryoshift.core.workflows import classify, rule_of, shipped_checkpoint

BOX = 16


@pytest.fixture(autouse=True)
def _same_numbers():
    torch.manual_seed(0)


def params(**changes):
    tiny = {"width": 8, "tasks": 4, "ways": 3, "shots": 2, "queries": 3, "stored": 6, "seed": 3}
    return ProtoNetCEParams(**(tiny | changes))


def volumes(per_class, seed, names=("a", "b", "c")):
    """A pattern a class, in noise."""
    generator = torch.Generator().manual_seed(9)
    patterns = torch.randn(len(names), BOX, BOX, BOX, generator=generator)
    generator.manual_seed(seed)
    labels = np.repeat(np.arange(len(names)), per_class)
    noise = torch.randn(len(labels), BOX, BOX, BOX, generator=generator)
    return Subtomograms.from_memory(patterns[labels] + noise, 12.0, labels, names)


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(0)
    start = StridedEncoder(BOX, 8).state_dict()
    return TrainingData(source=volumes(8, 1), support=volumes(3, 2), start=start)


@pytest.fixture(scope="module")
def trained(data):
    method = ProtoNetCE(params(), BOX)
    finish(method.fit(data))
    return method


# --- the attention ---


def test_the_attention_has_as_many_weights_as_the_published_one():
    with torch.device("meta"):
        assert sum(p.numel() for p in SelfAttention(512).parameters()) == 1_051_648


@pytest.mark.parametrize("width", [1, 24, 64])
def test_the_attention_is_that_of_torch_with_a_residual_and_a_norm(width):
    module = SelfAttention(width)
    peer = nn.MultiheadAttention(width, 1, batch_first=True)
    with torch.no_grad():
        for name in ("query", "key", "value", "out", "norm"):
            for part in getattr(module, name).parameters():
                part.add_(torch.randn_like(part))
        parts = [module.query, module.key, module.value]
        peer.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        peer.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        peer.out_proj.load_state_dict(module.out.state_dict())
    prototypes, queries = torch.randn(4, width), torch.randn(5, width)
    refined, looks = module(prototypes, queries)
    sequence = torch.cat([prototypes.expand(5, 4, width), queries[:, None]], 1)
    gathered, attention = peer(sequence, sequence, sequence)
    torch.testing.assert_close(looks.exp(), attention, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(refined, module.norm(sequence + gathered), atol=1e-4, rtol=1e-4)
    own, _ = module(prototypes.expand(5, -1, -1), queries)  # the same, given one by one
    torch.testing.assert_close(own, refined)


def test_the_loss_of_the_attention_is_the_divergence_from_what_is_wished_for():
    attention = torch.rand(2, 4, 4).softmax(-1)
    ways = torch.tensor([2, 0])
    wished = np.zeros((2, 4, 4))
    wished[0] = np.diag([1, 1, 0.5, 0.5])
    wished[0][[2, 3], [3, 2]] = 0.5
    wished[1] = np.diag([0.5, 1, 1, 0.5])
    wished[1][[0, 3], [3, 0]] = 0.5
    each = np.zeros((2, 4))
    for n, row, column in np.argwhere(wished):
        p = wished[n, row, column]
        each[n, row] += p * np.log(p / attention[n, row, column].item())
    assert attention_loss(attention.log(), ways).item() == pytest.approx(each.mean(), rel=1e-5)
    perfect = torch.from_numpy(wished).clamp(min=1e-30).log()
    assert attention_loss(perfect, ways).item() == pytest.approx(0, abs=1e-6)


def test_both_distances_are_added():
    attention = SelfAttention(4)
    prototypes, queries = torch.randn(3, 4), torch.randn(5, 4)
    found, looks = combined_distances(attention, queries, prototypes)
    refined, _ = attention(2 * prototypes, 2 * queries)  # in units of the root of the width
    for n, k in itertools.product(range(5), range(3)):
        plain = (queries[n] - prototypes[k]).square().sum()
        adapted = (refined[n, k] - refined[n, 3]).square().sum() / 4
        torch.testing.assert_close(found[n, k], plain + adapted)
    assert looks.shape == (5, 4, 4)


def test_columns_beyond_the_embedding_count_in_the_plain_distance():
    attention = SelfAttention(4)
    prototypes, queries = torch.randn(3, 5), torch.randn(5, 5)
    found, _ = combined_distances(attention, queries, prototypes)
    without, _ = combined_distances(attention, queries[:, :4], prototypes[:, :4])
    torch.testing.assert_close(
        found - without, squared_distances(queries[:, 4:], prototypes[:, 4:])
    )


def test_the_order_of_classes_does_not_matter():
    attention = SelfAttention(4)
    prototypes, queries, order = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([2, 0, 1])
    found, _ = combined_distances(attention, queries, prototypes)
    other, _ = combined_distances(attention, queries, prototypes[order])
    torch.testing.assert_close(other, found[:, order])


# --- the head ---


def test_each_labelled_particle_is_left_out_of_its_own_class():
    """The surprise, recomputed by taking each particle out of the table."""
    method = ProtoNetCE(params(), BOX)
    vectors, labels = torch.randn(7, 8), torch.tensor([0, 0, 0, 1, 1, 2, 0])
    classes = ("a", "b", OTHER)
    head = method.head(vectors, labels, classes, FewShotParams()).head
    rows = []
    for i in range(7):
        rest = torch.arange(7) != i
        prototypes = torch.stack(
            [
                vectors[rest & (labels == k)].mean(0) - head.origin
                if (rest & (labels == k)).any()
                else torch.zeros(8)
                for k in range(3)
            ]
        )
        distances, _ = combined_distances(
            method.attention, (vectors[i] - head.origin)[None], prototypes
        )
        rows.append(distances[0])
    distances = torch.stack(rows).detach()
    own = distances[torch.arange(7), labels]
    members = own[labels < 2]
    torch.testing.assert_close(head.scale[1], members.mean() + 1.6 * members.std(correction=0))
    losses = [
        nn.functional.cross_entropy(-distances / (own[labels < 2].mean() * t), labels).item()
        for t in (0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2)
    ]
    assert head.surprise == pytest.approx(min(losses), rel=1e-4)


def test_cached_embeddings_are_judged_as_volumes_are(trained, data):
    support, unseen = data.support, volumes(4, 5)
    vectors = trained.embed(support[:]) / trained.spread
    classes = (*support.classes, OTHER)
    head = trained.head(vectors, torch.from_numpy(support.labels), classes, trained.params.head)
    cached = head.predict(trained.embed(unseen[:]) / trained.spread)
    torch.testing.assert_close(cached, trained.predict(unseen[:]))
    assert trained.classes == classes


def test_many_queries_are_judged_as_few_are(trained, monkeypatch):
    from napari_cryoshift.core.methods import protonet_ce

    unseen = volumes(4, 5)[:]
    whole = trained.predict(unseen)
    monkeypatch.setattr(protonet_ce, "_AT_ONCE", 5)
    torch.testing.assert_close(trained.predict(unseen), whole)


# --- learning ---


def test_the_embedding_is_left_as_it_was_and_the_attention_is_not(trained, data):
    fresh = ProtoNetCE(params(), BOX)
    for name, tensor in trained.encoder.state_dict().items():
        assert torch.equal(tensor, data.start[name])
    for name, tensor in trained.attention.state_dict().items():
        if name not in ("key.bias", "norm.bias"):  # which change no distance
            assert not torch.equal(tensor, fresh.attention.state_dict()[name]), name


def test_the_first_loss_is_that_of_the_definition(data):
    tiny = params(stored=8, ways=3, shots=2, queries=3)
    report = next(r for r in ProtoNetCE(tiny, BOX).fit(data) if r.metrics)
    method = ProtoNetCE(tiny, BOX)
    method.encoder.load_state_dict(data.start)
    vectors = method.embed(data.source[:])
    vectors = vectors - vectors.mean(0)
    vectors = vectors / vectors.square().sum(1).mean().sqrt()
    generator = np.random.default_rng(3)
    generator.permutation(24)  # by which some of each class are chosen: here, all
    chosen = generator.choice(3, 3, replace=False)
    task = np.stack([generator.choice(np.arange(8) + 8 * c, 5, replace=False) for c in chosen])
    prototypes, queries = vectors[task[:, :2]].mean(1), vectors[task[:, 2:]].flatten(0, 1)
    distances, looks = combined_distances(method.attention, queries, prototypes)
    labels = torch.arange(3).repeat_interleave(3)
    wrong = nn.functional.cross_entropy(-distances / np.exp(-2), labels)
    astray = attention_loss(looks, labels)
    assert report.metrics["attention loss"] == pytest.approx(astray.item(), rel=0.02)
    assert report.metrics["loss"] == pytest.approx((wrong + 2 * astray).item(), rel=0.02)


def test_at_most_so_many_volumes_of_a_class_are_looked_at(data):
    read = []
    source = dataclasses.replace(
        data.source, read=lambda rows: read.extend(rows.tolist()) or data.source.read(rows)
    )
    finish(ProtoNetCE(params(stored=5), BOX).fit(dataclasses.replace(data, source=source)))
    assert len(read) == len(set(read)) == 15
    np.testing.assert_array_equal(np.bincount(data.source.labels[read]), [5, 5, 5])


def test_new_labels_need_no_source(trained):
    other = volumes(3, 7, ("x", "y", OTHER))
    again = ProtoNetCE(trained.params, BOX, trained.classes)
    again.load_state_dict(trained.state_dict())
    finish(again.fit(TrainingData(support=other)))
    assert again.classes == ("x", "y", OTHER)
    assert torch.equal(again.attention.out.weight, trained.attention.out.weight)
    assert again.labelled.all()


def test_a_resumed_run_is_to_the_bit_what_an_unbroken_one_is(data, trained, resumed):
    reports = len(list(ProtoNetCE(params(), BOX).fit(data)))
    for count in range(1, reports):
        method = resumed(lambda: ProtoNetCE(params(), BOX), data, count)
        for name, tensor in trained.state_dict().items():
            assert torch.equal(tensor, method.state_dict()[name]), (count, name)


def test_it_builds_on_the_published_network_and_on_the_shipped_embedding():
    ways = {"tasks": 1, "ways": 2, "shots": 1, "queries": 1, "stored": 2}
    small = volumes(2, 1, ("a", "b"))
    published = ProtoNetCE(ProtoNetCEParams(network="protonet3d", **ways), BOX)
    finish(published.fit(TrainingData(source=small, start=ProtoNet3D(BOX).state_dict())))
    assert published.attention.width == 64
    start = shipped_checkpoint().encoder
    noise = Subtomograms.from_memory(
        torch.randn(4, 24, 24, 24), 16.0, np.array([0, 0, 1, 1]), ("a", "b")
    )
    shipped = ProtoNetCE(ProtoNetCEParams(**ways), 24)
    finish(shipped.fit(TrainingData(source=noise, start=start)))
    assert torch.equal(shipped.encoder.state_dict()["head.weight"], start["head.weight"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"start": None}, "there is no embedding to build on; give one that was trained"),
        ({"source": None}, "the source set is empty; choose source classes"),
        (
            {"start": ProtoNet3D(BOX).state_dict()},
            "of another network than 'strided' with 8 features for boxes of 16 voxels; say which",
        ),
    ],
)
def test_what_is_missing_is_one_clear_sentence(data, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        finish(ProtoNetCE(params(), BOX).fit(dataclasses.replace(data, **changes)))


def test_sets_without_labels_are_refused(data, trained):
    nameless = dataclasses.replace(data.source, labels=None)
    with pytest.raises(ValueError, match="24 source volumes but no labels; give one label a vol"):
        finish(ProtoNetCE(params(), BOX).fit(dataclasses.replace(data, source=nameless)))
    with pytest.raises(ValueError, match="24 support volumes but no labels; give one label a v"):
        finish(trained.fit(TrainingData(support=nameless)))
    with pytest.raises(ValueError, match="0 classes are known; fit with a labelled support set"):
        ProtoNetCE(params(), BOX).predict(data.source[:1])


def test_labels_turn_into_predictions_by_its_own_rule(trained, data):
    checkpoint = Checkpoint.of(trained, 12.0, {})
    assert rule_of(shipped_checkpoint()) is fit_head
    vectors = trained.embed(data.support[:]).numpy()
    label = np.array(data.support.classes, dtype=object)[data.support.labels]
    label[::3] = ""
    particles = Particles.at(np.zeros((len(vectors), 3)), label=label)
    said = classify(vectors, particles, rule=rule_of(checkpoint))
    assert said.classes[-1] == OTHER
    spread = learned(vectors).values
    known = np.flatnonzero(label != "")
    labels = torch.tensor([said.classes.index(name) for name in label[known]])
    head = checkpoint.build().head(
        torch.from_numpy(spread[known]),
        labels,
        said.classes,
        FewShotParams(),
        torch.zeros(spread.shape[1]),
    )
    expected = head.predict(torch.from_numpy(spread))
    np.testing.assert_allclose(said.probabilities, expected, atol=1e-5)
    plain = classify(vectors, particles)
    assert np.abs(plain.probabilities - said.probabilities).max() > 1e-3
