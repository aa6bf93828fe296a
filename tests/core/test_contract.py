"""What every method promises, whichever it is: one test each, over all of `METHODS`."""

import itertools

import numpy as np
import pytest
import torch

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.metrics import evaluate_clusters
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import TrainingData

BOX, VOXEL_SIZE = 16, 12.0
QUICK = {
    "tasks": 40,
    "ways": 3,
    "shots": 2,
    "queries": 4,
    "width": 16,
    "seed": 3,
    "learning_rate": 1e-3,
    "step_zero": {"width": 16, "epochs": 1, "batch": 8, "learning_rate": 1e-3},
    "warp": {"filters": 2},
    "discriminator": {"pretraining": 5, "pretraining_rate": 1e-4},
    "adaptation": {"reversal": 1.0},
    "learning": {"steps": 15, "batch": 8, "learning_rate": 1e-3},
    "alignment": {"steps": 20, "batch": 16, "learning_rate": 5e-4},
    "projections": {"steps": 20, "batch": 16, "learning_rate": 5e-4},
    "grouping": {"steps": 15, "batch": 16, "learning_rate": 1e-3},
    "tuning": {"steps": 20, "batch": 8, "learning_rate": 5e-4},
    "iterations": 9,
    "epochs": 2,
    "batch": 4,
    # Of one method alone:
    "disca": {"clusters": (3,), "components": 4, "iterations": 3, "batch": 8},
    "autoencoder": {"clusters": 3, "filters": 4, "passes": 8, "learning_rate": 5e-3},
    # To be moved by two voxels is much in a box of 16, and few steps are taken.
    "cryoshift": {"randomise": False},
    # Five labels a class say little of how far it reaches.
    "protonet_ce": {"head": {"reach": 3.0}},
    # All in one stage:
    "softmax": {"learning": {"steps": 30, "batch": 16}},
    "center_loss": {"learning": {"steps": 30, "batch": 16}},
    "jdda": {"learning": {"steps": 30, "batch": 16}},
    "mluda": {"learning": {"steps": 30, "batch": 16}},
}


@pytest.fixture(params=METHODS.values(), ids=METHODS.keys())
def method_type(request):
    return request.param


@pytest.fixture(scope="module")
def data(shapes):
    source = shapes(40, seed=0, noise=1.0)
    embedding = METHODS["protonet"](quick(METHODS["protonet"]), BOX)
    finish(embedding.fit(TrainingData(source=source)))
    return TrainingData(
        source=source,
        target=shapes(20, seed=1, noise=0.7),
        support=shapes(10, seed=2),
        start=embedding.encoder.state_dict(),
    )


def quick(method_type, **changes):
    """Parameters under which any method is done in seconds."""
    fields = method_type.params_type.model_fields
    of_all = QUICK | QUICK.get(method_type.name, {}) | changes
    wanted = {name: value for name, value in of_all.items() if name in fields}
    return method_type.params_type(**wanted)


def learns_names(method_type):
    """Without labels there are groups, but no names for them."""
    return bool(method_type.needs & {"source", "support"})


def make(method_type, **changes):
    return method_type(quick(method_type, **changes), BOX)


def weights(method):
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_it_says_what_it_is(method_type):
    assert METHODS[method_type.name] is method_type
    assert method_type.needs <= {"source", "target", "support"}
    assert method_type.title
    assert method_type.description.endswith(".")


def test_it_learns(method_type, data, shapes):
    method = make(method_type)
    losses = {}
    for report in method.fit(data):
        if "loss" in report.metrics:
            losses.setdefault(report.phase, []).append(report.metrics["loss"])
    for curve in losses.values():
        assert curve[-1] < curve[0]
    unseen = shapes(20, seed=9)
    predicted = method.predict(unseen[:]).argmax(1).numpy()
    if learns_names(method_type):
        names = np.array(method.classes)[predicted]
        assert (names == np.array(unseen.classes)[unseen.labels]).mean() > 0.9
    else:
        assert evaluate_clusters(unseen.labels, predicted).accuracy > 0.9


def test_predictions_are_probabilities_of_its_classes(method_type, data, shapes):
    method = make(method_type)
    finish(method.fit(data))
    volumes = shapes(4, seed=5)[:]
    probabilities = method.predict(volumes)
    assert probabilities.shape == (12, len(method.classes))
    if learns_names(method_type):
        assert set(data.support.classes) <= set(method.classes)
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(12))
    assert method.embed(volumes).shape[0] == 12
    assert not method.embed(volumes).requires_grad


def test_a_volume_is_judged_alone_as_in_company(method_type, data, shapes):
    method = make(method_type)
    finish(method.fit(data))
    volumes = shapes(4, seed=6)[:]
    torch.testing.assert_close(
        method.predict(volumes[:1]), method.predict(volumes)[:1], atol=1e-4, rtol=1e-3
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(method_type, data):
    found = {}
    for name, seed, global_seed in [("one", 3, 1), ("again", 3, 2), ("other", 4, 1)]:
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)
        method = make(method_type, seed=seed)
        finish(method.fit(data))
        found[name] = weights(method)
    assert same(found["one"], found["again"])
    assert not same(found["one"], found["other"])


def test_it_leaves_the_global_randomness_alone(method_type, data):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    finish(make(method_type).fit(data))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


def test_it_may_be_stopped_after_any_report(method_type, data):
    reports = len(list(make(method_type).fit(data)))
    for count in {1, 2, reports // 2, reports - 1, reports}:
        method = make(method_type)
        job = method.fit(data)
        for _ in itertools.islice(job, count):
            assert torch.is_grad_enabled()
        job.close()
        assert torch.is_grad_enabled()
        assert all(torch.isfinite(tensor.float()).all() for tensor in weights(method).values())


def test_a_file_brings_it_back(method_type, data, tmp_path, shapes):
    method = make(method_type)
    finish(method.fit(data))
    file = tmp_path / "trained.safetensors"
    Checkpoint.of(method, VOXEL_SIZE, {"data": "shapes"}).save(file)
    loaded = Checkpoint.load(file)
    again = loaded.build()
    assert loaded.params == method.params
    assert (again.name, again.box, again.classes) == (method.name, BOX, method.classes)
    assert same(weights(again), weights(method))
    volumes = shapes(4, seed=7)[:]
    assert torch.equal(again.predict(volumes), method.predict(volumes))


def test_parameters_come_back_from_json(method_type):
    params = quick(method_type)
    assert type(params).model_validate_json(params.model_dump_json()) == params
    with pytest.raises(ValueError, match="no_such_parameter"):
        type(params)(no_such_parameter=1)


def test_every_parameter_says_what_it_is(method_type):
    for name, field in method_type.params_type.model_fields.items():
        assert field.title, name
        assert field.description.endswith("."), name
        assert not field.is_required(), name


def test_without_data_it_says_in_one_sentence_what_is_missing(method_type):
    with pytest.raises(ValueError, match=r"the (source|target|support) set is empty; \w+ .*"):
        finish(make(method_type).fit(TrainingData()))
