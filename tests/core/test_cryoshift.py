import contextlib
import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from napari_cryoshift.core import training
from napari_cryoshift.core.methods import cryoshift
from napari_cryoshift.core.methods.cryoshift import CryoShift
from napari_cryoshift.core.methods.cryoshift_params import PAPER, CryoShiftParams
from napari_cryoshift.core.methods.cryoshift_step import Adversaries, adaptation_losses
from napari_cryoshift.core.networks.statistics import measuring
from napari_cryoshift.core.networks.warp import unit_range
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import DivergedError, descend
from napari_cryoshift.core.types import Subtomograms, TrainingData
from napari_cryoshift.core.volumes import standardise

B, K = 4, 3
TINY = {
    "step_zero": {"width": 6, "epochs": 2, "batch": 6},
    "warp": {"filters": 2},
    "discriminator": {"pretraining": 2},
    "adaptation": {"reversal": 100.0, "ramp": False, "information": 0.0},
    "iterations": 2,
    "epochs": 2,
    "augment": False,
}


@pytest.fixture
def single_precision(monkeypatch):
    monkeypatch.setattr(training, "half_precision", lambda device: contextlib.nullcontext())


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)

    def some(n):
        noise = generator.normal(size=(n, 16, 16, 16)).astype(np.float32)
        labels = np.arange(n) % K
        noise[:, 4:10, 4:10, 4:10] += labels.reshape(-1, 1, 1, 1)
        return Subtomograms.from_memory(torch.from_numpy(noise), 10.0, labels, ("a", "b", "c"))

    return TrainingData(source=some(60), target=some(24))


def params(**groups):
    """`TINY`, with some fields of its groups changed."""
    merged = dict(TINY)
    for name, value in groups.items():
        merged[name] = TINY.get(name, {}) | value if isinstance(value, dict) else value
    return CryoShiftParams(**merged)


class Step:
    """One step of stage two with all its networks, small enough to be done by hand."""

    def __init__(self, **groups):
        self.params = params(**groups)
        torch.manual_seed(0)
        method = CryoShift(self.params, 16, ("a", "b", "c"))
        self.network, self.warper = method.network.train(), method.warper
        self.adversaries = Adversaries(self.params, self.network.width, K).train()
        self.simulated, self.real = unit_range(torch.randn(2 * B, 16, 16, 16)).split(B)
        self.labels = torch.tensor([0, 1, 2, 0])

    def losses(self, share=0.0):
        return adaptation_losses(
            self.params,
            self.network,
            self.warper,
            self.adversaries,
            simulated=self.simulated,
            labels=self.labels,
            real=self.real,
            share=share,
        )

    def gradients(self, loss):
        """Of a loss, by module; zero where it has no part."""
        modules = {
            "extractor": self.network.extractor,
            "classifier": self.network.classifier,
            "warper": self.warper,
            "of_volumes": self.adversaries.of_volumes,
            "of_features": self.adversaries.of_features,
        }
        found = {}
        for name, module in modules.items():
            if module is not None:
                weights = list(module.parameters())
                gradients = torch.autograd.grad(
                    loss, weights, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                found[name] = torch.cat([g.flatten() for g in gradients])
        return found


def bce(logits, truth):
    """−t log σ(x) − (1 − t) log(1 − σ(x))."""
    return torch.log1p(torch.exp(-logits)) if truth else torch.log1p(torch.exp(logits))


def own_features(step, seen):
    """Of M, of standardised volumes; batch norm sees both domains together, or each alone."""
    seen = (seen - seen.mean((1, 2, 3), True)) / seen.std((1, 2, 3), correction=0, keepdim=True)
    if step.params.adaptation.statistics == "joint":
        return step.network.extractor(seen)
    return torch.cat([step.network.extractor(some) for some in (seen[: 2 * B], seen[2 * B :])])


def by_hand(step):
    """The three losses of section 2.6, without reversals: each network's own part is taken of them.

    `L_dd` with W in its graph, `L_fd` and `L_task` with W's output cut off.
    """
    warped = step.warper(step.simulated)
    domain = 0.0
    for volumes, truth in ((warped, 0), (step.real, 1)):
        domain = domain + bce(step.adversaries.of_volumes(volumes), truth).sum() / (2 * B)
    seen = torch.cat([step.simulated, warped.detach(), step.real])
    features = own_features(step, seen)
    logits = step.network.classifier(features)
    probabilities = (logits.exp() / logits.exp().sum(1, keepdim=True)).detach()
    task = 0.0
    for j, label in enumerate([*step.labels, *step.labels]):
        task = task - logits[j].log_softmax(0)[label] / (2 * B)
    feature = 0.0
    for k, judge in enumerate(step.adversaries.of_features.each):
        for j in range(3 * B):
            loss = bce(judge(features[j]), j >= 2 * B).squeeze()
            feature = feature + probabilities[j, k] * loss / (3 * B)
    return task, domain, feature


@pytest.mark.parametrize("statistics", ["own", "joint"])
def test_the_losses_of_a_step_are_those_of_the_paper(statistics):
    step = Step(adaptation={"statistics": statistics})
    task, domain, feature = by_hand(step)
    terms = step.losses()
    torch.testing.assert_close(terms["task loss"], task)
    torch.testing.assert_close(terms["discriminator loss"], domain)
    torch.testing.assert_close(terms["feature loss"], feature)
    torch.testing.assert_close(terms["loss"], 10 * task + 10 * domain + feature / 4)


def test_each_network_gets_the_gradient_of_its_own_aim():
    step = Step(warp={"reversal": 0.5})
    task, domain, feature = (step.gradients(loss) for loss in by_hand(step))
    found = step.gradients(step.losses()["loss"])
    expected = {
        "classifier": 10 * task["classifier"],
        "extractor": 10 * task["extractor"] - 100 * feature["extractor"] / 4,
        "of_volumes": 10 * domain["of_volumes"],
        "warper": -0.5 * 10 * domain["warper"],
        "of_features": feature["of_features"] / 4,
    }
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.usefixtures("single_precision")
def test_a_whole_step_is_one_of_adam_with_a_rate_for_each_network():
    step = Step()
    rates = {"extractor": 1e-4, "classifier": 1e-4, "warper": 5e-3, "of_volumes": 1e-6}
    rates["of_features"] = 5e-5
    modules = {
        "extractor": step.network.extractor,
        "classifier": step.network.classifier,
        "warper": step.warper,
        "of_volumes": step.adversaries.of_volumes,
        "of_features": step.adversaries.of_features,
    }
    before = {n: nn.utils.parameters_to_vector(m.parameters()).detach() for n, m in modules.items()}
    before = {name: weights.clone() for name, weights in before.items()}
    gradients = step.gradients(step.losses()["loss"])
    optimiser = torch.optim.Adam(
        {"params": m.parameters(), "lr": rates[n]} for n, m in modules.items()
    )
    bookmark = Bookmark()
    bookmark.begin(optimiser=optimiser)
    job = descend(
        optimiser, [None], lambda _: step.losses(), phase="adapting", steps=1, bookmark=bookmark
    )
    finish(job)
    for name, module in modules.items():
        g = gradients[name]
        expected = before[name] - rates[name] * g / (g.abs() + 1e-8)  # Adam's first step
        after = nn.utils.parameters_to_vector(module.parameters()).detach()
        moved = g.abs() > 1e-5  # elsewhere rounding decides the sign
        torch.testing.assert_close(
            after[moved], expected[moved], rtol=1e-5, atol=rates[name] * 0.02
        )


def test_the_gradient_reaches_the_distortion_decoder_from_the_discriminator_alone():
    step = Step()
    terms = step.losses()
    decoder = list(step.warper.grid_decoder.parameters())
    gradients = torch.autograd.grad(
        terms["discriminator loss"], decoder, retain_graph=True, allow_unused=False
    )
    assert all(g.abs().max() > 0 for g in gradients[-4:])
    for name in ("task loss", "feature loss"):  # W's output is detached before F_e
        gradients = torch.autograd.grad(
            terms[name], decoder, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        assert all((g == 0).all() for g in gradients)


def test_the_source_filter_keeps_real_volumes_out_of_the_task():
    step = Step()
    step.network.eval()  # batch statistics would carry them in
    step.real.requires_grad_(True)
    terms = step.losses()
    (of_task,) = torch.autograd.grad(
        terms["task loss"], step.real, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    (of_features,) = torch.autograd.grad(terms["feature loss"], step.real, retain_graph=True)
    assert (of_task == 0).all()
    assert (of_features != 0).any()


def test_the_weights_of_the_feature_loss_are_cut_off_from_the_classifier():
    step = Step()
    gradients = step.gradients(step.losses()["feature loss"])
    assert (gradients["classifier"] == 0).all()
    assert (gradients["extractor"] != 0).any()


def test_with_weights_on_the_features_it_is_mada():
    step = Step(adaptation={"weighting": "features"})
    warped = step.warper(step.simulated).detach()
    features = own_features(step, torch.cat([step.simulated, warped, step.real]))
    p = step.network.classifier(features).softmax(1)
    expected = 0.0
    for k, judge in enumerate(step.adversaries.of_features.each):
        for j in range(3 * B):
            loss = bce(judge(p[j, k] * features[j]), j >= 2 * B).squeeze()
            expected = expected + loss / (3 * B)
    torch.testing.assert_close(step.losses()["feature loss"], expected)


def test_a_reversal_that_sets_in_gently_begins_with_none():
    step = Step(adaptation={"ramp": True, "reversal": 2.0})
    for share, ramp in ((0.0, 0.0), (0.1, 2 / (1 + np.exp(-1)) - 1)):
        found = step.gradients(step.losses(share)["feature loss"])["extractor"]
        own = step.gradients(by_hand(step)[2])["extractor"]
        torch.testing.assert_close(found, -2 * ramp * own, rtol=1e-3, atol=1e-6)


def test_information_is_that_of_the_real_volumes_and_sets_in_gently():
    """Mean prediction's entropy less the mean entropy of predictions, by hand."""
    step = Step(adaptation={"weighting": "none", "information": 3.0, "ramp": True})
    warped = step.warper(step.simulated).detach()
    logits = step.network.classifier(
        own_features(step, torch.cat([step.simulated, warped, step.real]))
    )
    p = logits[2 * B :].softmax(1)
    entropies = -(p * p.log()).sum(1)
    information = -(p.mean(0) * p.mean(0).log()).sum() - entropies.mean()
    terms = step.losses(0.1)
    torch.testing.assert_close(terms["information"], information)
    ramp = 2 / (1 + np.exp(-1)) - 1
    others = 10 * terms["task loss"] + 10 * terms["discriminator loss"]
    torch.testing.assert_close(terms["loss"], others - 3 * ramp * information)
    assert (step.gradients(terms["information"])["warper"] == 0).all()


def test_against_the_task_warping_makes_volumes_harder_to_classify():
    """The first row of table 2, DeceptionNet."""
    step = Step(warp={"against": "task"}, adaptation={"weighting": "none"})
    warped = step.warper(step.simulated)
    logits = step.network(torch.cat([step.simulated, warped]))
    task = nn.functional.cross_entropy(logits, step.labels.repeat(2))
    terms = step.losses()
    assert set(terms) == {"loss", "task loss"}
    found, own = step.gradients(terms["loss"]), step.gradients(10 * task)
    scale = float(own["warper"].abs().max())
    torch.testing.assert_close(found["warper"], -own["warper"], rtol=1e-3, atol=1e-4 * scale)
    torch.testing.assert_close(found["extractor"], own["extractor"], rtol=1e-3, atol=1e-4)


ABLATIONS = {
    "step zero": ({"noise": 0, "distortion": 0}, "none", {"loss"}),
    "noise only": ({"distortion": 0}, "none", {"task loss", "discriminator loss"}),
    "distortion only": ({"noise": 0}, "none", {"task loss", "discriminator loss"}),
    "warp": ({}, "none", {"task loss", "discriminator loss"}),
    "against the task": ({"against": "task"}, "none", {"task loss"}),
    "adaptation only": ({"noise": 0, "distortion": 0}, "loss", {"task loss", "feature loss"}),
    "information only": ({"noise": 0, "distortion": 0}, "none", {"task loss", "information"}),
    "mada": ({}, "features", {"task loss", "discriminator loss", "feature loss"}),
    "all": ({}, "loss", {"task loss", "discriminator loss", "feature loss"}),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_of_tables_2_and_3_runs(name, data):
    warp, weighting, expected = ABLATIONS[name]
    adaptation = {"weighting": weighting, "information": float("information" in expected)}
    method = CryoShift(params(warp=warp, adaptation=adaptation), 16)
    reports = list(method.fit(data))
    phases = list(dict.fromkeys(r.phase for r in reports))
    last = {key for r in reports if r.phase == phases[-1] for key in r.metrics}
    assert ("adapting to the target" in phases) == (name != "step zero")
    assert ("learning to tell simulated from real" in phases) == ("discriminator loss" in expected)
    assert expected <= last
    assert not {"discriminator loss", "feature loss", "information"} & (last - expected)
    assert method.predict(data.target[:4]).shape == (4, K)


def test_what_knows_the_source_is_adapted_without_learning_it_anew(data):
    """To the same weights as in one go; and once more, to another target."""
    whole = CryoShift(params(), 16)
    finish(whole.fit(data))
    step_zero = CryoShift(
        params(warp={"noise": 0, "distortion": 0}, adaptation={"weighting": "none"}), 16
    )
    finish(step_zero.fit(data))
    method = CryoShift(params(), 16, data.source.classes)
    method.network.load_state_dict(step_zero.network.state_dict())
    finish(method.adapt(data))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, method.state_dict()[name]), name
    others = TrainingData(source=data.source, target=data.target.take(np.arange(12)))
    phases = {report.phase for report in method.adapt(others)}
    assert phases == {"learning to tell simulated from real", "adapting to the target"}


def test_other_classes_than_those_learnt_are_refused(data):
    method = CryoShift(params(), 16, ("a", "b"))
    with pytest.raises(ValueError, match="has the classes a, b, c but what was learnt are a, b; g"):
        finish(method.adapt(data))


def test_no_label_of_the_target_is_looked_at(data):
    none = dataclasses.replace(data.target, labels=None, classes=())
    wrong = dataclasses.replace(data.target, labels=np.zeros(len(data.target), dtype=np.int64))
    found = []
    for target in (data.target, none, wrong):
        method = CryoShift(params(warp={"noise": 0, "distortion": 0}), 16)
        finish(method.fit(TrainingData(source=data.source, target=target)))
        found.append(method.state_dict())
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name])
        assert torch.equal(tensor, found[2][name])


def criterion(method, data):
    p = method.predict(data.target[:]).numpy()
    entropy = -(p * np.log(p)).sum(1).mean()
    information = -(p.mean(0) * np.log(p.mean(0))).sum() - entropy
    # Which source volumes were held out is drawn from the seed: one in ten of each class.
    losses = -np.log(method.predict(data.source[:]).numpy())[np.arange(60), data.source.labels]
    rows = np.random.default_rng(0).permutation(60)
    held_out = rows[np.argsort(data.source.labels[rows], kind="stable")][::10]
    return losses[held_out].mean() - information


def test_the_criterion_is_source_loss_less_what_is_known_of_the_target(data):
    """After one epoch the model that is kept is the one that was judged."""
    joint = {"statistics": "joint"}
    method = CryoShift(params(epochs=1, step_zero={"epochs": 1}, adaptation=joint), 16)
    reports = list(method.fit(data))
    first, second = (r.metrics["criterion"] for r in reports if "criterion" in r.metrics)
    assert second == pytest.approx(criterion(method, data), rel=1e-4)
    assert first > 0
    step_zero = CryoShift(
        params(
            step_zero={"epochs": 1},
            warp={"noise": 0, "distortion": 0},
            adaptation=joint | {"weighting": "none"},
        ),
        16,
    )
    finish(step_zero.fit(data))
    assert reports[-1].metrics == {
        "criterion before": pytest.approx(criterion(step_zero, data), rel=1e-4),
        "criterion after": second,
    }


def test_predictions_use_the_batch_norm_statistics_of_the_target(data):
    method = CryoShift(params(), 16)
    finish(method.fit(data))
    first = method.network.extractor.stages[0]
    maps = first[0](standardise(data.target[:]).unsqueeze(1))
    torch.testing.assert_close(first[1].running_mean, maps.mean((0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first[1].running_var, maps.var((0, 2, 3, 4)), rtol=1e-3, atol=1e-5)


def test_measured_statistics_are_those_of_pytorch(data):
    torch.manual_seed(0)
    one = CryoShift(params(), 16, ("a", "b", "c")).network
    other = copy.deepcopy(one)
    volumes = data.target[:].split(8)
    torch.optim.swa_utils.update_bn(volumes, one)
    with measuring(other), torch.no_grad():
        for some in volumes:
            other(some)
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))
    assert [m.momentum for m in other.modules() if hasattr(m, "momentum")] == [0.1] * 5


def test_what_is_kept_is_the_best_epoch_even_when_stopped(data):
    method = CryoShift(params(epochs=3), 16)
    job = method.fit(data)
    after = {}
    for report in job:
        if report.phase == "adapting to the target" and "criterion" in report.metrics:
            after[report.metrics["criterion"]] = copy.deepcopy(method.state_dict())
            if len(after) == 2:
                break
    next(job)  # one step further
    job.close()
    kept = method.state_dict()
    assert all(torch.equal(kept[name], after[list(after)[-1]][name]) for name in kept)
    if min(after) == next(iter(after)):  # the second was no better: the first is still there
        first = after[min(after)]
        assert all(torch.equal(kept[name], first[name]) for name in kept)


def test_a_resumed_run_is_to_the_bit_what_an_unbroken_one_is(data, tmp_path):
    """One that is stopped in every stage: within an epoch, and while an epoch is judged."""
    whole = CryoShift(params(), 16)
    finish(whole.fit(data))
    source, before, target = (
        "learning the source",
        "learning to tell simulated from real",
        "adapting to the target",
    )
    path = tmp_path / "run.safetensors"
    within, judging = 1, 2  # the first report of a step, and the next one at the same step
    for phase, step, which in (
        (source, 1, within),
        (source, 2, judging),
        (before, 1, within),
        (target, 0, judging),
        (target, 1, within),
        (target, 2, judging),
        (None, None, None),
    ):
        method = CryoShift(params(), 16)
        bookmark = Bookmark(path, method, {"method": method.name})
        job = bookmark.keep(method.fit(data, bookmark))
        if phase is None:
            finish(job)
        else:
            at = (report for report in job if (report.phase, report.step) == (phase, step))
            assert len(list(itertools.islice(at, which))) == which
            job.close()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, method.state_dict()[name]), name


def test_dropout_too_depends_on_the_seed_alone(data):
    """DSRF3D has dropout; its numbers are no part of the global state, nor of what was resumed."""
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        tiny = params(
            step_zero={"network": "dsrf3d", "epochs": 1},
            warp={"noise": 0, "distortion": 0},
            adaptation={"weighting": "none"},
            iterations=1,
        )
        method = CryoShift(tiny, 16)
        finish(method.fit(data))
        found.append(method.predict(data.target[:4]))
    assert torch.equal(*found)


def test_a_loss_that_diverges_keeps_the_best_epoch(data):
    spoiled = dataclasses.replace(data.target, read=lambda rows: data.target.read(rows) * np.nan)
    # Without D before, which would stop at the first such volume.
    tiny = params(warp={"noise": 0, "distortion": 0}, adaptation={"reversal": 0.1})
    method = CryoShift(tiny, 16)
    with pytest.raises(DivergedError, match="the loss became nan at step 1 of 4; lower the learn"):
        finish(method.fit(TrainingData(source=data.source, target=spoiled)))
    assert torch.isfinite(method.predict(data.target[:])).all()


def test_warped_volumes_are_in_the_grey_values_of_what_is_given(data):
    method = CryoShift(params(), 16, ("a", "b", "c"))
    volumes = data.source[:4] * 30 + 100
    warped = method.warp(volumes)
    span = volumes.amax((1, 2, 3), keepdim=True) - volumes.amin((1, 2, 3), keepdim=True)
    assert ((warped - volumes).abs() / span).max() < 1
    assert not torch.equal(warped, volumes)
    assert torch.corrcoef(torch.stack([volumes.flatten(), warped.flatten()]))[0, 1] > 0.8
    without = CryoShift(params(warp={"noise": 0, "distortion": 0}), 16)
    with pytest.raises(ValueError, match="noise and distortion are 0; train with one of them"):
        without.warp(volumes)


def test_the_grey_scale_of_a_volume_does_not_matter(data):
    method = CryoShift(params(), 16, ("a", "b", "c"))
    volumes = data.source[:4]
    torch.testing.assert_close(method.predict(3 * volumes + 7), method.predict(volumes))


def test_simulated_volumes_alone_are_varied_and_only_to_learn_from(data, monkeypatch):
    seen = []
    monkeypatch.setattr(
        cryoshift, "randomised", lambda volumes, _: seen.extend(volumes) or volumes * 1
    )
    finish(CryoShift(params(), 16).fit(data))
    # Batches of 6, 2 epochs of 2 steps; 2 steps of D; batches of 16, 2 epochs of 2 steps.
    assert len(seen) == 6 * 4 + 6 * 2 + 16 * 4
    held_out = np.random.default_rng(0).permutation(60)
    held_out = held_out[np.argsort(data.source.labels[held_out], kind="stable")][::10]
    learnt = np.setdiff1d(np.arange(60), held_out)
    known = {tuple(v.flatten()[:3].tolist()) for v in data.source[learnt]}
    assert {tuple(v.flatten()[:3].tolist()) for v in seen} <= known
    seen.clear()
    finish(CryoShift(params(randomise=False), 16).fit(data))
    assert not seen


def test_before_training_it_says_what_to_do(data):
    with pytest.raises(ValueError, match="0 classes are known; fit with a labelled source"):
        CryoShift(params(), 16).predict(data.target[:2])


def test_two_aims_for_the_warp_are_refused():
    with pytest.raises(ValidationError, match="train it against the discriminator, or set the"):
        CryoShiftParams(warp={"against": "task"})


def test_the_parameters_of_the_paper_are_those_of_section_2_7():
    assert PAPER.step_zero.network == "cb3d"
    assert (PAPER.step_zero.epochs, PAPER.epochs) == (120, 50)
    assert PAPER.step_zero.learning_rate == 1e-4
    rates = (PAPER.learning_rate, PAPER.warp.learning_rate, PAPER.discriminator.learning_rate)
    assert rates == (1e-5, 5e-3, 1e-6)
    assert PAPER.adaptation.learning_rate == 1e-5
    assert (PAPER.warp.filters, PAPER.discriminator.filters) == (64, 64)
    assert PAPER.adaptation.information == 0
