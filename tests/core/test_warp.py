import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_cryoshift.core.networks.warp import WarpNetwork, unit_range


@pytest.fixture
def volumes():
    return torch.from_numpy(np.random.default_rng(0).random((3, 16, 16, 16), dtype=np.float32))


def network(**changes):
    torch.manual_seed(0)
    return WarpNetwork(16, 4, **changes)


def blow_up(decoder, seed=1):
    """Let a decoder give numbers far beyond any bound."""
    torch.manual_seed(seed)
    with torch.no_grad():
        decoder.last[-1].weight.normal_(std=100)
        decoder.last[-1].bias.normal_(std=100)


def test_the_encoder_is_that_of_the_published_code():
    with torch.device("meta"):
        warper = WarpNetwork(40)
        assert sum(p.numel() for p in warper.encoder.parameters()) == 2_105_280
        maps = torch.empty(2, 1, 40, 40, 40)
        for stage in warper.encoder:
            maps = stage(maps)
    assert maps.shape == (2, 256, 5, 5, 5)  # the bottleneck of section 2.3


def test_noise_stays_within_its_bound_and_the_volume_within_its_range(volumes):
    warper = network(distortion=0)
    blow_up(warper.noise_decoder)
    change = (warper(volumes) - volumes).detach()
    assert change.abs().max() <= 0.1 + 1e-6
    assert change.max() > 0.09
    assert change.min() < -0.09
    assert warper(torch.ones(2, 16, 16, 16)).max() <= 1
    assert warper(torch.zeros(2, 16, 16, 16)).min() >= 0


def test_displacements_stay_within_their_bound():
    warper = network(distortion=0.2)
    for wild in (torch.full((2, 3, 16, 16, 16), 1e4), 1e4 * torch.randn(2, 3, 16, 16, 16)):
        displacement = warper.displacement(wild, torch.ones(2, 3))
        assert displacement.abs().max() <= 0.2 + 1e-6
    saturated = warper.displacement(torch.full((1, 3, 16, 16, 16), 1e4), torch.ones(1, 3))
    torch.testing.assert_close(saturated[..., 8, 8, 8], torch.full((1, 3), 0.2))


def test_the_displacement_is_smoothed_by_a_centred_gaussian_of_sum_1():
    """Eq. 1, by the Gaussian of SciPy: 7 voxels, a sigma of 1, each axis scaled by its alpha."""
    generator = np.random.default_rng(0)
    grid = generator.normal(size=(1, 3, 16, 16, 16))
    alpha = np.array([[0.2, 0.5, 0.9]])
    bounded = 0.2 * (2 / (1 + np.exp(-grid)) - 1)
    smooth = [ndimage.gaussian_filter(b, 1.0, radius=3, mode="constant") for b in bounded[0]]
    found = network().displacement(torch.from_numpy(grid), torch.from_numpy(alpha))
    expected = np.stack(smooth)[None] * alpha[..., None, None, None]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("axis", "dim"), [(0, -1), (1, -2), (2, -3)])
def test_a_displacement_of_one_voxel_moves_the_volume_by_one(volumes, axis, dim):
    """Eq. 2 along x, y and z: the result at v is the volume at v + displacement."""
    warper = network(noise=0, distortion=1.0)
    with torch.no_grad():
        for parameter in (*warper.grid_decoder.last[-1].parameters(), *warper.alpha.parameters()):
            parameter.zero_()
        warper.grid_decoder.last[-1].bias[axis] = 100.0  # saturated: one voxel
        warper.alpha[2].bias.fill_(100.0)  # and an alpha of 1
    inner = slice(4, 12)  # beyond the reach of the smoothing from the border
    found = warper(volumes)[:, inner, inner, inner]
    torch.testing.assert_close(found, volumes.roll(-1, dim)[:, inner, inner, inner])


def test_without_displacement_nothing_moves(volumes):
    warper = network(noise=0)
    with torch.no_grad():
        for parameter in warper.grid_decoder.last[-1].parameters():
            parameter.zero_()
    torch.testing.assert_close(warper(volumes), volumes, atol=1e-5, rtol=0)


def test_half_precision_does_not_move_voxels(volumes):
    warper = network(noise=0)
    with torch.no_grad():
        for parameter in warper.grid_decoder.last[-1].parameters():
            parameter.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(warper(volumes), volumes, atol=1e-5, rtol=0)


def test_the_gradient_reaches_every_part(volumes):
    warper = network()
    (warper(volumes) - volumes).square().sum().backward()
    for name, parameter in warper.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
    for part in (warper.encoder, warper.noise_decoder, warper.grid_decoder, warper.alpha):
        assert sum(p.grad.abs().sum() for p in part.parameters()) > 0
    assert warper.grid_decoder.last[-1].weight.grad.abs().min() > 0


def test_a_bound_of_0_leaves_the_module_out(volumes):
    noisy, bent = network(distortion=0), network(noise=0)
    assert not any(name.startswith(("grid", "alpha")) for name in noisy.state_dict())
    assert not any(name.startswith("noise") for name in bent.state_dict())
    assert not torch.equal(noisy(volumes), volumes)
    assert not torch.equal(bent(volumes), volumes)


def test_passes_over_the_same_batch_are_the_same(volumes):
    warper = network()
    torch.testing.assert_close(warper(volumes), warper(volumes), rtol=0, atol=0)


@pytest.mark.parametrize("box", [16, 20, 27, 28])
def test_any_box_is_taken(box):
    volumes = torch.rand(2, box, box, box)
    warped = WarpNetwork(box, 4)(volumes)
    assert warped.shape == volumes.shape
    assert (warped - volumes).abs().max() > 0


def test_unit_range_is_from_0_to_1_in_each_volume_and_survives_a_constant():
    volumes = torch.randn(4, 5, 5, 5) * torch.tensor([1.0, 20, 3, 0]).reshape(4, 1, 1, 1)
    scaled = unit_range(volumes)
    torch.testing.assert_close(scaled.amin((1, 2, 3)), torch.zeros(4))
    torch.testing.assert_close(scaled.amax((1, 2, 3)), torch.tensor([1.0, 1, 1, 0]))
    kept = torch.corrcoef(torch.stack([volumes[0].flatten(), scaled[0].flatten()]))[0, 1]
    assert float(kept) == pytest.approx(1, abs=1e-6)
