"""Against the public simulator that the papers name, its formulas written out in numpy.

Conventions that differ, and are therefore made the same here: it indexes volumes xyz, it adds the
term of the spherical aberration with the sign of the defocus, it band-passes the density once
more before the CTF, and it cuts the band-pass where it has fallen to exp(−2).
"""

import numpy as np
import pytest
import torch

from napari_cryoshift.core.simulate import fourier, imaging
from napari_cryoshift.core.simulate.settings import PAPERS, ImagingParams, draw
from napari_cryoshift.core.simulate.subtomograms import image

N, VOXEL, DEFOCUS, CS, WEDGE = 40, 12.0, -5.0, 2.0, 30.0


def grid():
    """Frequencies in Fourier pixels, centred, indexed xyz."""
    return np.meshgrid(*[np.arange(N) - N // 2] * 3, indexing="ij")


def peer_wedge():
    x, _, z = grid()
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.degrees(np.arctan(np.abs(z / x)))
    return ~(angle > 90 - WEDGE)  # 0 / 0, the tilt axis, is kept


def peer_ctf():
    radius = np.sqrt(sum(axis**2 for axis in grid())) / (N * VOXEL)
    volts, nyquist = 300e3, 1 / (2 * VOXEL)
    wavelength = np.sqrt(150.4 / (volts * (1 + volts / 1022000.0)))
    phase = np.pi / 2 * (CS * 1e7 * wavelength**3 * radius**4)
    phase -= np.pi * DEFOCUS * 1e4 * wavelength * radius**2
    return np.sin(phase) * np.exp(-((radius / (0.4 * nyquist)) ** 2))


def peer_band_pass():
    radius = np.sqrt(sum(axis**2 for axis in grid()))
    highest = np.floor(N / 8 * 2 * VOXEL / 10)
    edge = np.exp(-(((radius - highest) / 2) ** 2))
    passed = np.where(radius <= highest, 1.0, edge)
    return np.where(passed < np.exp(-2), 0.0, passed)


def half(full):
    """From a centred xyz spectrum to the half spectrum zyx of torch."""
    return torch.from_numpy(np.fft.ifftshift(full.transpose(2, 1, 0))[..., : N // 2 + 1]).float()


@pytest.fixture
def params():
    paper = PAPERS["practical-analysis"].model_dump()
    changes = {
        "box": N,
        "resolution": (N * VOXEL / 12,) * 2,
        "snr": (1e12, 1e12),
        "cs": (CS, CS),
        "standardise": False,
    }
    return ImagingParams(**paper | changes)


def test_the_wedge_is_the_same_in_every_voxel():
    ours = imaging.missing_wedge((N,) * 3, WEDGE)
    inside = imaging.radius((N,) * 3, 1.0) < 0.5  # its own mask ends at Nyquist
    assert torch.equal(ours[inside].bool(), half(peer_wedge())[inside].bool())


def test_the_ctf_is_the_same_in_every_voxel():
    k = imaging.radius((N,) * 3, VOXEL)
    ours = imaging.ctf(k, DEFOCUS, cs=CS, amplitude_contrast=0.0)
    ours = ours * imaging.envelope(k, 5 * VOXEL)
    torch.testing.assert_close(ours, half(peer_ctf()), atol=1e-4, rtol=0)


def test_the_band_pass_is_the_same_in_every_voxel_that_it_does_not_cut():
    k = imaging.radius((N,) * 3, VOXEL)
    ours = imaging.low_pass(k, N * VOXEL / 12, fourier.LOW_PASS_EDGE / (N * VOXEL))
    theirs = half(peer_band_pass())
    kept = theirs > 0
    torch.testing.assert_close(ours[kept], theirs[kept], atol=1e-5, rtol=0)
    assert ours[~kept].max() < np.exp(-2)


def test_a_noise_free_image_is_the_same(params):
    generator = np.random.default_rng(0)
    density = np.zeros((N,) * 3)
    z, y, x = np.indices((N,) * 3)
    for centre in generator.uniform(12, 28, (12, 3)):
        offsets = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
        density += np.exp(-0.5 * offsets / 4)
    band = np.where(peer_band_pass() > 0, peer_band_pass(), 0)
    spectrum = np.fft.fftshift(np.fft.fftn(density.transpose(2, 1, 0)))
    spectrum = spectrum * band * peer_ctf() * band * peer_wedge()
    theirs = np.fft.ifftn(np.fft.ifftshift(spectrum)).real.transpose(2, 1, 0)
    k = imaging.radius((N,) * 3, VOXEL)
    passed = imaging.low_pass(k, N * VOXEL / 12, fourier.LOW_PASS_EDGE / (N * VOXEL))
    once = torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(density).float()) * passed, s=(N,) * 3)
    ours = image(once[None], params, [np.random.default_rng(0)])[0].numpy()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9999
    assert ours.std() / theirs.std() == pytest.approx(1, abs=1e-3)


def test_the_papers_settings_are_those_of_the_papers():
    source = PAPERS["cryo-shift"]
    assert (source.box, source.voxel_size) == (40, 13.68)
    assert (source.snr, source.missing_wedge) == ((0.03, 10.0), (0.0, 50.0))
    assert (source.defocus, source.cs) == ((-12.0, 0.0), (1.5, 3.0))
    first, second = PAPERS["fsft-s1"], PAPERS["fsft-s2"]
    assert (first.box, first.cs, first.defocus) == (35, (2.2, 2.2), (-10.0, -10.0))
    assert (second.box, second.cs, second.defocus) == (35, (2.0, 2.0), (-5.0, -5.0))
    drawn = draw(source, [np.random.default_rng((1, i)) for i in range(4000)])
    logarithm = drawn.snr.log().ravel()
    assert float(logarithm.mean()) == pytest.approx((np.log(0.03) + np.log(10)) / 2, abs=0.1)
    assert float((drawn.snr < 0.547).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(drawn.defocus.mean()) == pytest.approx(-6, abs=0.2)
    assert float(drawn.missing_wedge.max()) == pytest.approx(50, abs=0.2)
