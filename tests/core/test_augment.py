import numpy as np
import torch

from napari_cryoshift.core.augment import every_half_turn, half_turns, randomised


def test_a_half_turn_maps_every_frequency_of_the_missing_wedge_on_the_wedge():
    """Axes z, y, x; tilt axis y: what is missing lies near the z axis, symmetric to both planes."""
    side = 15
    z, _, x = np.meshgrid(*[np.arange(side) - side // 2] * 3, indexing="ij")
    wedge = torch.from_numpy((np.abs(x) <= 0.5 * np.abs(z)).astype(np.float32))
    turned = half_turns(wedge.expand(20, -1, -1, -1), np.random.default_rng(0))
    assert (turned == wedge).all()


def test_a_volume_is_turned_not_mirrored_and_all_four_come():
    """A helix-like triple of voxels keeps its handedness: its determinant."""
    offsets = np.array([[1, 2, 3], [2, -1, 1], [3, 1, -2]])
    volume = torch.zeros(9, 9, 9)
    for value, (z, y, x) in enumerate(offsets, 1):
        volume[4 + z, 4 + y, 4 + x] = value
    turned = half_turns(volume.expand(100, -1, -1, -1), np.random.default_rng(0))
    seen = set()
    for one in turned:
        where = np.array([np.argwhere(one.numpy() == value)[0] - 4 for value in (1, 2, 3)])
        assert np.linalg.det(where) == np.linalg.det(offsets)
        seen.add(tuple(where[0]))
    assert len(seen) == 4


def test_the_central_voxel_stays_whether_the_side_is_even_or_odd():
    for side in (8, 9):
        volume = torch.zeros(side, side, side)
        volume[(side // 2,) * 3] = 1
        assert (half_turns(volume.expand(40, -1, -1, -1), np.random.default_rng(0)) == volume).all()
        assert (every_half_turn(volume[None]) == volume).all()


def test_a_randomised_volume_keeps_its_missing_wedge_and_is_each_time_another():
    side, generator = 16, np.random.default_rng(0)
    axis = np.fft.fftfreq(side)
    z, _, x = np.meshgrid(axis, axis, axis, indexing="ij")
    wedge = torch.from_numpy(np.abs(x) < 0.5 * np.abs(z))
    spectrum = torch.fft.fftn(torch.randn(side, side, side, generator=torch.manual_seed(0)))
    volume = torch.fft.ifftn(spectrum.masked_fill(wedge, 0)).real
    changed = randomised(volume.expand(8, -1, -1, -1), generator)
    power = torch.fft.fftn(changed, dim=(1, 2, 3)).abs().square()
    assert (power[:, wedge].sum(1) < 1e-8 * power.sum((1, 2, 3))).all()
    likeness = torch.corrcoef(changed.flatten(1)) - torch.eye(8)
    assert likeness.max() < 0.99
    again = randomised(volume.expand(8, -1, -1, -1), np.random.default_rng(0))
    assert torch.equal(changed, again)


def test_a_randomised_volume_is_moved_by_at_most_two_voxels_and_has_more_noise():
    side = 12
    volumes = torch.zeros(60, side, side, side)
    volumes[:, 6, 6, 6] = 1
    changed = randomised(volumes, np.random.default_rng(0))
    places = np.array([np.unravel_index(int(v.argmax()), (side,) * 3) for v in changed]) - 6
    assert places.min() == -2
    assert places.max() == 2
    # The delta has its power in one voxel; noise of at most that power is spread over all.
    noise = torch.tensor(
        [
            torch.roll(v, tuple(-p), (0, 1, 2))[:3].std()
            for v, p in zip(changed, places, strict=True)
        ]
    )
    assert noise.max() > 3 * noise.min()
    assert (noise < 5 / side**1.5).all()
