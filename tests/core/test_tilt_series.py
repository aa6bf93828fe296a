"""The geometry of a tilt series, against analytic answers and against other people's projectors."""

import math

import numpy as np
import pytest
import torch
import torch_fourier_slice
from scipy import ndimage

from napari_cryoshift.core.simulate import tilt_series
from napari_cryoshift.core.simulate.tilt_series import back_project, project, tilt_angles

# --------------------------------------------------------------------------------------- angles


def test_angles_are_symmetric_to_the_last_bit():
    angles = tilt_angles(-60, 60, 3)
    assert angles.dtype == torch.float32
    assert angles.tolist() == list(range(-60, 61, 3))
    odd = tilt_angles(-60, 60, 0.7)
    assert torch.equal(odd, -odd.flip(0))


def test_a_rest_of_the_range_is_left_out_at_both_ends_alike():
    assert tilt_angles(-50, 70, 3).tolist() == list(range(-50, 71, 3))
    assert tilt_angles(-50, 70, 50).tolist() == [-40, 10, 60]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((-60, 60, 0), "the tilt step is 0°; give one above 0"),
        ((-60, 60, -3), "the tilt step is -3°; give one above 0"),
        ((60, -60, 3), "the tilt range is 60° to -60°; give the lower end first"),
        ((-60, 95, 3), "the tilt range is -60° to 95°; stay within ±90°"),
    ],
)
def test_impossible_tilts_are_refused_in_one_sentence(given, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        tilt_angles(*given)


# ----------------------------------------------------------------------------------- projection


@pytest.mark.parametrize("n", [31, 32])
def test_a_point_is_seen_where_it_was_turned_to(n):
    z, y, x = 6, -3, 5
    volume = torch.zeros(1, n, n, n)
    volume[0, n // 2 + z, n // 2 + y, n // 2 + x] = 1
    angles = torch.tensor([-70.0, -45.0, 0.0, 33.3, 60.0])
    images = project(volume, angles)
    # A voxel is a point to the resolution of the grid, so its image is the periodic sinc.
    period = 2 * n if n == 32 else 64
    for image, angle in zip(images[0], angles, strict=True):
        theta = math.radians(angle)
        beside = np.arange(n) - n // 2 - (x * math.cos(theta) + z * math.sin(theta)) + 1e-9
        row = np.sin(np.pi * beside) / (period * np.tan(np.pi * beside / period))
        expected = torch.zeros(n, n)
        expected[n // 2 + y] = torch.from_numpy(row)
        torch.testing.assert_close(image, expected, atol=0.02, rtol=0)
    torch.testing.assert_close(images[0, 2], volume[0].sum(0), atol=1e-5, rtol=0)


def test_a_gaussian_has_the_projection_of_the_textbook():
    n = 48
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    covariance = rotation @ np.diag([2.0, 3.5, 5.0]) ** 2 @ rotation.T  # of x, y, z
    centre = np.array([3.3, -2.1, 1.7])
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    away = np.stack([x, y, z], -1) - centre
    exponent = np.einsum("...i,ij,...j", away, np.linalg.inv(covariance), away)
    volume = torch.from_numpy(np.exp(-exponent / 2)).float()[None]
    angles = torch.tensor([-60.0, -20.0, 0.0, 45.0, 70.0])
    images = project(volume, angles)[0].numpy()
    v, u = np.meshgrid(axis, axis, indexing="ij")
    for image, angle in zip(images, np.radians(angles.numpy()), strict=True):
        seen = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0]])
        flat = seen @ covariance @ seen.T
        away = np.stack([u, v], -1) - seen @ centre
        height = np.sqrt(2 * np.pi * np.linalg.det(covariance) / np.linalg.det(flat))
        exponent = np.einsum("...i,ij,...j", away, np.linalg.inv(flat), away)
        np.testing.assert_allclose(image, height * np.exp(-exponent / 2), atol=0.005 * height)


def lumps(shape, radius, seed=0):
    """Smooth random density within a cylinder about the tilt axis, (1, z, y, x)."""
    white = np.random.default_rng(seed).normal(size=shape)
    z, _, x = (np.arange(n) - n // 2 for n in shape)
    inside = z[:, None, None] ** 2 + x**2 <= radius**2
    return torch.from_numpy(ndimage.gaussian_filter(white * inside, 1.2)).float()[None]


def relative_error(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_the_fourier_route_agrees_with_rotating_and_summing_in_real_space():
    volume = lumps((32, 8, 32), radius=11)
    angles = torch.tensor([-60.0, -25.0, 10.0, 50.0])
    images = project(volume, angles)
    for image, angle in zip(images[0], angles, strict=True):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        # Where the turned specimen is read: (z, y, x) = (−s x' + c z', y', c x' + s z') inverted.
        back = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        centre = np.array([16, 4, 16])
        turned = ndimage.affine_transform(
            volume[0].numpy(), back, offset=centre - back @ centre, order=5
        )
        assert relative_error(image, torch.from_numpy(turned.sum(0))) < 0.015


def test_the_tilt_has_the_sign_of_torch_fourier_slice():
    volume = lumps((32, 4, 32), radius=11)
    angles = torch.tensor([-60.0, -25.0, 10.0, 50.0])
    radians = torch.deg2rad(angles)
    c, s = radians.cos(), radians.sin()
    along = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    images = project(volume, angles)
    for y in range(4):
        reference = torch_fourier_slice.project_2d_to_1d(volume[0, :, y], along, pad_factor=4)
        assert relative_error(images[0, :, y], reference) < 0.02


def test_a_slab_is_projected_as_if_it_lay_in_a_cube():
    slab = lumps((12, 4, 32), radius=20)
    cube = torch.nn.functional.pad(slab, (0, 0, 0, 0, 10, 10))
    angles = tilt_angles(-60, 60, 20)
    torch.testing.assert_close(project(slab, angles), project(cube, angles))


def test_work_in_small_portions_changes_nothing(monkeypatch):
    volumes = torch.cat([lumps((16, 6, 24), 9, seed) for seed in range(3)])
    angles = tilt_angles(-60, 60, 10)
    images = project(volumes, angles)
    whole = back_project(images, angles, 16)
    monkeypatch.setattr(tilt_series, "_CHUNK", 1)
    torch.testing.assert_close(project(volumes, angles), images)
    torch.testing.assert_close(back_project(images, angles, 16), whole)


# ------------------------------------------------------------------------------- reconstruction


@pytest.mark.parametrize(("lowest", "highest"), [(-60, 60), (-50, 70)])
def test_noise_is_seen_only_where_some_tilt_looked(lowest, highest):
    n = 32
    angles = tilt_angles(lowest, highest, 3)
    images = torch.randn(40, len(angles), 4, n, generator=torch.Generator().manual_seed(0))
    # A window keeps the edges of the box, which are no business of the interpolation, out of it.
    window = torch.hann_window(n)
    volumes = back_project(images, angles, n) * window[:, None, None] * window
    power = torch.fft.fft2(volumes, dim=(1, 3)).abs().square().mean((0, 2)).numpy()
    k = np.fft.fftfreq(n, 1 / n)
    kz, kx = k[:, None], k[None]
    band = (np.hypot(kz, kx) > 0.1 * n) & (np.hypot(kz, kx) < 0.45 * n)

    def seen_by(low, high):
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = kz / kx
        return (slope >= math.tan(math.radians(low))) & (slope <= math.tan(math.radians(high)))

    def far_from_rim(angle):
        theta = math.radians(angle)
        return abs(kx * math.sin(theta) - kz * math.cos(theta)) > 2

    seen = seen_by(lowest, highest) & band
    wedge = ~seen & band & far_from_rim(lowest) & far_from_rim(highest)
    assert wedge.sum() > 100
    assert power[wedge].mean() < 1e-3 * power[seen].mean()
    # With the sign the other way round it would be far from empty, if the range is lopsided.
    mirrored = seen_by(-highest, -lowest)
    if lowest != -highest:
        assert power[band & ~mirrored].mean() > 0.2 * power[seen].mean()


def shells(volume):
    """Fourier coefficients (n, n, n) and the number of the shell of each."""
    spectrum = torch.fft.fftn(volume)
    k = [torch.fft.fftfreq(n, 1 / n) for n in volume.shape]
    return spectrum, (k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + k[2] ** 2).sqrt().round()


UNEVEN = torch.tensor(
    np.random.default_rng(4).permutation(90 * np.sin(np.linspace(-1.5, 1.5, 161)))
)


@pytest.mark.parametrize("angles", [tilt_angles(-90, 90, 1.5), tilt_angles(-90, 88, 2), UNEVEN])
def test_a_full_series_gives_the_grey_values_back(angles):
    volume = lumps((40, 40, 40), radius=13)
    angles = angles.float()
    again = back_project(project(volume, angles), angles, 40)
    original, shell = shells(volume[0])
    found, _ = shells(again[0])
    for radius in range(1, 11):
        here = shell == radius
        common = (original[here] * found[here].conj()).sum().real
        energy = original[here].abs().square().sum(), found[here].abs().square().sum()
        assert common / (energy[0] * energy[1]).sqrt() > 0.999
        assert common / energy[0] == pytest.approx(1, abs=0.02)


def test_a_ball_of_one_has_grey_value_one():
    n = 40
    axis = torch.arange(n) - n // 2
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).float().sqrt()
    ball = torch.sigmoid((12 - distance) / 0.7)[None]
    angles = tilt_angles(-90, 90, 2)
    again = back_project(project(ball, angles), angles, n)[0]
    assert float(again[distance < 9].mean()) == pytest.approx(1, abs=0.01)
    assert float(again[(distance > 15) & (distance < 19)].mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("shape", "depth"), [((15, 5, 15), 15), ((10, 4, 24), 10)])
def test_a_centred_point_stays_in_the_centre(shape, depth):
    volume = torch.zeros(1, *shape)
    middle = tuple(n // 2 for n in shape)
    volume[(0, *middle)] = 1
    angles = tilt_angles(-60, 60, 4)
    again = back_project(project(volume, angles), angles, depth)[0]
    assert tuple(np.unravel_index(int(again.argmax()), shape)) == middle
    # An even side has one voxel more before the centre than behind it.
    about = again[1 - shape[0] % 2 :, :, 1 - shape[2] % 2 :]
    torch.testing.assert_close(about, about.flip(0, 2), atol=1e-4, rtol=0)


def test_the_order_of_the_tilts_does_not_matter():
    angles = torch.tensor([-40.0, -10.0, 0.0, 20.0, 60.0])
    images = torch.randn(2, 5, 4, 16, generator=torch.Generator().manual_seed(2))
    shuffled = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(
        back_project(images[:, shuffled], angles[shuffled], 16), back_project(images, angles, 16)
    )


def test_both_ways_are_linear_and_repeat_to_the_last_bit():
    angles = tilt_angles(-60, 60, 10)
    one, other = lumps((16, 4, 16), 7, 1), lumps((16, 4, 16), 7, 2)

    def both(volume):
        return back_project(project(volume, angles), angles, 16)

    torch.testing.assert_close(
        both(2 * one - 3 * other), 2 * both(one) - 3 * both(other), atol=1e-5, rtol=1e-4
    )
    assert torch.equal(both(one), both(one))


def test_wrong_arrays_are_refused_in_one_sentence():
    angles = tilt_angles(-60, 60, 10)
    with pytest.raises(ValueError, match=r"^volumes of 3 axes and tilt angles of 1; give 4 axes"):
        project(torch.zeros(8, 8, 8), angles)
    with pytest.raises(ValueError, match=r"^5 images and 13 tilt angles; give one a tilt"):
        back_project(torch.zeros(1, 5, 8, 8), angles, 8)
    with pytest.raises(ValueError, match=r"two at least$"):
        back_project(torch.zeros(1, 1, 8, 8), angles[:1], 8)
