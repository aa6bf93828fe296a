"""What every test stands on: one thread a computation, and a small tomogram to look at."""

import numpy as np
import pytest
import torch

from napari_cryoshift.core.types import Tomogram

# Tests are short: handing tiny tensors out to many threads costs more than it brings.
torch.set_num_threads(1)


@pytest.fixture
def tomogram() -> Tomogram:
    """24×32×40 voxels of 10 Å of noise, the same each time, particles dark."""
    noise = np.random.default_rng(0).normal(size=(24, 32, 40)).astype(np.float32)
    return Tomogram(noise, voxel_size=10.0, name="noise")
