"""What every test stands on: one thread a computation, and small tomograms to look at."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cryoshift.cli import main
from napari_cryoshift.core import demo
from napari_cryoshift.core.simulate.sample import sample_tomogram
from napari_cryoshift.core.simulate.tomogram import CrowdedParams
from napari_cryoshift.core.types import Tomogram

# Tests are short: handing tiny tensors out to many threads costs more than it brings.
torch.set_num_threads(1)


@pytest.fixture
def tomogram() -> Tomogram:
    """24×32×40 voxels of 10 Å of noise, the same each time, particles dark."""
    noise = np.random.default_rng(0).normal(size=(24, 32, 40)).astype(np.float32)
    return Tomogram(noise, voxel_size=10.0, name="noise")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tomo.mrc, a simulated tomogram of 12 particles, and tomo.csv, the truth."""
    folder = tmp_path_factory.mktemp("simulated")
    words = (
        f"simulate tomogram --out {folder}/tomo.mrc --shape 40 96 96 --classes 4v8r 2fha "
        "--particles-per-class 6 --membranes 0 --beads 0 --snr 3 --quiet"
    )
    assert main(words.split()) == 0
    return folder


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo runs on a sample of 24 particles."""
    small = CrowdedParams(
        shape=(40, 128, 128),
        classes=("4v8r", "2fha"),
        particles_per_class=12,
        membranes=0,
        beads=0,
    )
    monkeypatch.setattr(demo, "sample_tomogram", lambda _: sample_tomogram(small))
