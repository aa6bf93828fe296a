import dataclasses
import math

import numpy as np
import pytest
import torch
import torch_ctf

from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.procedural import assemblies, chimeras, distractors
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import image, simulate_subtomograms
from napari_cryoshift.core.structures import Structure

# -------------------------------------------------------------------------------------- filters


def test_the_wavelength_is_that_of_the_textbook():
    assert imaging.electron_wavelength(300) == pytest.approx(0.0197, abs=5e-5)
    assert imaging.electron_wavelength(200) == pytest.approx(0.0251, abs=5e-5)


@pytest.mark.parametrize(
    ("defocus", "cs", "voltage", "contrast"), [(-3.0, 2.7, 300.0, 0.07), (-1.2, 2.0, 200.0, 0.1)]
)
def test_the_ctf_is_that_of_torch_ctf_with_underfocus_negative(defocus, cs, voltage, contrast):
    reference = torch_ctf.calculate_ctf_1d(
        defocus=-defocus,
        voltage=voltage,
        spherical_aberration=cs,
        amplitude_contrast=contrast,
        phase_shift=0.0,
        pixel_size=4.0,
        n_samples=65,
        oversampling_factor=1,
    )
    k = torch.linspace(0, 0.5, 65) / 4.0
    ours = imaging.ctf(k, defocus, cs=cs, voltage=voltage, amplitude_contrast=contrast)
    torch.testing.assert_close(ours, reference, atol=2e-3, rtol=0)
    assert ours[0] == pytest.approx(contrast)  # protein positive stays positive near k = 0


@pytest.mark.parametrize("half_angle", [20.0, 30.0, 45.0])
def test_the_wedge_keeps_the_fraction_of_directions_that_were_tilted_through(half_angle):
    n = 64
    mask = full_spectrum(imaging.missing_wedge((n, n, n), half_angle))
    k = np.fft.fftfreq(n)
    radius = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k**2)
    sphere = (radius > 0.1) & (radius < 0.5)
    assert mask[sphere].mean() == pytest.approx(1 - half_angle / 90, abs=0.02)


def test_the_wedge_is_empty_along_the_beam_and_full_along_the_tilt_axis():
    mask = full_spectrum(imaging.missing_wedge((16, 16, 16), 30.0))
    assert mask[0, 0, 0] == 1
    assert (mask[1:, :, 0] == 0).all()  # kz ≠ 0, kx = 0: along the beam z, whatever ky is
    assert (mask[0] == 1).all()  # kz = 0: the untilted view has seen it all
    assert mask[2, 5, 1] == 0  # atan(1/2) is less than 30°
    assert mask[3, 5, 2] == 1  # atan(2/3) is more


def test_a_tilt_range_may_be_asymmetric():
    mask = full_spectrum(imaging.missing_wedge((16, 16, 16), 30.0, tilt_centre=10.0))  # −50…+70°
    assert mask[3, 0, 1] == 0  # atan(3) is 71.6°
    assert mask[5, 0, 2] == 1  # 68.2°
    assert mask[-3, 0, 2] == 0  # −56.3°
    assert mask[-1, 0, 1] == 1  # −45°
    assert (mask[1:, :, 0] == 0).all()
    back = -np.arange(16) % 16
    np.testing.assert_array_equal(mask, mask[back][:, back][:, :, back])  # of a real volume


@pytest.mark.parametrize("half_angle", [0.0, 20.0, 45.0])
def test_the_wedge_about_0_is_the_same_up_and_down(half_angle):
    mask = imaging.missing_wedge((15, 15, 15), half_angle)
    torch.testing.assert_close(mask[1:], mask[1:].flip(0))
    if half_angle == 0:
        assert mask.all()


def full_spectrum(half):
    """From the half spectrum of rfftn to the spectrum of fftn, by the parity of real filters."""
    n = half.shape[0]
    full = np.empty((n, n, n), np.float32)
    full[..., : n // 2 + 1] = half
    back = -np.arange(n) % n
    full[..., n // 2 + 1 :] = full[back][:, back][..., n // 2 - 1 : 0 : -1]
    return full


@pytest.mark.parametrize("n", [15, 16])
def test_the_mean_over_the_spectrum_is_what_white_noise_has_left(n):
    shape = (16, 16, n)
    power = torch.rand(16, 16, n // 2 + 1)
    draws = torch.randn(200, *shape, generator=torch.Generator().manual_seed(0))
    whole = torch.fft.irfftn(torch.fft.rfftn(draws, dim=(1, 2, 3)) * power.sqrt(), s=shape)
    assert float(whole.var()) == pytest.approx(float(imaging.spectrum_mean(power, n)), rel=0.01)


def test_the_envelope_has_fallen_to_1_over_e_at_its_resolution():
    expected = torch.tensor([1, np.exp(-0.25), np.exp(-1)], dtype=torch.float32)
    torch.testing.assert_close(imaging.envelope(torch.tensor([0, 1 / 80, 1 / 40]), 40.0), expected)


def test_the_low_pass_passes_up_to_its_resolution_and_falls_off_beyond():
    k = torch.tensor([0.0, 1 / 50, 1 / 40, 1 / 40 + 0.01])
    expected = torch.tensor([1, 1, 1, np.exp(-0.5)], dtype=torch.float32)
    torch.testing.assert_close(imaging.low_pass(k, 40.0, 0.01), expected)


# --------------------------------------------------------------------------------------- images


def one_value(**fields):
    """Parameters without any randomness but that of the noise."""
    fixed = {
        "snr": 1.0,
        "defocus": -4.0,
        "envelope": 60.0,
        "missing_wedge": 30.0,
        "resolution": 32.0,
        "noise_slope": 0.0,
    }
    ranges = {name: (value, value) for name, value in (fixed | fields).items() if name in fixed}
    others = {name: value for name, value in fields.items() if name not in fixed}
    return ImagingParams(**ranges, **others)


def generators(n):
    return [np.random.default_rng((5, i)) for i in range(n)]


def signal_and_noise(params, n=40):
    """Both parts of the images of a lumpy particle: the same draws, almost without noise."""
    lump = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(1)).clamp(min=0)
    clean = torch.zeros(n, params.box, params.box, params.box)
    start = params.box // 2 - 4
    clean[:, start : start + 8, start : start + 8, start : start + 8] = lump
    noisy = image(clean, params, generators(n))
    quiet = params.model_copy(update={"snr": (1e12, 1e12)})
    signal = image(clean, quiet, generators(n))
    return signal, noisy - signal


@pytest.mark.parametrize("snr", [100.0, 1.0, 0.01])
@pytest.mark.parametrize(("route", "slope"), [("fourier", -1.0), ("fourier", 0.0), ("tilts", -1.0)])
def test_the_power_ratio_is_variance_over_variance_in_the_finished_volume(snr, route, slope):
    params = one_value(snr=snr, noise_slope=slope, snr_convention="power", route=route)
    signal, noise = signal_and_noise(params, n=4)
    measured = signal.var((1, 2, 3)) / noise.var((1, 2, 3))
    torch.testing.assert_close(measured, torch.full((4,), snr), rtol=0.01, atol=0)


@pytest.mark.parametrize("route", ["fourier", "tilts"])
def test_the_nominal_ratio_is_as_many_times_that_in_power_as_its_description_says(route):
    signal, noise = signal_and_noise(one_value(snr=0.1, defocus=-5.0, route=route), n=4)
    power = signal.var((1, 2, 3)).mean() / noise.var((1, 2, 3)).mean()
    assert 0.1 / float(power) == pytest.approx(2.6, abs=0.1)


@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_coloured_noise_has_the_slope_that_was_asked_for(slope):
    def spectrum(value):
        _, noise = signal_and_noise(one_value(noise_slope=value, snr_convention="power"))
        power = torch.fft.rfftn(noise, dim=(1, 2, 3)).abs().square().mean(0)
        k = imaging.radius((32,) * 3, 12.0)
        shells = (k * 32 * 12).round().long()
        return np.array([float(power[shells == shell].mean()) for shell in range(4, 12)])

    amplitude = np.sqrt(spectrum(slope) / spectrum(0.0))
    fitted, _ = np.polyfit(np.log(np.arange(4, 12)), np.log(amplitude), 1)
    assert fitted == pytest.approx(slope, abs=0.05)


def test_what_no_tilt_has_seen_is_empty_in_the_image():
    signal, noise = signal_and_noise(one_value(snr_convention="power"))
    unseen = imaging.missing_wedge((32,) * 3, 30.0) == 0
    for part in (signal, noise):
        power = torch.fft.rfftn(part, dim=(1, 2, 3)).abs().square().mean(0)
        assert float(power[unseen].max() / power.max()) < 1e-6


@pytest.mark.parametrize("tilt_centre", [0.0, 10.0])
def test_both_routes_show_the_same_particle(tilt_centre):
    fields = {"snr": 1e9, "snr_convention": "power", "tilt_centre": tilt_centre, "defocus": -5.0}
    bodies = [structure("rod", (12, 12, 45)), structure("slab", (12, 40, 40))]
    fast, full = (
        simulate_subtomograms(bodies, one_value(route=route, **fields), per_class=4, seed=3)[:]
        for route in ("fourier", "tilts")
    )
    shells = (imaging.radius((32,) * 3, 1 / 32)).round().long()
    seen = imaging.missing_wedge((32,) * 3, 30.0, tilt_centre=tilt_centre)
    first, second = (torch.fft.rfftn(part, dim=(1, 2, 3)) * seen for part in (fast, full))
    for shell in range(1, 9):  # to half of the Nyquist frequency
        a, b = first[:, shells == shell], second[:, shells == shell]
        correlation = (a * b.conj()).real.sum() / (a.abs().norm() * b.abs().norm())
        assert correlation > 0.9


def test_the_tilt_route_leaves_the_wedge_empty():
    params = one_value(snr=0.1, snr_convention="power", route="tilts", tilt_centre=10.0)
    _, noise = signal_and_noise(params, n=6)
    # A window keeps the edges of the box, which are no business of the wedge, out of it.
    window = torch.hann_window(32)
    windowed = noise * window[:, None, None] * window
    power = torch.fft.rfftn(windowed, dim=(1, 2, 3)).abs().square().mean(0)
    kz, _, kx = imaging.frequencies((32,) * 3, 1 / 32)
    band = (kz.square() + kx.square() > 3**2) & (kz.square() + kx.square() < 10**2)
    # The window has spread every frequency over two pixels.
    lowest, highest = (math.radians(tilt) for tilt in (-50, 70))
    rims = [(kx * math.sin(t) - kz * math.cos(t)).abs() for t in (lowest, highest)]
    seen = imaging.missing_wedge((32,) * 3, 30.0, tilt_centre=10.0) == 1
    wedge = ~seen & (rims[0] > 2) & (rims[1] > 2)
    assert power[wedge & band].mean() < 1e-3 * power[seen & band].mean()


# ---------------------------------------------------------------------------------- subtomograms


def structure(name, sigma_zyx):
    """A Gaussian body of 32³ voxels of 8 Å."""
    grid = np.meshgrid(*[np.arange(32) - 16] * 3, indexing="ij")
    squared = sum((axis * 8 / s) ** 2 for axis, s in zip(grid, sigma_zyx, strict=True))
    return Structure(
        id=name,
        name=name,
        mass_kda=1000.0,
        source="made up",
        diameter=4.0 * max(sigma_zyx),
        density=np.exp(-0.5 * squared).astype(np.float32),
        voxel_size=8.0,
    )


@pytest.fixture
def bodies():
    return [structure("ball", (25, 25, 25)), structure("rod", (12, 12, 45))]


MIXED = ImagingParams(box=16, voxel_size=16.0, neighbours=0.5, noise_slope=(-1, 0), shift=20)


def test_a_simulated_set_says_what_it_holds(bodies):
    made = simulate_subtomograms(bodies, MIXED, per_class=1_000_000, seed=0)
    assert len(made) == 2_000_000
    assert (made.box, made.voxel_size, made.classes) == (16, 16.0, ("ball", "rod"))
    assert made.labels[[0, 999_999, 1_000_000]].tolist() == [0, 0, 1]
    volumes = made[[0, 1_999_999]]
    assert (volumes.dtype, volumes.shape) == (torch.float32, (2, 16, 16, 16))
    torch.testing.assert_close(volumes.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(volumes.std((1, 2, 3), correction=0), torch.ones(2))


@pytest.mark.parametrize("route", ["fourier", "tilts"])
def test_an_index_gives_the_same_volume_alone_in_company_and_next_time(bodies, route):
    params = MIXED.model_copy(update={"route": route, "missing_wedge": (25.0, 35.0)})
    made = simulate_subtomograms(bodies, params, per_class=10, seed=4)
    rows = [13, 2, 7, 18, 2]
    together = made[rows]
    for volume, row in zip(together, rows, strict=True):
        torch.testing.assert_close(made[[row]][0], volume, atol=1e-5, rtol=0)
    again = simulate_subtomograms(bodies, params, per_class=10, seed=4)
    assert torch.equal(again[rows], together)
    other = simulate_subtomograms(bodies, params, per_class=10, seed=5)
    assert (other[rows] - together).abs().amax((1, 2, 3)).min() > 0.1


def test_without_noise_the_particle_is_positive_and_shifted_no_further_than_asked(bodies):
    params = one_value(
        snr=1e9, missing_wedge=0.0, resolution=20.0, shift=24.0, defocus=-1.0, voxel_size=12.0
    )
    made = simulate_subtomograms(bodies[:1], params, per_class=60, seed=1)
    volumes = made[:].numpy()
    peaks = np.array([np.unravel_index(volume.argmax(), volume.shape) for volume in volumes]) - 16
    assert (volumes.max((1, 2, 3)) > -volumes.min((1, 2, 3))).all()
    assert np.abs(peaks).max() == 2  # 24 Å are two voxels
    assert np.abs(peaks.mean(0)).max() < 0.6


def test_rods_point_everywhere():
    rod = [structure("rod", (12, 12, 45))]
    params = one_value(snr=1e9, missing_wedge=0.0, resolution=20.0, shift=0.0, defocus=-1.0)
    volumes = simulate_subtomograms(rod, params, per_class=150, seed=2)[:].double()
    bright = torch.where(volumes > 2, volumes, 0.0)
    axis = torch.arange(32).double() - 16
    moments = torch.stack(
        [
            torch.einsum(spec, bright, axis, axis)
            for spec in ("bzyx,z,z->b", "bzyx,y,y->b", "bzyx,x,x->b")
        ],
        1,
    )
    share = (moments / moments.sum(1, keepdim=True)).mean(0)
    torch.testing.assert_close(
        share, torch.full((3,), 1 / 3, dtype=torch.float64), atol=0.04, rtol=0
    )


def test_neighbours_add_density_beside_the_particle(bodies):
    def rim(neighbours):
        params = one_value(
            snr=1e9, missing_wedge=0.0, resolution=20.0, shift=0.0, neighbours=neighbours
        )
        clean = simulate_subtomograms(bodies, params, per_class=20, seed=3)[:]
        edge = clean.clone()
        edge[:, 6:-6, 6:-6, 6:-6] = 0
        return float(edge.abs().amax((1, 2, 3)).mean())

    assert rim(1.0) > 2 * rim(0.0)


def test_a_structure_larger_than_the_box_is_one_clear_sentence(bodies):
    with pytest.raises(
        ValueError, match=r"^rod is 180 Å wide but the box only 160 Å; give a larger"
    ):
        simulate_subtomograms(bodies, one_value(box=16, voxel_size=10.0), per_class=1, seed=0)


@pytest.mark.parametrize(
    "changes",
    [{"dose": 100.0}, {"dose": 100.0, "dose_weighting": True}, {"tilt_step": 7.0}],
    ids=lambda changes: [*changes][-1],
)
def test_what_only_the_tilt_route_knows_says_so_and_does_something_there(bodies, changes):
    assert "tilt route" in ImagingParams.model_fields[[*changes][-1]].description
    before = dict(list(changes.items())[:-1])

    def read(route, fields):
        params = one_value(route=route, snr=1e6, missing_wedge=30.0, **fields)
        return simulate_subtomograms(bodies, params, per_class=1, seed=0)[:]

    assert torch.equal(read("fourier", before), read("fourier", changes))
    assert (read("tilts", before) - read("tilts", changes)).abs().max() > 0.01


def test_nothing_to_simulate_is_one_clear_sentence():
    with pytest.raises(ValueError, match="0 structures to simulate; give at least one"):
        simulate_subtomograms([], MIXED, per_class=3, seed=0)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"defocus": (-2.0, -6.0)}, r"defocus is \(-2.0, -6.0\); give the smaller number first"),
        ({"snr": (0.0, 1.0)}, "the lowest snr is 0.0; give one above 0"),
        ({"resolution": (-5.0, 32.0)}, "the lowest resolution is -5.0; give one above 0"),
        ({"missing_wedge": (30.0, 90.0)}, r"missing_wedge is \(30.0, 90.0\); give half angles"),
    ],
)
def test_impossible_imaging_is_one_clear_sentence(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImagingParams(**fields)


# ----------------------------------------------------------------------------------- procedural


@pytest.mark.parametrize(
    "make",
    [
        lambda count, seed: chimeras([structure("rod", (12, 12, 45))], count, seed),
        assemblies,
        distractors,
    ],
    ids=["chimeras", "assemblies", "distractors"],
)
def test_invented_structures_are_reproducible_and_ready_to_image(make):
    one, again, other = make(6, 1), make(6, 1), make(6, 2)
    assert len({made.name for made in one}) == 6
    for made, same, different in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(made.density, same.density)
        assert made.density.shape != different.density.shape or (
            np.abs(made.density - different.density).max() > 0.05
        )
        assert made.density.min() > -1e-3
        assert made.density.max() > 0.1
        assert 0 < made.diameter < np.inf
    volumes = simulate_subtomograms(one, MIXED, per_class=1, seed=0)[:]
    assert torch.isfinite(volumes).all()


def test_chimeras_sit_at_the_centre_of_their_box():
    for made in chimeras([structure("rod", (12, 12, 45))], 8, seed=3):
        axis = np.arange(len(made.density)) - len(made.density) // 2
        for profile in (made.density.sum((1, 2)), made.density.sum((0, 2))):
            assert abs(profile @ axis / profile.sum()) <= 1.5


def test_a_structure_is_imaged_at_its_own_scale():
    """Twice the voxel size with half the voxels is the same body."""
    fine = structure("ball", (25, 25, 25))
    coarse = dataclasses.replace(fine, density=fine.density[::2, ::2, ::2].copy(), voxel_size=16.0)
    params = one_value(snr=1e9, missing_wedge=0.0, resolution=40.0, shift=0.0)
    one, two = (simulate_subtomograms([s], params, per_class=2, seed=6)[:] for s in (fine, coarse))
    assert float((one * two).mean()) > 0.99  # their correlation, as both are standardised
