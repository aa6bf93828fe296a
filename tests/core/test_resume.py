import itertools

import pytest
import safetensors.torch
import torch

from napari_cryoshift.core.progress import Progress, finish
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.training import DivergedError, optimise


class Run:
    """Two stages of a small network with batch norm, whose statistics are state too."""

    def __init__(self, path=None, **about):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        self.bookmark = Bookmark(path, self.model, about)
        self.seen = []

    def job(self, batches=range(1, 100)):
        for phase in ("one", "two"):
            yield from optimise(
                self.model.parameters(),
                batches,
                self.loss,
                phase=phase,
                steps=6,
                learning_rate=0.1,
                bookmark=self.bookmark,
            )

    def loss(self, batch):
        self.seen.append(batch)
        volumes = torch.randn(5, 3, generator=torch.Generator().manual_seed(batch)) * batch
        return {"loss": self.model(volumes).square().mean() + self.model[0].weight.sum()}

    def weights(self):
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("reports", range(1, 13))
def test_a_run_that_was_closed_goes_on_as_if_it_had_not_been(tmp_path, reports, stop_after):
    whole, stopped = Run(), Run(tmp_path / "run.safetensors")
    finish(whole.job())
    stop_after(stopped.bookmark.keep(stopped.job()), reports)
    resumed = Run(tmp_path / "run.safetensors")
    left = list(resumed.bookmark.keep(resumed.job()))
    assert len(left) == 12 - reports
    assert stopped.seen + resumed.seen == whole.seen
    assert same(whole.weights(), resumed.weights())


def test_a_run_that_was_killed_goes_on_from_what_was_last_written(tmp_path):
    whole, killed = Run(), Run(tmp_path / "run.safetensors")
    finish(whole.job())
    killed.bookmark.every = 0
    running = killed.bookmark.keep(killed.job())
    for _ in itertools.islice(running, 9):
        pass
    content = (tmp_path / "run.safetensors").read_bytes()  # of step 8: written before the ninth
    running.close()
    (tmp_path / "run.safetensors").write_bytes(content)
    resumed = Run(tmp_path / "run.safetensors")
    left = list(resumed.bookmark.keep(resumed.job()))
    assert [(report.phase, report.step) for report in left] == [("two", n) for n in (3, 4, 5, 6)]
    assert same(whole.weights(), resumed.weights())


def test_a_run_that_ended_is_run_through_without_another_step(tmp_path):
    run = Run(tmp_path / "run.safetensors")
    job = run.bookmark.keep(run.job())
    finish(job)
    run.bookmark.save()
    again = Run(tmp_path / "run.safetensors")
    assert list(again.job()) == []
    assert same(run.weights(), again.weights())


def test_a_run_that_failed_leaves_the_last_good_state(tmp_path):
    run = Run(tmp_path / "run.safetensors")
    run.bookmark.every = 0
    run.loss = lambda batch: {"loss": run.model(torch.ones(2, 3) * batch).sum()}
    with pytest.raises(DivergedError):
        finish(run.bookmark.keep(run.job([1.0, 2.0, float("nan")])))
    model = Run().model
    optimiser = torch.optim.AdamW(model.parameters())
    bookmark = Bookmark(tmp_path / "run.safetensors", model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
    assert bookmark.begin(optimiser=optimiser, schedule=schedule)
    assert bookmark.step == 2
    assert all(torch.isfinite(tensor.float()).all() for tensor in model.state_dict().values())


def test_the_state_of_a_stage_comes_back_with_all_that_earlier_ones_left(tmp_path):
    path = tmp_path / "run.safetensors"

    def modules():
        return torch.nn.Linear(2, 2), torch.nn.Linear(2, 3)

    model, other = modules()
    bookmark = Bookmark(path, model)
    assert bookmark.begin(other=other)
    assert bookmark.begin(optimiser=torch.optim.SGD(model.parameters(), 0.5))
    bookmark.step = 7
    bookmark.save()
    model_2, other_2 = modules()
    optimiser = torch.optim.SGD(model_2.parameters(), 0.1)
    bookmark = Bookmark(path, model_2)
    assert not bookmark.begin(other=other_2)
    assert not torch.equal(other.weight, other_2.weight)  # not yet
    bookmark.save()  # while stages are passed over, nothing is written
    assert bookmark.begin(optimiser=optimiser)
    assert bookmark.step == 7
    assert torch.equal(other.weight, other_2.weight)
    assert torch.equal(model.weight, model_2.weight)
    assert optimiser.param_groups[0]["lr"] == 0.5
    assert bookmark.begin()
    assert bookmark.step == 0


def test_the_result_of_the_job_passes_and_without_a_path_nothing_is_written(tmp_path):
    def job():
        yield Progress("working", 1, 1)
        return "done"

    assert finish(Bookmark().keep(job())) == "done"
    bookmark = Bookmark()
    bookmark.begin()
    bookmark.save()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"rate": 0.2}, {"rate": 0.1, "more": (1, 2)}, {}])
def test_a_file_of_other_settings_is_refused(tmp_path, change):
    run = Run(tmp_path / "run.safetensors", rate=0.1)
    job = run.bookmark.keep(run.job())
    next(job)
    job.close()
    Run(tmp_path / "run.safetensors", rate=0.1)
    name = "more" if "more" in change else "rate"
    with pytest.raises(ValueError, match=f"of a training with {name} .*, not .*; go on with"):
        Run(tmp_path / "run.safetensors", **change)


def test_a_file_that_is_damaged_or_another_is_one_clear_sentence(tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=r"run.safetensors is no whole safetensors file .*; copy"):
        Bookmark(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"is not of an interrupted training; choose the file"):
        Bookmark(path)
