"""Simulated particles in boxes of a real tomogram."""

import numpy as np
import pytest
import torch

from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library

BOX = 16
PARAMS = ImagingParams(box=BOX, voxel_size=16.0, snr=(0.5, 0.5), snr_convention="power", shift=0.0)


def boxes(n, lowest=-40.0, highest=60.0):
    """Noise (n, d, d, d) that lacks the wedge of a tilt range about y."""
    noise = torch.randn(n, BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
    wedge = 90 - (highest - lowest) / 2
    mask = imaging.missing_wedge((BOX,) * 3, wedge, tilt_centre=(highest + lowest) / 2)
    return torch.fft.irfftn(torch.fft.rfftn(noise, dim=(1, 2, 3)) * mask, s=(BOX,) * 3)


def made(background, snr=0.5, per_class=20, seed=1):
    params = PARAMS.model_copy(update={"snr": (snr, snr)})
    structures = [library()[key] for key in ("2fha", "1bxn")]
    return simulate_subtomograms(
        structures, params, per_class=per_class, seed=seed, background=background
    )


def explained(volumes, background):
    """Share of each volume's variance that one of the boxes, mirrored or not, explains."""
    ways = torch.cat([background.flip(axes) for axes in ((), (2,), (1, 3), (1, 2, 3))])
    ways = ways.flatten(1) - ways.flatten(1).mean(1, keepdim=True)
    ways /= ways.norm(dim=1, keepdim=True)
    flat = volumes.flatten(1)
    return (flat @ ways.T).abs().amax(1) ** 2 / flat.square().sum(1)


def test_each_volume_has_one_of_the_boxes_for_noise_at_the_stated_ratio():
    background = boxes(5)
    found = explained(made(background, snr=0.5)[:], background)
    # The noise is 1 / (1 + 0.5) of the power; what signal it correlates with by chance is little.
    np.testing.assert_allclose(found, 1 / 1.5, atol=0.1)
    nothing = explained(made(background, snr=1e-6)[:], background)
    np.testing.assert_allclose(nothing, 1, atol=1e-3)


def test_the_wedge_of_the_boxes_stays_empty_even_where_the_tilt_range_is_not_symmetric():
    mask = imaging.missing_wedge((BOX,) * 3, 40.0, tilt_centre=10.0)
    volumes = made(boxes(5), snr=1e-6)[:]
    power = torch.fft.rfftn(volumes, dim=(1, 2, 3)).abs() ** 2
    inner = (slice(None), slice(1, BOX // 2), slice(None), slice(1, BOX // 2))
    assert float((power * (1 - mask))[inner].sum() / power.sum()) < 1e-3


def test_volumes_depend_on_seed_and_index_alone():
    background = boxes(5)
    alone, among = made(background)[[7]], made(background)[[3, 7, 30]]
    torch.testing.assert_close(alone[0], among[1])
    assert not torch.allclose(alone, made(background, seed=2)[[7]])


def test_boxes_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 8, 8, 8\); give at least one box of 16³ voxels"):
        made(torch.zeros(3, 8, 8, 8))
    with pytest.raises(ValueError, match="give at least one box"):
        made(torch.zeros(0, BOX, BOX, BOX))
