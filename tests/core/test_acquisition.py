"""A whole specimen's tilt series: signal, noise, ice and low-pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.acquisition import TiltSeriesParams, acquire

SHAPE = (32, 40, 64)


@pytest.fixture(scope="module")
def density() -> np.ndarray:
    z, y, x = np.indices(SHAPE)
    density = np.zeros(SHAPE, dtype=np.float32)
    for at in (12, 32, 52):
        density += np.exp(-((z - 16) ** 2 + (y - 20) ** 2 + (x - at) ** 2) / 8)
    return density


def take(
    density: np.ndarray, ice: np.ndarray | float = 0.0, **changes: object
) -> tuple[Tensor, ...]:
    settings = {"voxel_size": 10.0, "defocus": -4.0, "resolution": 25.0} | changes
    return finish(
        acquire(
            density,
            np.broadcast_to(np.float32(ice), SHAPE[1:]).copy(),
            settings.pop("params", TiltSeriesParams(dose=0.0)),
            generator=torch.Generator().manual_seed(0),
            **settings,
        )
    )


def test_protein_is_bright_where_it_is(density):
    signal, _ = take(density)
    for at in (12, 32, 52):
        patch = signal[:, :, at - 6 : at + 7]
        assert np.unravel_index(int(patch.argmax()), patch.shape) == (16, 20, 6)


def test_noise_knows_nothing_of_the_specimen(density):
    _, noise = take(density)
    _, other = take(3 * density)
    torch.testing.assert_close(noise, other, rtol=0, atol=0)
    tripled, _ = take(3 * density)
    torch.testing.assert_close(tripled, 3 * take(density)[0])


def test_thick_ice_weakens_the_signal(density):
    thin, thin_noise = take(density, 500.0)
    thick, thick_noise = take(density, 2500.0)
    weaker = float((thick.std() / thick_noise.std()) / (thin.std() / thin_noise.std()))
    # Amplitude goes with the root of the electrons that pass, and tilted ice is up to twice as
    # thick: 2000 Å more of it at a mean free path of 3950 Å.
    assert np.exp(-2 * 2000 / 3950) < weaker < np.exp(-0.5 * 2000 / 3950)


def test_signal_is_weaker_where_the_ice_is_thicker(density):
    profile = np.linspace(0, 6000, SHAPE[2])
    signal, _ = take(density, profile)
    heights = [float(signal[16, 20, at]) for at in (12, 32, 52)]
    assert heights[0] > 1.2 * heights[1] > 1.4 * heights[2]


def test_nothing_is_left_beyond_the_low_pass(density):
    # The ends of the volume, where it is cut, hold all frequencies.
    window = torch.ones(SHAPE)
    for axis, n in enumerate(SHAPE):
        window *= torch.hann_window(n).reshape([-1 if axis == other else 1 for other in range(3)])
    axes = torch.meshgrid(*(torch.fft.fftfreq(n, 10.0) for n in SHAPE), indexing="ij")
    k = torch.stack(axes).norm(dim=0)
    for volume in take(density, resolution=60.0):
        power = torch.fft.fftn(volume * window).abs() ** 2
        assert power[k > 1.3 / 60].sum() < 0.01 * power.sum()
