import contextlib
import itertools
import math
import threading

import numpy as np
import pytest
import torch

from napari_cryoshift.core import training
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.training import (
    DivergedError,
    episodes,
    optimise,
    read_ahead,
    seeded,
    shuffled,
)

# ------------------------------------------------------------------------------------- optimise


@pytest.fixture
def single_precision(monkeypatch):
    """Numbers recomputed by hand are not to depend on a processor that has bfloat16."""
    monkeypatch.setattr(training, "half_precision", lambda device: contextlib.nullcontext())


def adamw_by_hand(weight, gradients, *, rate, decay, steps):
    """AdamW (Loshchilov & Hutter 2019) with the rate on half a cosine, one number."""
    first = second = 0.0
    for step, gradient in enumerate(gradients):
        now = rate * (1 + math.cos(math.pi * step / steps)) / 2
        first = 0.9 * first + 0.1 * gradient(weight)
        second = 0.999 * second + 0.001 * gradient(weight) ** 2
        weight -= now * decay * weight
        mean, power = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        weight -= now * mean / (math.sqrt(power) + 1e-8)
    return weight


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("steps", [1, 4])
def test_steps_are_those_of_adamw_with_a_cosine_rate(steps):
    weight = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    batches = [3.0, -1.0, 0.5, 2.0][:steps]
    job = optimise(
        [weight],
        batches,
        lambda batch: {"loss": (weight * batch - 1) ** 2},
        phase="learning",
        steps=steps,
        learning_rate=0.1,
        weight_decay=0.01,
    )
    finish(job)
    gradients = [lambda w, b=b: 2 * b * (w * b - 1) for b in batches]
    expected = adamw_by_hand(2.0, gradients, rate=0.1, decay=0.01, steps=steps)
    assert weight.item() == pytest.approx(expected, rel=1e-9)


def test_each_batch_is_one_report_and_no_batch_is_drawn_in_vain():
    weight = torch.nn.Parameter(torch.zeros(1))
    batches = iter(range(100))
    job = optimise(
        [weight],
        (float(batch) for batch in batches),
        lambda batch: {"loss": (weight * batch).sum() + batch},
        phase="learning",
        steps=5,
        learning_rate=0.1,
        report_every=1,
    )
    reports = list(job)
    assert [(r.phase, r.step, r.total) for r in reports] == [
        ("learning", step, 5) for step in range(1, 6)
    ]
    assert reports[0].metrics == {"loss": 0.0}
    assert next(batches) == 5


def test_metrics_are_read_back_once_in_so_many_steps_and_at_the_end():
    weight = torch.nn.Parameter(torch.zeros(1))
    job = optimise(
        [weight],
        itertools.count(1.0),
        lambda batch: {"loss": weight.sum() * batch, "batch": torch.tensor(batch)},
        phase="learning",
        steps=6,
        learning_rate=0.1,
        report_every=4,
    )
    assert [report.metrics["batch"] for report in job] == [1, 1, 1, 1, 5, 6]


def test_frozen_parameters_stay():
    trained, frozen = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    frozen.requires_grad_(False)
    finish(
        optimise(
            [frozen, trained],
            range(3),
            lambda batch: {"loss": (trained * frozen).sum()},
            phase="learning",
            steps=3,
            learning_rate=0.1,
        )
    )
    assert (frozen == 1).all()
    assert (trained < 1).all()


def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_good_weights():
    weight = torch.nn.Parameter(torch.ones(3))
    kept = []

    def loss(batch):
        kept.append(weight.detach().clone())
        return {"loss": (weight * batch).sum()}

    job = optimise(
        [weight],
        [1.0, 2.0, float("nan"), 1.0],
        loss,
        phase="learning",
        steps=4,
        learning_rate=0.1,
    )
    with pytest.raises(DivergedError, match="became nan at step 3 of 4; lower the learning rate"):
        finish(job)
    torch.testing.assert_close(weight.detach(), kept[2])
    assert (kept[2] < kept[1]).all()


# ------------------------------------------------------------------------------------- episodes


def test_an_episode_is_one_class_a_row_and_no_volume_twice():
    labels = np.random.default_rng(0).permutation(np.repeat([3, 5, 8, 9], 7))
    tasks = episodes(labels, ways=3, shots=2, queries=4, generator=np.random.default_rng(1))
    for task in itertools.islice(tasks, 50):
        assert task.shape == (3, 6)
        assert len(np.unique(task)) == 18
        assert [len(np.unique(labels[row])) for row in task] == [1, 1, 1]
        assert len(np.unique(labels[task[:, 0]])) == 3


def test_every_class_and_every_volume_gets_its_turn():
    labels = np.repeat(np.arange(6), 5)
    tasks = episodes(labels, ways=2, shots=1, queries=1, generator=np.random.default_rng(2))
    seen = np.concatenate([task.ravel() for task in itertools.islice(tasks, 300)])
    counts = np.bincount(seen, minlength=30)  # 40 each are expected, with a deviation of 6
    assert counts.min() > 10
    assert counts.max() < 75


def test_the_generator_alone_decides_which_episodes_are_drawn():
    labels = np.repeat(np.arange(4), 6)

    def first(seed):
        tasks = episodes(labels, ways=2, shots=1, queries=2, generator=np.random.default_rng(seed))
        return np.stack(list(itertools.islice(tasks, 5)))

    np.random.seed(1)
    one = first(7)
    np.random.seed(2)
    np.testing.assert_array_equal(one, first(7))
    assert (one != first(8)).any()


@pytest.mark.parametrize(
    ("ways", "shots", "sentence"),
    [
        (4, 1, "3 classes but 4 ways a task; add classes or lower the ways"),
        (2, 3, "class 2 has 4 volumes but a task takes 5; add volumes or lower shots"),
    ],
)
def test_too_little_to_draw_from_is_one_clear_sentence(ways, shots, sentence):
    labels = np.repeat([0, 1, 2], [9, 9, 4])
    tasks = episodes(labels, ways=ways, shots=shots, queries=2, generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match=sentence):
        next(tasks)


# -------------------------------------------------------------------------- randomness, batches


def test_seeded_numbers_depend_on_the_seed_alone_and_leave_no_trace():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    cpu = torch.device("cpu")
    with seeded(5, cpu):
        one = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with seeded(5, cpu):
        assert torch.equal(torch.rand(3), one)
    with seeded(6, cpu):
        assert not torch.equal(torch.rand(3), one)


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (3, 10), (5, 5)])
def test_shuffled_batches_hold_every_index_once_before_any_comes_again(n, batch):
    batches = list(itertools.islice(shuffled(n, batch, np.random.default_rng(0)), 4 * n))
    assert {len(b) for b in batches} == {batch}
    rounds = np.concatenate(batches).reshape(-1, n)
    assert (np.sort(rounds, 1) == np.arange(n)).all()
    assert (rounds != np.arange(n)).any()


def test_nothing_to_shuffle_is_one_clear_sentence():
    with pytest.raises(ValueError, match="there are 0 volumes to draw from; give at least one"):
        next(shuffled(0, 4, np.random.default_rng(0)))


def test_the_next_batch_is_read_while_one_is_in_use():
    begun = {batch: threading.Event() for batch in range(3)}

    def read(batch):
        begun[batch].set()
        return 10 * batch

    ahead = read_ahead(range(3), read)
    assert next(ahead) == 0
    assert begun[1].wait(5)
    assert [*ahead] == [10, 20]


def test_what_goes_wrong_in_reading_ahead_is_raised_where_the_batch_is_wanted():
    ahead = read_ahead([1, 0], lambda batch: 1 / batch)
    assert next(ahead) == 1
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_a_training_that_is_closed_reads_no_further():
    drawn = []
    ahead = read_ahead(iter(range(100)), drawn.append)
    next(ahead)
    ahead.close()
    assert drawn == [0, 1]


@pytest.mark.parametrize("steps", [1, 4])
def test_reading_ahead_reads_what_is_needed_and_changes_no_weight(steps):
    volumes = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))

    def trained(batches, read=None):
        model = torch.nn.Linear(3, 1, bias=False)
        torch.nn.init.ones_(model.weight)
        finish(
            optimise(
                model.parameters(),
                batches,
                lambda batch: {"loss": model(batch).square().mean()},
                phase="toy",
                steps=steps,
                learning_rate=0.1,
                read=read,
            )
        )
        return model.weight

    needed = []

    def read(row):
        needed.append(row)
        return volumes[row]

    assert torch.equal(trained(range(8), read), trained(iter(volumes)))
    assert needed == [*range(steps)]
