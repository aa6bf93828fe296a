"""What a microscope does to projections, against formulas by hand and other people's libraries."""

import math

import numpy as np
import pandas as pd
import pytest
import starfile
import torch
import torch_ctf
import torch_fourier_filter.dose_weight

from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.dose import accumulated_dose, damage
from napari_cryoshift.core.simulate.microscope import (
    MEAN_FREE_PATH,
    Mtf,
    Optics,
    expose,
    read_mtf,
    transmission,
)
from napari_cryoshift.core.simulate.tilt_series import tilt_angles

UNTILTED = torch.zeros(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n, *columns, tilts=1, count=1):
    """Images of points in the middle row, at columns from the middle."""
    images = torch.zeros(count, tilts, n, n)
    for column in columns:
        images[..., n // 2, n // 2 + column] = 1
    return images


def spread(optics, n=64, angles=UNTILTED, column=0):
    """Transfer seen by a point, (b, t, n, n // 2 + 1)."""
    count = torch.as_tensor(optics.defocus).numel()
    images = points(n, column, tilts=len(angles), count=count)
    signal, _ = expose(images, angles, optics, generator())
    return torch.fft.rfft2(signal) / torch.fft.rfft2(images)


def noise_power(optics, angles=UNTILTED, n=32, count=400):
    """Mean power spectrum of the noise, (t, n, n // 2 + 1); 1 for white noise of variance 1."""
    _, noise = expose(torch.zeros(count, len(angles), n, n), angles, optics, generator())
    return torch.fft.rfft2(noise).abs().square().mean(0) / n**2


# ------------------------------------------------------------------------------------------ CTF


def test_an_untilted_image_has_the_ctf_of_torch_ctf():
    found = spread(Optics(5.0, -2.3, cs=2.7, voltage=200, amplitude_contrast=0.1))[0, 0]
    expected = torch_ctf.calculate_ctf_2d(
        defocus=2.3,
        astigmatism=0.0,
        astigmatism_angle=0.0,
        voltage=200.0,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
        phase_shift=0.0,
        pixel_size=5.0,
        image_shape=(64, 64),
        rfft=True,
        fftshift=False,
    )
    torch.testing.assert_close(found.real, expected, atol=2e-3, rtol=0)
    assert found.imag.abs().max() < 1e-3


def zeros_of_the_ctf(underfocus, voltage=300.0, cs=2.7, contrast=0.07):
    """Frequencies in 1/Å at which π λ Δf k² − π/2 Cs λ³ k⁴ + asin A is a multiple of π."""
    wavelength = 12.2639 / math.sqrt(1e3 * voltage * (1 + 0.97845e-6 * 1e3 * voltage))
    quartic, square = math.pi / 2 * cs * 1e7 * wavelength**3, math.pi * wavelength * underfocus
    zeros = []
    for whole in range(1, 4):
        constant = math.asin(contrast) - whole * math.pi
        root = square**2 + 4 * quartic * constant
        zeros.append(math.sqrt((square - math.sqrt(root)) / (2 * quartic)))
    return zeros


def test_the_zeros_are_where_the_formula_puts_them():
    n, pixel = 512, 4.0
    transfer = spread(Optics(pixel, -3.0), n)[0, 0, 0].real
    step = 1 / (n * pixel)
    changes = (torch.diff(transfer.sign()) != 0).nonzero().flatten().numpy()
    for found, expected in zip(changes, zeros_of_the_ctf(30_000.0), strict=False):
        assert found * step <= expected <= (found + 1) * step


def test_every_volume_has_its_own_defocus_aberration_and_envelope():
    own = {
        "defocus": torch.tensor([-1.0, -4.0]),
        "cs": torch.tensor([2.7, 1.0]),
        "envelope": torch.tensor([20.0, 40.0]),
    }
    both = spread(Optics(6.0, **own))
    for i in range(2):
        alone = Optics(6.0, **{name: float(values[i]) for name, values in own.items()})
        torch.testing.assert_close(both[i], spread(alone)[0])


def test_across_a_tilted_specimen_the_defocus_changes_as_by_hand():
    n, pixel, underfocus = 512, 10.0, 40_000.0
    column = 120  # in the image, 1200 Å from the axis
    optics = Optics(pixel, -4.0, gradient=True)
    angles = torch.tensor([60.0])
    k = torch.fft.rfftfreq(n, pixel)
    crossings = []
    for side in (-1, 1):
        # At 60° the specimen's x is 2400 Å, and +x has come 2400 sin 60° nearer to the source.
        by_hand = underfocus - side * 2400 * math.sin(math.radians(60))
        transfer = spread(optics, n, angles, side * column)[0, 0, 0]
        expected = imaging.ctf(k, -1e-4 * by_hand)
        torch.testing.assert_close(transfer.real, expected, atol=0.03, rtol=0)
        first = int((transfer.real < 0).nonzero()[0])
        assert k[first - 1] <= zeros_of_the_ctf(by_hand)[0] <= k[first]
        crossings.append(first)
    assert crossings[1] > crossings[0]


def test_without_a_tilt_there_is_no_gradient():
    flat = spread(Optics(10.0, -4.0, gradient=True), column=20)
    assert torch.equal(flat, spread(Optics(10.0, -4.0), column=20))


# ------------------------------------------------------------------------------------- detector


def write_curve(path, frequency, value):
    table = pd.DataFrame({"rlnResolutionInversePixel": frequency, "rlnMtfValue": value})
    starfile.write(table, path)
    return path


def test_a_curve_of_relion_is_read_at_its_nodes(tmp_path):
    nodes, values = np.array([0, 0.1, 0.3, 0.5]), np.array([1, 0.9, 0.5, 0.2])
    mtf = read_mtf(write_curve(tmp_path / "mtf.star", nodes, values), pixel_size=1.5)
    found = mtf(torch.from_numpy(nodes / 1.5))
    np.testing.assert_allclose(found.numpy(), values, atol=1e-9)
    between = mtf(torch.tensor([0.2 / 1.5, 9.0]))
    np.testing.assert_allclose(between.numpy(), [0.7, 0.2], atol=1e-6)


def test_the_detector_filters_signal_and_noise():
    pixel, n = 8.0, 32
    mtf = Mtf(np.array([0, 1 / 16]), np.array([1, 0.4]))
    optics = {"pixel_size": pixel, "defocus": -3.0}
    ratio = spread(Optics(**optics, mtf=mtf), n) / spread(Optics(**optics), n)
    along = ratio[0, 0, 0].real
    torch.testing.assert_close(along, torch.linspace(1, 0.4, n // 2 + 1), atol=1e-3, rtol=0)
    power = noise_power(Optics(**optics, mtf=mtf, noise_before=0))[0]
    expected = mtf(imaging.radius((1, n, n), pixel)[0]) ** 2
    assert float((power / expected).std()) < 0.07
    assert float((power / expected).mean()) == pytest.approx(1, abs=0.01)


def test_files_that_are_no_curve_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(
        ValueError, match=r"^the frequencies in down.star do not rise; sort its rows$"
    ):
        read_mtf(write_curve(tmp_path / "down.star", [0, 0.3, 0.1], [1, 0.5, 0.8]), 1.5)
    other = tmp_path / "other.star"
    starfile.write(pd.DataFrame({"rlnCoordinateX": [1.0, 2.0]}), other)
    with pytest.raises(ValueError, match=r"^other.star has no columns rlnResolutionInversePixel"):
        read_mtf(other, 1.5)
    with pytest.raises(FileNotFoundError):
        read_mtf(tmp_path / "none.star", 1.5)


# ----------------------------------------------------------------------------------------- dose


def test_every_tilt_is_damaged_by_the_dose_it_came_after():
    angles = tilt_angles(-60, 60, 30)
    intact = spread(Optics(4.0, -3.0), angles=angles)
    damaged = spread(Optics(4.0, -3.0, dose=100.0), angles=angles)
    k = imaging.radius((1, 64, 64), 4.0)[0]
    for tilt, dose in enumerate([90.0, 50.0, 10.0, 30.0, 70.0]):
        expected = intact[0, tilt] * damage(k, torch.tensor([dose]))[0]
        torch.testing.assert_close(damaged[0, tilt], expected, atol=1e-4, rtol=0)


def test_dose_weighting_is_that_of_torch_fourier_filter():
    angles, n, pixel = tilt_angles(-60, 60, 20), 32, 4.0
    images = torch.randn(1, len(angles), n, n, generator=generator(1))
    plain = expose(images, angles, Optics(pixel, -3.0, dose=80.0), generator())
    weighted = expose(
        images, angles, Optics(pixel, -3.0, dose=80.0, dose_weighting=True), generator()
    )
    for before, after in zip(plain, weighted, strict=True):
        reference = torch_fourier_filter.dose_weight.dose_weight_2d(
            torch.fft.rfft2(before[0]), (n, n), pixel, accumulated_dose(angles, 80.0)
        )
        # Its weights have a sum of squares of 1, ours a mean of 1, which keeps the noise's power.
        expected = reference * math.sqrt(len(angles))
        torch.testing.assert_close(torch.fft.rfft2(after[0]), expected, atol=2e-3, rtol=1e-3)


# ------------------------------------------------------------------------------ ice and its noise


def test_ice_takes_more_electrons_at_high_tilt():
    passed = transmission(torch.tensor([0.0, 60.0]), 2000.0).flatten()
    assert float(passed[0]) == pytest.approx(math.exp(-2000 / MEAN_FREE_PATH), rel=1e-5)
    assert float(passed[1]) == pytest.approx(math.exp(-4000 / MEAN_FREE_PATH), rel=1e-5)


def test_a_profile_of_the_ice_is_seen_foreshortened():
    profile = torch.linspace(1000, 3000, 33)[None]
    passed = transmission(torch.tensor([0.0, 60.0]), profile)
    assert passed.shape == (1, 2, 33)
    torch.testing.assert_close(passed[0, 0], torch.exp(-profile[0] / MEAN_FREE_PATH))
    # At 60°, column 4 beside the axis shows what lies 8 beside it.
    expected = math.exp(-2 * float(profile[0, 16 + 8]) / MEAN_FREE_PATH)
    assert float(passed[0, 1, 16 + 4]) == pytest.approx(expected, rel=1e-5)


def test_at_unit_shot_noise_absorption_weakens_the_signal():
    angles = torch.tensor([0.0, 60.0])
    ratio = spread(Optics(8.0, -3.0, ice=2000.0), angles=angles) / spread(
        Optics(8.0, -3.0), angles=angles
    )
    for tilt, path in enumerate((2000, 4000)):
        expected = math.exp(-path / MEAN_FREE_PATH / 2)
        assert float(ratio[0, tilt].real.median()) == pytest.approx(expected, rel=1e-3)
    _, noise = expose(
        torch.zeros(50, 2, 32, 32),
        angles,
        Optics(8.0, -3.0, ice=2000.0, noise_before=0),
        generator(),
    )
    assert noise.var((0, 2, 3)).numpy() == pytest.approx([1, 1], rel=0.03)


def test_thin_ice_has_more_electrons_and_more_shot_noise():
    profile = torch.full((1, 32), 4000.0)
    profile[:, :16] = 1000
    optics = Optics(8.0, -3.0, ice=profile, noise_before=0)
    _, noise = expose(torch.zeros(200, 1, 32, 32), UNTILTED, optics, generator())
    thin, thick = noise[..., :16].var(), noise[..., 16:].var()
    assert float(thin / thick) == pytest.approx(math.exp(3000 / MEAN_FREE_PATH), rel=0.03)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_noise_comes_before_and_after_the_ctf_in_the_stated_shares(share):
    n, pixel = 32, 8.0
    power = noise_power(Optics(pixel, -4.0, noise_before=share), n=n)[0]
    ctf = imaging.ctf(imaging.radius((1, n, n), pixel)[0], -4.0)
    torch.testing.assert_close(power, share * ctf**2 + 1 - share, atol=0.35, rtol=0)
    assert float(power.mean()) == pytest.approx(
        float((share * ctf**2 + 1 - share).mean()), rel=0.02
    )


# ------------------------------------------------------------------------------------ behaviour


FULL = Optics(8.0, torch.tensor([-2.0, -5.0]), envelope=20.0, gradient=True, dose=100.0, ice=1500.0)


def test_signal_is_linear_and_noise_does_not_know_of_it():
    angles = tilt_angles(-60, 60, 20)
    images = torch.rand(2, len(angles), 16, 16, generator=generator(1))
    signal, noise = expose(images, angles, FULL, generator())
    double, same = expose(2 * images, angles, FULL, generator())
    torch.testing.assert_close(double, 2 * signal)
    assert torch.equal(same, noise)


def test_with_a_generator_each_a_volume_does_not_depend_on_the_others():
    angles = tilt_angles(-60, 60, 20)
    images = torch.rand(2, len(angles), 16, 16, generator=generator(1))
    optics = Optics(8.0, -3.0)
    together = expose(images, angles, optics, [generator(5), generator(6)])
    alone = expose(images[1:], angles, optics, [generator(6)])
    for both, one in zip(together, alone, strict=True):
        # An FFT rounds differently in another batch.
        torch.testing.assert_close(both[1:], one, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pixel_size": 0.0}, "the pixel size is 0 Å; give one above 0"),
        ({"noise_before": 1.5}, "the share of noise before the CTF is 1.5; give 0 to 1"),
        ({"dose": -1.0}, "the dose is -1 e/Å²; give 0 or more"),
        ({"ice": torch.tensor([[100.0, -5.0]])}, "the ice is thinner than 0 Å somewhere; give 0"),
    ],
)
def test_impossible_optics_are_refused_in_one_sentence(given, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        Optics(**{"pixel_size": 8.0, "defocus": -3.0} | given)


def test_one_angle_an_image():
    with pytest.raises(ValueError, match=r"^3 images but 2 tilt angles; give one a tilt$"):
        expose(torch.zeros(1, 3, 8, 8), torch.zeros(2), Optics(8.0, -3.0), generator())


def test_one_thickness_a_column():
    optics = Optics(8.0, -3.0, ice=torch.ones(1, 6))
    with pytest.raises(ValueError, match=r"^ice over 6 columns but images of 8; give a thickness"):
        expose(torch.zeros(1, 1, 8, 8), UNTILTED, optics, generator())
