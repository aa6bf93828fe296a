"""MLUDA and its baselines: a step beside the same done by hand, and what each part does."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from napari_cryoshift.core import training
from napari_cryoshift.core.losses import (
    cognition_loss,
    coral_loss,
    inter_class_loss,
    intra_class_loss,
)
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.types import OTHER, Subtomograms, TrainingData

BOX = 16
CLASSES = ("a", "b", OTHER)


@pytest.fixture
def single_precision(monkeypatch):
    monkeypatch.setattr(training, "half_precision", lambda device: contextlib.nullcontext())


def some(n, seed, classes=CLASSES):
    """Noise, and a cube that is the brighter the later its class."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(n, BOX, BOX, BOX)).astype(np.float32)
    labels = np.arange(n) % len(classes)
    noise[:, 4:10, 4:10, 4:10] += labels.reshape(-1, 1, 1, 1)
    return Subtomograms.from_memory(torch.from_numpy(noise), 10.0, labels, classes)


@pytest.fixture(scope="module")
def data():
    return TrainingData(source=some(24, 0), target=some(15, 1))


def make(name, steps=1, batch=12, **changes):
    params = METHODS[name].params_type(
        learning={"steps": steps, "batch": batch}, augment=False, adabn=False, **changes
    )
    return METHODS[name](params, BOX)


def test_the_loss_of_a_step_is_equation_9(data, single_precision):
    method = make("mluda", weight=0.3, aligning=20.0, inner=0.2, outer=3.0, unknown=2.0)
    job = method.fit(data)
    first = next(job)
    job.close()

    again = make("mluda", weight=0.3, aligning=20.0, inner=0.2, outer=3.0, unknown=2.0)
    domains = again.begin(data)
    draw = next(domains.draws(12, stage=1, first=0))
    network, labels = again.network.train(), domains.labels[draw.source]
    features = network.encode(data.source[draw.source], "source").features
    aligned = network.encode(data.target[draw.target], "target").features
    task = nn.functional.cross_entropy(network.classifier(features), labels)
    scaled, unknown = features / features.shape[1] ** 0.5, labels == 2
    centres = torch.zeros(3, features.shape[1])
    parts = {
        "intra-class loss": intra_class_loss(scaled[~unknown], labels[~unknown], centres, 0.2),
        "inter-class loss": inter_class_loss(scaled[~unknown], labels[~unknown], 3, 3.0),
        "cognition loss": cognition_loss(scaled[unknown], centres[:2], 2.0),
    }
    distance = coral_loss(features, aligned)
    total = task + 0.3 * sum(parts.values()) + 20 * distance
    assert all(part > 0 for part in parts.values())
    for name, value in {"loss": total, "distance": distance, **parts}.items():
        assert first.metrics[name] == pytest.approx(value.item(), rel=1e-4), name


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("softmax", set()),
        ("center_loss", {"intra-class loss"}),
        ("jdda", {"intra-class loss", "inter-class loss", "distance"}),
        ("mluda", {"intra-class loss", "inter-class loss", "cognition loss", "distance"}),
    ],
)
def test_each_baseline_leaves_something_out(data, name, terms):
    first = next(make(name).fit(data))
    assert first.metrics.keys() - {"loss", "task loss", "source accuracy"} == terms


def test_every_term_changes_the_weights(data, single_precision):
    def after(**changes):
        given = {"weight": 1.0, "aligning": 50.0, "inner": 0.0, "outer": 3.0, "unknown": 3.0}
        method = make("mluda", **given | changes)
        finish(method.fit(data))
        return method.network.blocks[0].convolution.weight.detach()

    every = after()
    # A margin that nothing is beyond takes a term away.
    for change in (
        {"aligning": 0.0},
        {"inner": 2.9},
        {"outer": 1e-6},
        {"unknown": 1e-6},
    ):
        assert not torch.equal(after(**change), every), change


def test_known_classes_gather_and_part_and_others_keep_away(data):
    """The ratio of distances within and between classes, with the terms and without."""

    def ratio(name, **changes):
        method = make(name, steps=60, **changes)
        finish(method.fit(data))
        features = method.embed_source(data.source[:])
        labels = torch.from_numpy(data.source.labels)
        means = torch.stack([features[labels == k].mean(0) for k in range(2)])
        within = torch.stack(
            [(features[labels == k] - means[k]).norm(dim=1).mean() for k in range(2)]
        )
        return float(within.mean() / (means[0] - means[1]).norm())

    assert ratio("mluda", weight=1.0) < 0.8 * ratio("softmax")


def test_centres_are_of_the_features(data):
    method = make("mluda", steps=60)
    finish(method.fit(data))
    features = method.embed_source(data.source[:]) / method.network.width**0.5
    labels = torch.from_numpy(data.source.labels)
    for k in range(3):
        distances = (features[labels == k].mean(0) - method.centres).norm(dim=1)
        assert distances.argmin() == k


def test_a_source_without_others_has_no_cognition_loss(data):
    without = TrainingData(source=some(24, 0, ("a", "b")), target=data.target)
    first = next(make("mluda").fit(without))
    assert "cognition loss" not in first.metrics


def test_the_outer_margin_has_to_be_the_larger_one():
    with pytest.raises(ValueError, match="make the outer one larger"):
        make("mluda", inner=2.0, outer=1.0)


@pytest.mark.parametrize("name", ["softmax", "center_loss", "mluda"])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(name, data, tmp_path):
    whole = make(name, steps=6)
    finish(whole.fit(data))
    file = tmp_path / "run.safetensors"
    stopped = make(name, steps=6)
    bookmark = Bookmark(file, stopped)
    job = bookmark.keep(stopped.fit(data, bookmark))
    for _ in range(3):
        next(job)
    job.close()
    resumed = make(name, steps=6)
    bookmark = Bookmark(file, resumed)
    finish(bookmark.keep(resumed.fit(data, bookmark)))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
