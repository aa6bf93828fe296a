"""What tests of several methods begin with: shapes to tell apart, and runs that are stopped."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cryoshift.core.methods.base import Method
from napari_cryoshift.core.progress import Job, finish
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.types import Subtomograms, TrainingData

BOX, VOXEL_SIZE = 16, 12.0


def _shapes(per_class: int, seed: int, noise: float = 0.5, labels=(0, 1, 2)) -> Subtomograms:
    generator = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.arange(BOX) - BOX / 2 + 0.5] * 3, indexing="ij")
    distance = np.sqrt(z**2 + y**2 + x**2)
    clean = [distance < 4.5, (z**2 + y**2 < 6) & (np.abs(x) < 7), np.abs(distance - 5.5) < 1]
    which = np.repeat(labels, per_class)
    noisy = np.array(clean)[which] + noise * generator.normal(size=(len(which), *(BOX,) * 3))
    noisy -= noisy.mean((1, 2, 3), keepdims=True)
    noisy /= noisy.std((1, 2, 3), keepdims=True)
    volumes = torch.from_numpy(noisy).float()
    return Subtomograms.from_memory(volumes, VOXEL_SIZE, which, ("ball", "rod", "shell"))


@pytest.fixture(scope="session")
def shapes() -> Callable[..., Subtomograms]:
    """Make so many balls, rods and shells in noise: not told apart by their mean or variance."""
    return _shapes


def _stop_after(job: Job[None], reports: int) -> None:
    for _ in itertools.islice(job, reports):
        pass
    job.close()


@pytest.fixture(scope="session")
def stop_after() -> Callable[[Job[None], int], None]:
    """Run a job until it has made so many reports, and close it."""
    return _stop_after


@pytest.fixture
def resumed(tmp_path: Path) -> Callable[[Callable[[], Method], TrainingData, int], Method]:
    """Fit a method that is stopped after so many reports; return another that went on with it."""

    def resume(make: Callable[[], Method], data: TrainingData, reports: int) -> Method:
        file = tmp_path / f"{reports}.safetensors"
        stopped = make()
        bookmark = Bookmark(file, stopped, {"method": stopped.name})
        _stop_after(bookmark.keep(stopped.fit(data, bookmark)), reports)
        again = make()
        bookmark = Bookmark(file, again, {"method": again.name})
        finish(bookmark.keep(again.fit(data, bookmark)))
        return again

    return resume
