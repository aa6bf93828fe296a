import itertools
import math

import pytest
import torch

from napari_cryoshift.core.epochs import BestEpoch, epochs
from napari_cryoshift.core.progress import Progress, finish
from napari_cryoshift.core.resume import Bookmark


def judged(criteria, patience=1):
    """Judge epochs whose weight is their number; return what was kept and the rates after each."""
    kept, trained = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    other = torch.nn.Linear(1, 1)
    optimiser = torch.optim.Adam(
        [{"params": trained.parameters(), "lr": 1.0}, {"params": other.parameters(), "lr": 3.0}]
    )
    best = BestEpoch(kept, trained, optimiser, patience=patience, factor=0.5)
    found, rates = [], []
    for epoch, criterion in enumerate(criteria):
        torch.nn.init.constant_(trained.weight, epoch)
        best.judge(criterion)
        found.append(kept.weight.item())
        rates.append(optimiser.param_groups[0]["lr"])
    assert optimiser.param_groups[1]["lr"] == 3.0
    assert best.epochs == len(criteria)
    return found, rates


def test_the_epoch_with_the_lowest_criterion_is_kept():
    found, _ = judged([3.0, -1.0, 2.0, -1.0, -5.0, 0.0])
    assert found == [0, 1, 1, 1, 4, 4]


def test_the_rate_falls_when_more_epochs_than_the_patience_bring_nothing():
    _, rates = judged([1.0, 2, 2, 2, 2, 0, 1, 1, 1], patience=1)
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]
    _, rates = judged([1.0, 2, 2, 2, 2, 2], patience=3)
    assert rates == [1, 1, 1, 1, 0.5, 0.5]


def test_a_criterion_that_is_no_number_is_never_the_best():
    found, _ = judged([2.0, math.nan, 1.0])
    assert found == [0, 0, 2]


class Run:
    """Four epochs of three steps; the criterion is a job of two reports."""

    def __init__(self, path=None):
        torch.manual_seed(0)
        self.kept, self.trained = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        self.bookmark = Bookmark(path, self.kept)
        self.judged = []

    def job(self):
        optimiser = torch.optim.Adam(self.trained.parameters(), 0.1)
        best = BestEpoch(self.kept, self.trained, optimiser, patience=0, factor=0.5)
        if self.bookmark.begin(trained=self.trained, optimiser=optimiser, best=best):
            yield from epochs(
                optimiser,
                itertools.count(self.bookmark.step),
                lambda batch: {"loss": (self.trained(torch.ones(1, 2)) - batch % 2).square().sum()},
                phase="learning",
                count=4,
                iterations=3,
                best=best,
                criterion=self.criterion,
                bookmark=self.bookmark,
            )

    def criterion(self):
        for done in range(2):
            yield Progress("judging", done + 1, 2)
        self.judged.append(self.bookmark.step)
        return float(self.trained.weight.detach().sum())


def test_every_epoch_is_judged_after_its_last_step():
    run = Run()
    reports = list(run.job())
    assert [r.step for r in reports if r.phase == "learning"] == [
        *(1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12, 12)
    ]
    assert {r.total for r in reports if r.phase == "learning"} == {12}
    assert [r.step for r in reports if "criterion" in r.metrics] == [3, 6, 9, 12]
    assert run.judged == [3, 6, 9, 12]


@pytest.mark.parametrize("reports", range(1, 25))
def test_it_goes_on_wherever_it_was_closed(tmp_path, reports, stop_after):
    whole, stopped = Run(), Run(tmp_path / "run.safetensors")
    finish(whole.job())
    stop_after(stopped.bookmark.keep(stopped.job()), reports)
    resumed = Run(tmp_path / "run.safetensors")
    finish(resumed.job())
    assert stopped.judged + resumed.judged == whole.judged
    for one, other in ((whole.kept, resumed.kept), (whole.trained, resumed.trained)):
        assert torch.equal(one.weight, other.weight)
