import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram
from napari_cryoshift.core.volumes import (
    crop,
    half_turned,
    random_rotations,
    resampled,
    resampling_matrix,
    rotation_matrices,
    sample_rotated,
    standardise,
)


def blob(shape, centre, sigma):
    """A Gaussian of height 1 at any position, zyx."""
    grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
    squared = sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True))
    return np.exp(-0.5 * squared / sigma**2).astype(np.float32)


def centre_of_mass(volume):
    grid = np.meshgrid(*map(np.arange, volume.shape), indexing="ij")
    return np.array([(axis * volume).sum() / volume.sum() for axis in grid])


def plain_standardise(array):
    return (array - array.mean()) / array.std()


# ---------------------------------------------------------------------------------- standardise


def test_standardised_volumes_have_mean_0_and_deviation_1_each():
    volumes = torch.randn(3, 8, 8, 8) * torch.tensor([1.0, 50, 1e-3])[:, None, None, None] + 7
    result = standardise(volumes)
    torch.testing.assert_close(result.mean((1, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(result.std((1, 2, 3), correction=0), torch.ones(3))


def test_a_constant_volume_becomes_zeros_and_not_nan():
    assert (standardise(torch.full((1, 4, 4, 4), 3.0)) == 0).all()


# ------------------------------------------------------------------------------------ rotations


def test_rotation_matrices_are_those_of_scipy():
    quaternions = np.random.default_rng(1).normal(size=(20, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    expected = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]).as_matrix()  # scipy: scalar last
    np.testing.assert_allclose(rotation_matrices(quaternions), expected, atol=1e-12)


def test_random_rotations_are_uniform_on_so3():
    rotations = random_rotations(4000, np.random.default_rng(2)).double().numpy()
    identity = np.eye(3)[None]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), identity.repeat(4000, 0), atol=1e-5
    )
    assert np.linalg.det(rotations).min() > 0.99
    # Under the Haar measure every matrix entry is uniform on [-1, 1] (Archimedes) …
    for entry in rotations.reshape(-1, 9).T:
        assert stats.kstest(entry, stats.uniform(-1, 2).cdf).pvalue > 1e-4
    # … and the angle of rotation has density (1 - cos θ) / π.
    angle = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda t: (t - np.sin(t)) / np.pi).pvalue > 1e-4


@pytest.mark.parametrize("step", [1.0, 1.5])
def test_a_blob_lands_where_the_active_rotation_takes_it(step):
    away = np.array([-2.0, 4.0, 7.0])  # zyx voxels from the centre
    density = torch.from_numpy(blob((40, 40, 40), 20 + away, sigma=2.0))
    rotations = random_rotations(5, np.random.default_rng(3))
    shifts = torch.tensor(np.random.default_rng(4).uniform(-2, 2, (5, 3)), dtype=torch.float32)
    sampled = sample_rotated(density, rotations, box=32, step=step, shifts=shifts)
    for volume, rotation, shift in zip(sampled, rotations, shifts, strict=True):
        turned = (rotation.numpy() @ away[::-1])[::-1] / step  # rotations act on xyz
        np.testing.assert_allclose(
            centre_of_mass(volume.numpy()), 16 + turned + shift.numpy(), atol=0.05
        )


def test_the_identity_leaves_the_density_as_it_is():
    density = torch.randn(12, 12, 12)
    sampled = sample_rotated(density, torch.eye(3)[None], box=12, step=1.0)
    torch.testing.assert_close(sampled[0], density, atol=1e-4, rtol=0)


# ----------------------------------------------------------------------------------- resampling


def test_interpolation_weights_sum_to_1():
    weights = resampling_matrix(60, 16, 1.7, np.array([30.0, 29.3]))
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


def test_a_wave_beyond_the_new_nyquist_frequency_does_not_fold_back():
    weights = resampling_matrix(200, 40, 3.0, np.array([100.0]))[0]
    index = np.arange(200)
    kept = weights @ np.cos(2 * np.pi * index * 0.05)  # 0.3 of the new Nyquist frequency, 1/6
    folded = weights @ np.cos(2 * np.pi * index * 0.30)  # 1.8 of it
    assert np.abs(kept).max() > 0.95
    assert np.abs(folded[2:-2]).max() < 0.02


# ----------------------------------------------------------------------------------------- crop


def test_at_integer_positions_and_equal_voxel_size_a_crop_is_a_slice(tomogram):
    subtomograms = crop(tomogram, Particles.at([[12, 16, 20]]), box=8, voxel_size=10.0)
    expected = plain_standardise(-tomogram.data[8:16, 12:20, 16:24])
    np.testing.assert_allclose(subtomograms[[0]][0].numpy(), expected, atol=1e-5)
    assert not subtomograms.edge[0]


def test_between_voxels_a_gaussian_has_its_analytic_values():
    position = np.array([20.3, 19.6, 21.45])
    volume = blob((40, 40, 40), position, sigma=3.0)
    light = Tomogram(volume, voxel_size=10.0, name="blob", dark=False)
    cut = crop(light, Particles.at([position]), box=16, voxel_size=10.0)[[0]][0].numpy()
    expected = plain_standardise(blob((16, 16, 16), (8, 8, 8), sigma=3.0))
    np.testing.assert_allclose(cut, expected, atol=0.05 * expected.max())


def test_a_coarser_crop_shows_the_same_gaussian_at_its_own_voxel_size():
    volume = blob((60, 60, 60), (30, 30, 30), sigma=6.0)
    light = Tomogram(volume, voxel_size=8.0, name="blob", dark=False)
    cut = crop(light, Particles.at([[30, 30, 30]]), box=16, voxel_size=16.0)[[0]][0].numpy()
    expected = plain_standardise(blob((16, 16, 16), (8, 8, 8), sigma=3.0))
    np.testing.assert_allclose(cut, expected, atol=0.02 * expected.max())


def test_a_crop_is_protein_positive_whatever_the_contrast(tomogram):
    at = Particles.at([[12.2, 16.0, 20.7]])
    light = Tomogram(-tomogram.data, voxel_size=10.0, name="noise", dark=False)
    torch.testing.assert_close(
        crop(tomogram, at, box=8, voxel_size=13.0)[[0]],
        crop(light, at, box=8, voxel_size=13.0)[[0]],
    )


def test_boxes_beyond_the_border_are_padded_and_flagged():
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (32, 32, 32))
    light = Tomogram(ramp, voxel_size=10.0, name="ramp", dark=False)
    positions = [[16, 16, 2], [4, 16, 16], [28, 16, 16], [16, 16, 31]]
    subtomograms = crop(light, Particles.at(positions), box=8, voxel_size=10.0)
    # Along z, 4 to 28 are the centres of boxes of eight that just fit into 32 voxels.
    assert subtomograms.edge.tolist() == [True, False, False, True]
    row = subtomograms[[0]][0][0, 0]  # reaches from -2 to 5
    torch.testing.assert_close(row[:3], row[:1].expand(3))  # the border value 0, thrice
    assert (row[3:].diff() > 0).all()


def test_a_mapped_file_is_read_without_a_warning(tomogram, tmp_path, recwarn):
    np.save(tmp_path / "tomogram.npy", tomogram.data)
    mapped = Tomogram(np.load(tmp_path / "tomogram.npy", mmap_mode="r"), 10.0, name="mapped")
    at = Particles.at([[12, 16, 20]])
    torch.testing.assert_close(
        crop(mapped, at, box=8, voxel_size=10.0)[:], crop(tomogram, at, box=8, voxel_size=10.0)[:]
    )
    assert not recwarn.list


def test_any_company_gives_the_same_crop(tomogram):
    subtomograms = crop(
        tomogram, Particles.at([[2, 3, 4], [12, 16, 20.5], [20, 30, 38]]), box=8, voxel_size=14.0
    )
    together = subtomograms[[2, 0, 1]]
    for row, index in enumerate([2, 0, 1]):
        torch.testing.assert_close(subtomograms[[index]][0], together[row])
    torch.testing.assert_close(subtomograms.take([2, 1])[:], together[[0, 2]])


class Watched:
    """An array that remembers how much of it was read."""

    def __init__(self, array):
        self.array, self.read = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key):
        found = self.array[key]
        self.read += found.size
        return found


def test_only_the_surroundings_of_a_particle_are_read(tomogram):
    watched = Watched(np.zeros((200, 200, 200), np.float32))
    large = Tomogram(watched, voxel_size=10.0, name="large")
    subtomograms = crop(large, Particles.at(np.full((1000, 3), 100.0)), box=16, voxel_size=10.0)
    assert watched.read == 0
    subtomograms[[7]]
    assert 16**3 <= watched.read <= 26**3


@pytest.mark.parametrize("position", [(-0.6, 5, 5), (5, 31.6, 5), (5, 5, 400), (np.nan, 5, 5)])
def test_a_position_outside_is_one_clear_sentence(tomogram, position):
    particles = Particles.at([[5, 5, 5], position])
    with pytest.raises(ValueError, match=r"1 of 2 positions lie outside .*\(24, 32, 40\).*binning"):
        crop(tomogram, particles, box=8, voxel_size=10.0)


def test_the_outermost_voxels_are_inside(tomogram):
    corners = Particles.at([[-0.5, -0.5, -0.5], [23.5, 31.5, 39.5]])
    volumes = crop(tomogram, corners, box=8, voxel_size=10.0)[:]
    assert volumes.shape == (2, 8, 8, 8)
    assert torch.isfinite(volumes).all()


def test_values_that_are_no_numbers_are_refused_where_they_are_read(tomogram):
    holed = tomogram.data.copy()
    holed[20, 28, 36] = np.nan
    broken = Tomogram(holed, voxel_size=10.0, name="holed")
    far_and_near = crop(broken, Particles.at([[5, 5, 5], [18, 28, 36]]), box=8, voxel_size=10.0)
    assert torch.isfinite(far_and_near[[0]]).all()
    with pytest.raises(ValueError, match=r"holed has NaN .* x = 36.0, y = 28.0, z = 18.0; replace"):
        far_and_near[:]


def test_a_set_is_resampled_about_its_centre():
    z, y, x = np.indices((24, 24, 24)) - 12.0
    ball = torch.from_numpy(np.exp(-0.5 * (z**2 + y**2 + (x - 3) ** 2) / 2.0**2)).float()[None]
    volumes = Subtomograms.from_memory(ball, 10.0, np.array([0]), ("ball",))
    for box, voxel_size in ((24, 10.0), (15, 16.0), (40, 6.0), (32, 10.0)):
        again = resampled(volumes, box=box, voxel_size=voxel_size)
        assert (again.box, again.voxel_size, again.classes) == (box, voxel_size, ("ball",))
        seen = again[:][0].double()
        assert float(seen.mean()) == pytest.approx(0, abs=1e-5)
        bright = (seen - 0.5 * seen.max()).clamp(min=0)
        axis = (torch.arange(box) - box // 2).double() * voxel_size
        centre = [
            float(bright.sum(axes) @ axis / bright.sum()) for axes in ((1, 2), (0, 2), (0, 1))
        ]
        np.testing.assert_allclose(centre, [0, 0, 30], atol=1.0)


@pytest.mark.parametrize("d", [7, 8])
def test_half_turns_are_rotations_about_the_centre(d):
    c = d // 2
    volume = torch.zeros(1, d, d, d)
    volume[0, c + 1, c + 2, c - 3] = 1.0
    turned = half_turned(volume)
    places = [tuple(int(i) - c for i in (t[0] == 1).nonzero()[0]) for t in turned]
    assert places == [(1, 2, -3), (-1, -2, -3), (-1, 2, 3), (1, -2, 3)]


def test_half_turns_leave_the_missing_wedge_where_it_is():
    volume = torch.randn(1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.fftn(volume[0])
    k = torch.fft.fftfreq(12)
    wedge = k[:, None, None].abs() > 1.7 * k.abs()  # about y, in z and x
    spectrum[wedge.expand(12, 12, 12)] = 0
    for turned in half_turned(torch.fft.ifftn(spectrum).real[None]):
        lost = torch.fft.fftn(turned[0])[wedge.expand(12, 12, 12)]
        # But for the highest frequency, which an even box has on one side only.
        assert lost.abs().median() < 1e-4
