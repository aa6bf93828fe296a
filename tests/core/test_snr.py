import numpy as np
import pytest
import torch

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate import fourier, imaging
from napari_cryoshift.core.simulate.leak import variance_leak
from napari_cryoshift.core.simulate.settings import PAPERS, ImagingParams, draw
from napari_cryoshift.core.simulate.snr import (
    mean_particle,
    mean_power,
    mix,
    power_per_nominal,
)
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.types import Subtomograms


def ball(name, sigma, height=0.137):
    """A Gaussian body of 24³ voxels of 8 Å."""
    z, y, x = np.meshgrid(*[(np.arange(24) - 12) * 8.0] * 3, indexing="ij")
    density = height * np.exp(-0.5 * (x**2 + y**2 + (z / 1.5) ** 2) / sigma**2)
    return Structure(
        id=name,
        name=name,
        mass_kda=1000.0,
        source="made up",
        diameter=4 * sigma,
        density=density.astype(np.float32),
        voxel_size=8.0,
    )


@pytest.mark.parametrize("ratio", [100.0, 1.0, 0.1, 0.05, 0.03, 0.01])
def test_the_measured_ratio_is_the_one_asked_for(ratio):
    generator = torch.Generator().manual_seed(0)
    signal, noise = (torch.randn(3, 15, 15, 15, generator=generator) for _ in range(2))
    signal *= torch.tensor([0.1, 1.0, 30.0]).reshape(3, 1, 1, 1)
    spectra = [torch.fft.rfftn(part, dim=(1, 2, 3)) for part in (signal, noise)]
    mixed = torch.fft.irfftn(mix(*spectra, torch.full((3,), ratio)), s=(15,) * 3, dim=(1, 2, 3))
    measured = signal.var((1, 2, 3)) / (mixed - signal).var((1, 2, 3))
    torch.testing.assert_close(measured, torch.full((3,), ratio), rtol=1e-3, atol=0)


# Measured in the papers' simulator at −5 µm, ±60° and 12 Å.
@pytest.mark.parametrize(("box", "expected"), [(32, 0.36), (40, 0.39)])
def test_a_nominal_ratio_is_converted_as_the_papers_simulator_has_it(box, expected):
    paper = PAPERS["practical-analysis"].model_dump()
    pixels = box * 12 // 40
    params = ImagingParams(**paper | {"box": box, "resolution": (box * 12 / pixels,) * 2})
    drawn = draw(params, [np.random.default_rng(0)])
    measured = float(power_per_nominal(fourier.filters(params, drawn)))
    assert measured == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("route", ["fourier", "tilts"])
def test_with_one_dose_all_classes_have_the_same_noise_and_large_ones_the_better_ratio(route):
    bodies = [ball("small", 20), ball("large", 40)]
    ratios, spreads = {}, {}
    for level in ("particle", "dose"):
        clean, noisy = (
            simulate_subtomograms(
                bodies,
                ImagingParams(
                    box=24,
                    voxel_size=16.0,
                    snr=(snr, snr),
                    snr_convention="power",
                    noise_level=level,
                    route=route,
                    dose=120.0,
                    defocus=(-4.0, -4.0),
                    shift=0.0,
                    standardise=False,
                ),
                per_class=20,
                seed=1,
            )[:]
            for snr in (1e9, 0.5)
        )
        noise = (noisy - clean).var((1, 2, 3)).reshape(2, 20).mean(1)
        spreads[level] = float(noise[1] / noise[0])
        ratios[level] = clean.var((1, 2, 3)).reshape(2, 20).mean(1) / noise
    assert spreads["dose"] == pytest.approx(1, rel=0.02)
    assert spreads["particle"] > 2
    torch.testing.assert_close(ratios["particle"], torch.full((2,), 0.5), rtol=1e-3, atol=0)
    assert float(ratios["dose"].mean()) == pytest.approx(0.5, rel=0.1)
    assert ratios["dose"][1] > 2 * ratios["dose"][0]


def test_the_mean_particle_has_the_power_of_the_mean_class_and_lies_in_the_middle():
    power = mean_power([ball("small", 20), ball("large", 40)], box=24, voxel_size=16.0)
    particle = mean_particle(power)
    torch.testing.assert_close(torch.fft.rfftn(particle).abs() ** 2, power, rtol=1e-3, atol=1e-4)
    assert np.unravel_index(int(particle.argmax()), particle.shape) == (12, 12, 12)


def test_papers_noise_gives_the_classes_away_and_standardised_volumes_do_not():
    bodies = [ball("small", 20), ball("large", 40)]
    fields = {"box": 16, "voxel_size": 16.0, "snr": (0.05, 0.05), "defocus": (-5.0, -5.0)}

    def leak(**more):
        params = ImagingParams(**fields, **more)
        return finish(variance_leak(simulate_subtomograms(bodies, params, per_class=40, seed=3)))

    raw, standardised = leak(standardise=False), leak()
    assert raw.accuracy == 1
    assert raw.leaks
    assert standardised.accuracy == pytest.approx(0.5, abs=0.1)
    assert not standardised.leaks
    assert "100% ± 0% of the volumes get their class right (chance 50%)" in str(raw)
    assert leak(standardise=False, noise_level="dose").accuracy < raw.accuracy


def test_leave_one_out_by_hand():
    spreads = torch.tensor([1.0, 2.0, 8.0, 4.0, 16.0])
    volumes = torch.randn(5, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    volumes = volumes / volumes.std((1, 2, 3), keepdim=True) * spreads.reshape(-1, 1, 1, 1)
    found = finish(
        variance_leak(
            Subtomograms.from_memory(volumes, 10.0, np.array([0, 0, 0, 1, 1]), ("a", "b"))
        )
    )
    # Powers of two, so of class a: 0 → mean of 1, 3 is 2 against 3 of b: a. 1 → 1.5: a. 3 → 0.5
    # against 3: b. Of class b: 2 → 4 of b against 4/3 of a: a. 4 → 2 against 4/3: b.
    assert found.accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.chance == 0.5


@pytest.mark.parametrize("labels", [None, [0, 0, 0], [0, 0, 1]])
def test_a_leak_needs_two_volumes_of_two_classes(labels):
    labels = None if labels is None else np.array(labels)
    volumes = Subtomograms.from_memory(torch.randn(3, 8, 8, 8), 10.0, labels, ("a", "b"))
    with pytest.raises(ValueError, match="give two or more labelled volumes of two or more"):
        finish(variance_leak(volumes))


def test_the_variance_of_a_spectrum_is_that_of_the_volume():
    for side in (15, 16):
        generator = torch.Generator().manual_seed(side)
        volumes = torch.randn(2, side, side, side, generator=generator) * 3 + 5
        spectra = torch.fft.rfftn(volumes, dim=(1, 2, 3))
        torch.testing.assert_close(
            imaging.variance(spectra, side), volumes.var((1, 2, 3), correction=0), rtol=1e-5, atol=0
        )
