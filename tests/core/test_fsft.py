"""FSFT and its baselines: every stage beside what is done by hand, and what must not happen."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from napari_cryoshift.core import training
from napari_cryoshift.core.augment import every_half_turn, half_turns
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.methods.alignment import coral_distance
from napari_cryoshift.core.methods.pair_stages import ACROSS, EVERY, PairStages
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.shots import Shots
from napari_cryoshift.core.types import Subtomograms, TrainingData

NAMES = ("fsft", "finetune", "fada", "coral", "swd")
BOX, K = 16, 3
TINY = {
    "learning": {"steps": 2, "batch": 6},
    "alignment": {"steps": 2, "batch": 6, "weight": 50.0},
    "projections": {"steps": 2, "batch": 6},
    "grouping": {"steps": 2, "batch": 8},
    "tuning": {"steps": 2, "batch": 4},
}


@pytest.fixture
def single_precision(monkeypatch):
    monkeypatch.setattr(training, "half_precision", lambda device: contextlib.nullcontext())


def some(n, seed, classes=("a", "b", "c"), labels=None):
    """Noise, and a cube that is the brighter the later its class."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(n, BOX, BOX, BOX)).astype(np.float32)
    labels = np.arange(n) % len(classes) if labels is None else np.array(labels)
    noise[:, 4:10, 4:10, 4:10] += labels.reshape(-1, 1, 1, 1)
    return Subtomograms.from_memory(torch.from_numpy(noise), 10.0, labels, classes)


@pytest.fixture(scope="module")
def data():
    return TrainingData(source=some(30, 0), target=some(20, 1), support=some(6, 2))


def make(name, **changes):
    """`TINY` parameters that the method has, with some fields, or fields of groups, changed."""
    given = {
        key: TINY[key] | changes.get(key, {}) if key in TINY else changes[key]
        for key in METHODS[name].params_type.model_fields
        if key in TINY or key in changes
    }
    return METHODS[name](METHODS[name].params_type(**given), BOX)


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(module, before):
    return {name for name, t in module.state_dict().items() if not torch.equal(t, before[name])}


def phases(method, data):
    return list(dict.fromkeys(report.phase for report in method.fit(data)))


# ------------------------------------------------------------------ which stages there are


def test_the_stages_of_fsft_and_every_row_of_its_table_5(data):
    stages = [
        "learning the source",
        "aligning the target",
        "measuring the target",
        "learning which pairs are alike",
        "learning from the labelled particles",
    ]
    assert phases(make("fsft"), data) == stages
    assert phases(make("fsft", align="none", adabn=False), data)[2:] == stages[3:]
    assert phases(make("fsft", align="coral"), data) == stages
    assert phases(make("fada"), data)[1:] == [stages[4], *stages[2:4]]


def test_fsft_aligns_as_it_is_told(data):
    found = {}
    for how in ("swd", "coral", "none"):
        method = make("fsft", align=how)
        finish(method.fit(data))
        found[how] = state(method)
        if how != "none":  # by that distance and no other
            group = {"swd": "alignment", "coral": "projections"}[how]
            other = make("fsft", align=how, **{group: {"weight": 7.0}})
            finish(other.fit(data))
            assert not moved(other, found[how])
    assert len({float(s["network.classifier.weight"].sum()) for s in found.values()}) == 3


def test_only_the_front_of_fsft_is_the_domains_own(data):
    own = {name: [hasattr(b, "convolution") for b in make(name).network.blocks] for name in NAMES}
    assert own["fsft"] == [False, False, True, True]
    assert all(all(shared) for name, shared in own.items() if name != "fsft")


# ----------------------------------------------------------------- each stage by hand


class Hand:
    """A method whose sets are checked and whose network is made, and the losses done by hand."""

    def __init__(self, name, data, **changes):
        self.method, self.data = make(name, **changes), data
        self.params = self.method.params
        self.shots = Shots.of(data.support, data.source) if data.support else None
        self.domains = self.method.begin(data, self.shots)
        self.network = self.method.network

    def read(self, volumes, rows, seed):
        return half_turns(volumes[rows], np.random.default_rng(seed))


def check_step(module, job, loss, rate):
    """Take one step of a stage, and compare it with the first of Adam down a loss done by hand.

    ``loss`` may be one for each child of the module.
    """
    losses = loss if isinstance(loss, dict) else {"": loss}
    gradients = {}
    for child, value in losses.items():
        weights = dict(module.get_submodule(child).named_parameters(child))
        found = torch.autograd.grad(
            value, list(weights.values()), allow_unused=True, retain_graph=True
        )
        gradients |= dict(zip(weights, found, strict=True))
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    next(job)
    job.close()
    compared = 0
    for name, weight in module.named_parameters():
        step, gradient = weight.detach() - before[name], gradients[name]
        if gradient is None:
            assert (step == 0).all(), name
            continue
        clear = gradient.abs() > 1e-5  # elsewhere rounding decides the sign
        compared += int(clear.sum())
        expected = -rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(step[clear], expected[clear], rtol=0, atol=0.02 * rate)
    assert compared > 100


def cross_entropy(logits, labels):
    """−mean log p of the right class."""
    return -sum(row.log_softmax(0)[k] for row, k in zip(logits, labels, strict=True)) / len(labels)


@pytest.mark.usefixtures("single_precision")
def test_stage_1_is_cross_entropy_of_the_source(data):
    hand = Hand("fsft", data, learning={"steps": 1})
    draw = next(hand.domains.draws(6, stage=1, first=0))
    network = hand.network.train()
    volumes = hand.read(data.source, draw.source, draw.seed)
    loss = cross_entropy(network(volumes, "source"), data.source.labels[draw.source])
    job = hand.method.learn_source(hand.domains, Bookmark())
    check_step(network, job, loss, rate=1e-3)


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("name", ["fsft", "coral"])
def test_stage_2_1_is_equation_6_with_its_weight(data, name):
    hand = Hand(name, data, alignment={"steps": 1, "learning_rate": 1e-3})
    network = hand.network.train()
    draw = next(hand.domains.draws(6, stage=2, first=0))
    features = [
        network.encode(hand.read(volumes, rows, seed), domain).features
        for volumes, rows, seed, domain in (
            (data.source, draw.source, draw.seed, "source"),
            (data.target, draw.target, draw.seed + 1, "target"),
        )
    ]
    of_source, of_target = (((f - f.mean(0)).T @ (f - f.mean(0))) / (len(f) - 1) for f in features)
    coral = (of_source - of_target).square().sum() / (4 * network.width**2)
    logits = network.classifier(features[0])
    loss = cross_entropy(logits, data.source.labels[draw.source]) + 50 * coral
    job = hand.method.align(hand.domains, coral_distance, hand.params.alignment, Bookmark())
    check_step(network, job, loss, rate=1e-3)


@pytest.mark.usefixtures("single_precision")
def test_swd_minimises_the_distance_along_directions_of_its_seed(data):
    hand = Hand("swd", data, alignment={"steps": 1, "weight": 2.0, "projections": 5})
    network = hand.network.train()
    draw = next(hand.domains.draws(6, stage=2, first=0))
    known = network.encode(hand.read(data.source, draw.source, draw.seed), "source").features
    other = network.encode(hand.read(data.target, draw.target, draw.seed + 1), "target").features
    directions = torch.randn(network.width, 5, generator=torch.Generator().manual_seed(draw.seed))
    distance = 0.0
    for direction in directions.T:
        along = direction / direction.norm()
        one, two = (known @ along).sort().values, (other @ along).sort().values
        distance = distance + (one - two).square().mean() / 5
    loss = cross_entropy(network.classifier(known), data.source.labels[draw.source]) + 2 * distance
    how = hand.params.alignment
    job = hand.method.align(hand.domains, how.distance, how, Bookmark())
    check_step(network, job, loss, rate=how.learning_rate)


def pairs_by_hand(hand, draw, groups=EVERY):
    """Group → members of its pairs, each (maps, features)."""
    count = draw.first.shape[1]
    within = [group for group in groups if group in (0, 2)]
    members = {}
    for of_these, second_set, second_domain, seeds in (
        ([1, 3], hand.data.support, "target", (draw.seed, draw.seed + 1)),
        (within, hand.data.source, "source", (draw.seed + 2, draw.seed + 3)),
    ):
        if not of_these:
            continue
        first, second = (
            hand.network.encode(hand.read(volumes, rows[of_these].ravel(), seed), domain)
            for volumes, rows, seed, domain in (
                (hand.data.source, draw.first, seeds[0], "source"),
                (second_set, draw.second, seeds[1], second_domain),
            )
        )
        for place, group in enumerate(of_these):
            part = slice(place * count, (place + 1) * count)
            members[group] = [[tensor[part] for tensor in encoded] for encoded in (first, second)]
    return {group: members[group] for group in groups}


def judged(discriminator, first, second):
    """The discriminator, layer by layer (fig. 3)."""
    seen = discriminator.of_features(torch.cat([first[1], second[1]], 1))
    if discriminator.of_maps is not None:
        seen = torch.cat([seen, discriminator.of_maps(torch.cat([first[0], second[0]], 1))], 1)
    return discriminator.groups(seen)


def grouped_by_hand(discriminator, pairs):
    """Equation 7 over all pairs of a step."""
    first, second = (
        [torch.cat([pair[m][part] for pair in pairs.values()]).detach() for part in (0, 1)]
        for m in (0, 1)
    )
    logits = judged(discriminator, first, second)
    return cross_entropy(logits, np.repeat(np.arange(4), len(logits) // 4))


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("of_maps", [True, False])
def test_stage_2_2_is_equation_7_and_leaves_the_encoders_as_they_are(data, of_maps):
    hand = Hand("fsft", data, grouping={"steps": 1})
    stages = PairStages(hand.method, hand.domains, hand.shots, of_maps=of_maps)
    hand.network.eval()
    pairs = pairs_by_hand(hand, next(hand.shots.pairs(2, seed=(0, 3))))
    loss = grouped_by_hand(stages.discriminator.train(), pairs)
    before = state(hand.method)
    job = stages.learn_groups(hand.params.grouping, Bookmark())
    check_step(stages.discriminator, job, loss, rate=hand.params.grouping.learning_rate)
    assert not moved(hand.method, before)  # statistics of batch norm included


def tuned_by_hand(hand, stages, draw, every=False):
    """Equation 9: γ L_DCD + L_S + L_T, of the pairs across domains."""
    pairs = pairs_by_hand(hand, draw, EVERY if every else ACROSS)
    total = 0.0
    for member, rows, labels in (
        (0, draw.first, hand.data.source.labels),
        (1, draw.second, hand.shots.labels),
    ):
        features = torch.cat([pairs[group][member][1] for group in (1, 3)])
        wanted = labels[np.concatenate([rows[1], rows[3]])]
        total = total + cross_entropy(hand.network.classifier(features), wanted)
    confused = 0.0
    for group, passes_for in ((1, 0), (3, 2)):
        logits = judged(stages.discriminator, *pairs[group])
        confused = confused + cross_entropy(logits, [passes_for] * len(logits)) / 2
    return total + 0.2 * confused


@pytest.mark.usefixtures("single_precision")
def test_stage_3_is_equation_9_and_leaves_the_discriminator_as_it_is(data):
    hand = Hand("fsft", data, tuning={"steps": 1})
    stages = PairStages(hand.method, hand.domains, hand.shots, of_maps=True)
    stages.discriminator.eval()
    draw = next(hand.shots.pairs(2, seed=(0, 4)))
    loss = tuned_by_hand(hand, stages, draw)
    before = state(stages.discriminator)
    job = stages.tune(hand.params.tuning, Bookmark(), adversarial=False)
    check_step(hand.network, job, loss, rate=hand.params.tuning.learning_rate)
    assert not moved(stages.discriminator, before)  # statistics of batch norm included


@pytest.mark.usefixtures("single_precision")
def test_adversarial_each_side_follows_its_own_aim(data):
    """Encoders: equation 9. The discriminator: equation 7, with no part in its confusion."""
    hand = Hand("fada", data, tuning={"steps": 1})
    stages = PairStages(hand.method, hand.domains, hand.shots, of_maps=False)
    both = nn.ModuleDict({"network": hand.network, "discriminator": stages.discriminator})
    draw = next(hand.shots.pairs(2, seed=(0, 4)))
    of_encoders = tuned_by_hand(hand, stages, draw, every=True)
    of_discriminator = grouped_by_hand(stages.discriminator, pairs_by_hand(hand, draw))
    job = stages.tune(hand.params.tuning, Bookmark(), adversarial=True)
    check_step(
        both,
        job,
        {"network": of_encoders, "discriminator": of_discriminator},
        rate=hand.params.tuning.learning_rate,
    )


@pytest.mark.usefixtures("single_precision")
def test_fine_tuning_is_cross_entropy_of_the_shots(data):
    hand = Hand("finetune", data, tuning={"steps": 1})
    rows, seed = next(hand.shots.draws(4, seed=(0, 3)))
    logits = hand.network(hand.read(data.support, rows, seed), "target")
    loss = cross_entropy(logits, hand.shots.labels[rows])
    job = hand.method.tune(hand.shots, Bookmark())
    check_step(hand.network, job, loss, rate=hand.params.tuning.learning_rate)


# -------------------------------------------------------------------- what must not happen


@pytest.mark.parametrize("name", NAMES)
def test_no_label_of_the_target_but_those_of_the_shots_has_a_part(data, name):
    rolled = dataclasses.replace(data.target, labels=np.roll(data.target.labels, 1))
    none = dataclasses.replace(data.target, labels=None, classes=())
    found = []
    for target in (data.target, rolled, none):
        method = make(name)
        finish(method.fit(dataclasses.replace(data, target=target)))
        found.append(state(method))
    for other in found[1:]:
        assert all(torch.equal(other[key], tensor) for key, tensor in found[0].items())


@pytest.mark.parametrize("name", ["fsft", "finetune", "fada"])
def test_the_labels_of_the_shots_have_a_part(data, name):
    rolled = dataclasses.replace(data.support, labels=np.roll(data.support.labels, 1))
    method, other = make(name), make(name)
    finish(method.fit(data))
    finish(other.fit(dataclasses.replace(data, support=rolled)))
    assert moved(method, state(other))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_stopped_in_any_stage_goes_on_to_the_same_weights(data, name, resumed):
    whole = make(name)
    reports = [(report.phase, report.step) for report in whole.fit(data)]
    for stop in range(1, len(reports)):
        again = resumed(lambda: make(name), data, stop)
        assert not moved(again, state(whole)), reports[stop - 1]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_reported_when_adapting_begins_and_never_again(data, name, stop_after, tmp_path):
    """With the weights of what the source has taught, of which a checkpoint may be kept."""
    method = make(name)
    begun = (method.adapting, 0)
    for report in method.fit(data):
        if (report.phase, report.step) == begun:
            break
        assert report.phase == "learning the source"
    network = method.network
    assert torch.equal(network(data.source[:4], "source"), network(data.source[:4], "target"))
    file = tmp_path / "later.run"
    stopped = make(name)
    bookmark = Bookmark(file, stopped)
    stop_after(bookmark.keep(stopped.fit(data, bookmark)), 5)
    again = make(name)
    assert begun not in [(r.phase, r.step) for r in again.fit(data, Bookmark(file, again))]


# ------------------------------------------------------------------------- predictions


def test_batch_norm_has_the_statistics_of_the_target(data):
    """By hand, of the first block: mean and variance of its convolution over the whole target."""
    method = make("finetune", augment=False, tuning={"learning_rate": 1e-12})
    finish(method.fit(data))
    block = method.network.blocks[0]
    with torch.no_grad():
        maps = block.convolution(data.target[:].unsqueeze(1)).double()
    statistics = block.each["target"]
    torch.testing.assert_close(
        statistics.running_mean.double(), maps.mean((0, 2, 3, 4)), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(
        statistics.running_var.double(), maps.var((0, 2, 3, 4)), rtol=1e-2, atol=1e-4
    )
    without = make("finetune", adabn=False, tuning={"learning_rate": 1e-12})
    finish(without.fit(data))
    for each in (block.each for block in without.network.blocks):
        assert torch.equal(each["target"].running_var, each["source"].running_var)


@pytest.mark.parametrize("name", NAMES)
def test_a_half_turn_changes_no_prediction(data, name):
    method = make(name)
    finish(method.fit(data))
    views = every_half_turn(data.target[:5])
    for view in views[1:]:
        torch.testing.assert_close(method.predict(view), method.predict(views[0]))
    plain = make(name, augment=False)
    finish(plain.fit(data))
    assert not torch.allclose(plain.predict(views[1]), plain.predict(views[0]))


def test_before_it_is_trained_it_says_what_it_needs():
    needed = r"0 classes are known; fit with source and support and target first"
    with pytest.raises(ValueError, match=needed):
        make("fsft").predict(torch.zeros(1, BOX, BOX, BOX))


# ---------------------------------------------------------------------- unusual classes

LONG = {
    "learning": {"steps": 20, "batch": 9},
    "alignment": {"steps": 5, "batch": 9},
    "projections": {"steps": 5, "batch": 9},
    "grouping": {"steps": 5, "batch": 8},
}


@pytest.fixture
def recall(shapes):
    """Class → share of its target volumes that are found by a method with these shots."""

    def of(name, support, source, steps):
        method = make(name, **LONG | {"tuning": {"steps": steps, "batch": 6}})
        target = shapes(15, 1, noise=0.8)
        finish(method.fit(TrainingData(source=source, target=target, support=support)))
        test = shapes(20, 6, noise=0.8)
        said = np.array(method.classes)[method.predict(test[:]).argmax(1)]
        truth = np.array(test.classes)[test.labels]
        return {name: float((said == truth)[truth == name].mean()) for name in test.classes}

    return of


@pytest.mark.parametrize("name", ["fsft", "finetune", "fada"])
def test_one_shot_a_class_is_enough_and_a_class_without_is_known_from_the_source(
    name, shapes, recall
):
    support = shapes(1, 5, noise=0.8, labels=(0, 1))
    assert min(recall(name, support, shapes(20, 0), steps=15).values()) > 0.8


@pytest.mark.parametrize(("name", "steps"), [("fsft", 60), ("finetune", 30), ("fada", 60)])
def test_a_class_of_the_target_alone_is_learnt_from_its_shots(name, steps, shapes, recall):
    source = shapes(20, 0, noise=0.8, labels=(0, 1))
    source = dataclasses.replace(source, classes=("ball", "rod"))
    assert min(recall(name, shapes(3, 5, noise=0.8), source, steps).values()) > 0.8


@pytest.mark.parametrize("name", ["fsft", "finetune", "fada"])
def test_no_class_in_common_is_refused_in_one_sentence(data, name):
    support = some(4, 5, classes=("ribosome", "other"))
    with pytest.raises(ValueError, match="labelled are other, ribosome but the source has a, b, c"):
        finish(make(name).fit(dataclasses.replace(data, support=support)))
