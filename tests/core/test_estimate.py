"""What is estimated of a tomogram: that of simulated ones is known."""

import numpy as np
import pytest
import torch

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.acquisition import TiltSeriesParams, acquire
from napari_cryoshift.core.simulate.estimate import (
    estimate,
    fit_noise,
    places_beside,
    radial_power,
)
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.source import SourceParams
from napari_cryoshift.core.simulate.spectrum import (
    TiltRange,
    estimate_defocus,
    estimate_tilts,
    mean_spectrum,
)
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Particles, Tomogram

GENERAL = SourceParams().imaging


def coloured(shape, slope, low_pass, seed=0):
    """Half spectrum of noise of this shape: amplitude k^slope, 1/e at 1 / low_pass voxels."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    k = imaging.radius(shape, 1.0)
    return torch.fft.rfftn(noise) * k.clamp(min=0.02) ** slope * imaging.envelope(k, low_pass)


def wedged(shape, lowest, highest, axis="y", slope=0.0):
    """A tomogram of noise that tilts from lowest to highest about an axis have seen."""
    turn = TiltRange(axis, lowest, highest)
    z, y, x = shape
    shape = shape if axis == "y" else (z, x, y)
    mask = imaging.missing_wedge(shape, turn.missing_wedge, tilt_centre=turn.centre)
    volume = torch.fft.irfftn(coloured(shape, slope, 3.0) * mask, s=shape)
    return Tomogram(turn.from_y(volume).numpy(), voxel_size=10.0, name="noise")


# ---------------------------------------------------------------------------------- the tilt range


@pytest.mark.parametrize("slope", [-1.0, 0.5])
@pytest.mark.parametrize(
    ("lowest", "highest", "axis"), [(-60, 60, "y"), (-50, 50, "x"), (-40, 60, "y"), (-50, 66, "x")]
)
def test_the_tilt_range_shows_whatever_the_colour_of_the_noise(lowest, highest, axis, slope):
    found = estimate_tilts(mean_spectrum(wedged((48, 72, 80), lowest, highest, axis, slope)))
    assert found.axis == axis
    assert found.lowest == pytest.approx(lowest, abs=4)
    assert found.highest == pytest.approx(highest, abs=4)


def test_of_a_volume_that_lacks_nothing_no_wedge_is_made_up():
    found = estimate_tilts(mean_spectrum(wedged((48, 64, 64), -90, 90)))
    assert found == TiltRange("y", -90.0, 90.0)
    assert found.missing_wedge == 0


def test_the_range_of_a_tilt_series_shows_in_what_is_reconstructed_from_it():
    params = TiltSeriesParams(lowest=-48, highest=54, step=3)
    tomogram, _ = taken(params, voxel_size=14.0, defocus=-4.0)
    found = estimate_tilts(mean_spectrum(tomogram))
    assert found.lowest == pytest.approx(-48, abs=4)
    assert found.highest == pytest.approx(54, abs=4)


def test_turning_a_volume_makes_the_tilt_axis_y_and_back():
    tomogram = wedged((32, 64, 64), -40, 60, axis="x")
    data = torch.from_numpy(tomogram.data)
    found = estimate_tilts(mean_spectrum(tomogram))
    turned = Tomogram(found.about_y(data).numpy(), 10.0, "turned")
    again = estimate_tilts(mean_spectrum(turned))
    assert again.axis == "y"
    assert (again.lowest, again.highest) == pytest.approx((found.lowest, found.highest), abs=2)
    torch.testing.assert_close(found.from_y(found.about_y(data)), data)


def test_a_tomogram_too_small_for_a_spectrum_is_refused():
    tomogram = Tomogram(np.zeros((8, 40, 40), np.float32), 10.0, "thin")
    with pytest.raises(ValueError, match=r"thin has 8 × 40 × 40 voxels .* open a larger part"):
        mean_spectrum(tomogram)


# --------------------------------------------------------------------------------------- the rest


def taken(params, voxel_size, defocus, shape=(48, 72, 72)):
    """A tomogram of noise, half of which the CTF has seen, and the defocus."""
    noise = np.zeros(shape, np.float32)
    ice = np.full(shape[1:], shape[0] * voxel_size, np.float32)
    _, noise = finish(
        acquire(
            noise,
            ice,
            params,
            voxel_size=voxel_size,
            defocus=defocus,
            resolution=2 * voxel_size,
            generator=torch.Generator().manual_seed(1),
        )
    )
    return Tomogram(noise.numpy(), voxel_size, "taken"), defocus


def test_the_defocus_is_told_where_thon_rings_are_seen_and_only_there():
    params = TiltSeriesParams(step=6, envelope=20)
    seen, defocus = taken(params, voxel_size=8.0, defocus=-6.0)
    assert estimate_defocus(mean_spectrum(seen), 8.0) == pytest.approx(defocus, abs=0.6)
    binned, _ = taken(params, voxel_size=20.0, defocus=-3.0)  # no zero before 1/24 Å
    assert estimate_defocus(mean_spectrum(binned), 20.0) is None
    assert estimate_defocus(mean_spectrum(wedged((48, 64, 64), -60, 60, slope=-1)), 10.0) is None


@pytest.mark.parametrize(("slope", "resolution"), [(-0.8, 50.0), (0.0, 40.0), (0.5, 60.0)])
def test_colour_and_low_pass_of_simulated_noise_are_found(slope, resolution):
    params = GENERAL.model_copy(
        update={
            "snr": (1e-6, 1e-6),
            "noise_slope": (slope, slope),
            "resolution": (resolution, resolution),
            "defocus": (-5.0, -5.0),
            "neighbours": 0.0,
        }
    )
    noise = simulate_subtomograms([library()["2fha"]], params, per_class=60, seed=3)[:]
    found, colour = fit_noise(radial_power(noise), params)
    assert found == pytest.approx(resolution, rel=0.15)
    assert colour == pytest.approx(slope, abs=0.3)


def test_radial_power_is_that_of_numpy():
    volumes = torch.randn(3, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    power = radial_power(volumes)
    full = (np.abs(np.fft.fftn(volumes.numpy(), axes=(1, 2, 3))) ** 2).mean(0)
    k = np.fft.fftfreq(8) * 8
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2))
    for radius in range(1, 5):
        assert power[radius - 1] == pytest.approx(full[shell == radius].mean(), rel=1e-4)


def filled(snr, dark=True, seed=0):
    """Nine balls in noise, at a known ratio of powers in boxes of 16³ voxels; their places."""
    generator = np.random.default_rng(seed)
    z, y, x = np.mgrid[:40, :128, :128]
    places = np.array([(20.0, y, x) for y in (24, 64, 104) for x in (24, 64, 104)])
    volume = np.zeros((40, 128, 128), np.float32)
    for place in places:
        away = (z - place[0]) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2
        volume += away < 4**2
    box = volume[12:28, 16:32, 16:32]  # about one of them
    noise = generator.normal(0, np.sqrt(box.var() / snr), volume.shape)
    sign = -1 if dark else 1
    tomogram = Tomogram((sign * volume + noise).astype(np.float32), 20.0, "balls", dark=dark)
    return tomogram, Particles.at(places, score=generator.uniform(size=len(places)))


SMALL = ImagingParams(box=16, voxel_size=20.0)


@pytest.mark.parametrize("snr", [1.0, 0.3, 0.1])
def test_the_ratio_of_powers_is_found_within_a_factor_of_two(snr):
    tomogram, particles = filled(snr)
    found = finish(estimate(tomogram, particles, SMALL, diameter=160.0))
    assert snr / 2 < found.snr < snr * 2


def test_what_stands_out_the_wrong_way_is_doubted():
    tomogram, particles = filled(1.0)
    assert not any("look light" in doubt for doubt in doubts(tomogram, particles))
    light = Tomogram(-tomogram.data, 20.0, "inverted", dark=True)
    assert "Particles are taken to be dark, but look light." in doubts(light, particles)


def doubts(tomogram, particles):
    return finish(estimate(tomogram, particles, SMALL, diameter=160.0)).doubts


def test_the_background_lies_beside_the_particles_and_none_of_them_in_its_middle():
    tomogram, particles = filled(1.0)
    places = places_beside(
        tomogram, particles, diameter=160.0, width=320.0, generator=np.random.default_rng(0)
    )
    apart = np.linalg.norm(places[:, None] - particles.positions, axis=2).min(1) * 20.0
    assert len(places) > 100
    assert apart.min() >= 0.75 * 160
    assert apart.max() <= 2.5 * 160 + 20
    found = finish(estimate(tomogram, particles, SMALL, diameter=160.0))
    middle = found.background[:, 7:10, 7:10, 7:10].mean()
    assert middle < 0.2  # where the balls are 1


def test_where_there_is_no_room_it_says_what_to_do():
    tomogram, particles = filled(1.0)
    with pytest.raises(ValueError, match="clear of all of them; give fewer picks or a smaller"):
        finish(estimate(tomogram, particles, SMALL, diameter=1200.0))
    with pytest.raises(ValueError, match="0 particles to look beside; pick some first"):
        finish(estimate(tomogram, particles.take([]), SMALL, diameter=160.0))


def test_the_settings_are_ranges_about_what_was_found_and_a_person_knows_better():
    tomogram, particles = filled(0.5)
    found = finish(estimate(tomogram, particles, SMALL, diameter=160.0))
    settings = found.imaging(SMALL)
    low, high = settings.snr
    assert low < found.snr < high
    assert settings.snr_convention == "power"
    assert settings.defocus == SMALL.defocus  # no rings in white noise
    assert found.imaging(SMALL, defocus=-3.0).defocus == (-3.5, -2.5)
    assert settings.missing_wedge[0] <= found.tilts.missing_wedge <= settings.missing_wedge[1]
    ImagingParams.model_validate(settings.model_dump())
    assert dict(found.table())["boxes of background"] == str(len(found.background))


def test_where_particles_do_not_stand_out_there_is_still_something_to_learn_from():
    tomogram, particles = filled(0.01)
    found = finish(estimate(tomogram, particles, SMALL, diameter=160.0))
    low, high = found.imaging(SMALL).snr
    assert low < 0.05
    assert high >= 0.5
