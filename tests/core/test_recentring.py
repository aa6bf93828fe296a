import numpy as np
import pytest
import torch

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.recentring import RecentreParams, recentre, spherical_shifts
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms, subtomogram_truth
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram

STRUCTURE = library()["3j9i"]
PARAMS = RecentreParams(diameter=STRUCTURE.diameter, largest=50.0)


def displaced(snr, n=64, seed=0, **imaging):
    params = ImagingParams(
        box=20,
        voxel_size=16.0,
        snr=(snr, snr),
        snr_convention="power",
        defocus=(-5.0, -5.0),
        shift=28.0,
        **imaging,
    )
    truth = subtomogram_truth([STRUCTURE], params, per_class=n, seed=seed)
    volumes = simulate_subtomograms([STRUCTURE], params, per_class=n, seed=seed)
    return volumes, truth[["shift_z", "shift_y", "shift_x"]].to_numpy()


def spread(shifts):
    """Root mean square length."""
    return np.sqrt(np.square(shifts).sum(1).mean())


@pytest.mark.parametrize(("snr", "share"), [(10.0, 0.3), (0.1, 0.6)])
def test_particles_of_one_kind_are_centred_on_their_own_mean(snr, share):
    volumes, shifts = displaced(snr)
    found = finish(spherical_shifts(volumes, volumes, PARAMS))
    assert spread(found - shifts) < share * spread(shifts)


def test_centred_examples_centre_the_others():
    volumes, shifts = displaced(1.0)
    examples, _ = displaced(1.0, n=10, seed=1)
    found = finish(spherical_shifts(volumes, examples, PARAMS))
    assert spread(found - shifts) < 0.5 * spread(shifts)


def test_noise_moves_little_and_nothing_moves_farther_than_allowed():
    generator = torch.Generator().manual_seed(0)
    noise = Subtomograms.from_memory(torch.randn(64, 20, 20, 20, generator=generator), 16.0)
    examples, _ = displaced(10.0, n=10)
    found = finish(spherical_shifts(noise, examples, PARAMS))
    assert spread(found) < 0.6 * PARAMS.largest
    assert np.linalg.norm(found, axis=1).max() <= PARAMS.largest


def scene(places, voxel_size=16.0):
    """Dark balls of the diameter in a tomogram."""
    shape = np.array([30, 60, 60])
    grid = np.stack(np.indices(shape), -1)
    distance = np.linalg.norm(grid[None] - np.asarray(places)[:, None, None, None], axis=-1)
    balls = np.clip(STRUCTURE.diameter / 2 / voxel_size + 0.5 - distance.min(0), 0, 1)
    noise = np.random.default_rng(0).standard_normal(shape)
    return Tomogram((0.3 * noise - balls).astype(np.float32), voxel_size, "balls")


PLACES = np.array([[15.0, 15, 15], [15, 15, 44], [14, 44, 16], [16, 45, 44]])


def test_picks_move_onto_their_particles_and_keep_all_else():
    away = np.array([[1.5, 0, 0], [0, -2, 0], [0, 1, 1], [1, 0, -1.5]])
    picks = Particles.at(PLACES + away, score=[4.0, 3, 2, 1], label=["ball", "ball", "", ""])
    moved = finish(recentre(scene(PLACES), picks, picks.take([0, 1]), PARAMS))
    assert spread(moved.positions - PLACES) < 0.5 * spread(away)
    np.testing.assert_array_equal(moved.score, picks.score)
    np.testing.assert_array_equal(moved.label, picks.label)
    assert np.linalg.norm(moved.positions - picks.positions, axis=1).max() * 16 <= PARAMS.largest


def test_a_pick_that_would_leave_the_tomogram_stays():
    # The middle of the ball lies beyond the face.
    tomogram = scene([[-2.0, 30, 30], [15, 15, 15], [15, 45, 45]])
    picks = Particles.at([[0.0, 30, 30], [16, 15, 15], [15, 44, 45]])
    moved = finish(recentre(tomogram, picks, picks.take([1, 2]), PARAMS))
    assert ((moved.positions >= -0.5) & (moved.positions <= np.array(tomogram.shape) - 0.5)).all()
    np.testing.assert_array_equal(moved.positions[0], [0, 30, 30])


def test_an_empty_reference_is_refused_in_a_sentence():
    picks = Particles.at(PLACES)
    with pytest.raises(ValueError, match="0 particles to make a mean of"):
        finish(recentre(scene(PLACES), picks, picks.take([])))
    assert len(finish(recentre(scene(PLACES), picks.take([]), picks, PARAMS))) == 0


def test_it_can_be_stopped():
    volumes, _ = displaced(1.0, n=8)
    job = spherical_shifts(volumes, volumes, PARAMS)
    assert next(job).phase == "reading the particles"
    job.close()
    assert torch.is_grad_enabled()
