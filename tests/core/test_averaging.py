"""Averages of simulated particles, of which the orientation, the place and the shape are known."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.averaging import Average, AveragingParams, average, average_particles
from napari_cryoshift.core.matching import Band, BandParams, Fit, MatchParams, Template, align
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms, subtomogram_truth
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram
from napari_cryoshift.core.volumes import random_rotations

STRUCTURE = library()["1wcm"]
BOX, VOXEL = 20, 16.0
N = 32
PARAMS = AveragingParams(
    diameter=STRUCTURE.diameter,
    resolution=45.0,
    rotation_step=25.0,
    shift=24.0,
    rounds=2,
    defocus=-3.0,
    first_resolution=60.0,
)


@pytest.fixture(scope="module")
def simulated():
    imaged = ImagingParams(
        box=BOX,
        voxel_size=VOXEL,
        snr=(2.0, 2.0),
        snr_convention="power",
        defocus=(-3.0, -3.0),
        resolution=(40.0, 40.0),
        shift=12.0,
    )
    made = simulate_subtomograms([STRUCTURE], imaged, per_class=N, seed=1)
    truth = subtomogram_truth([STRUCTURE], imaged, per_class=N, seed=1)
    rotations = truth[[f"r{i}{j}" for i in range(3) for j in range(3)]].to_numpy()
    shifts = truth[["shift_z", "shift_y", "shift_x"]].to_numpy()
    known = Fit.of_rotations(rotations.reshape(-1, 3, 3))
    known.shifts[:] = shifts
    return Subtomograms.from_memory(made[:], VOXEL), known


def noise(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Subtomograms.from_memory(torch.randn(n, BOX, BOX, BOX, generator=generator), VOXEL)


def likeness(mean, rotation_step=20.0):
    """Correlation of a mean with the structure as the microscope shows it, in any orientation."""
    params = MatchParams(
        resolution=45.0, missing_wedge=0.0, defocus=-3.0, shift=32.0, rotation_step=rotation_step
    )
    volume = Subtomograms.from_memory(torch.from_numpy(mean)[None], VOXEL)
    return float(finish(align(volume, STRUCTURE, params)).score[0])


def likeness_as_it_lies(mean):
    """The same in the orientation of the structure, worked out in real space."""
    band = Band.of(BOX, VOXEL, BandParams(resolution=45.0, missing_wedge=0.0))
    template = Template.of(STRUCTURE, 45.0).rotated(torch.eye(3)[None], band)
    seen = band.volumes(template * PARAMS.transfer(band.radii)[band.radius])[0].numpy()
    ball = np.linalg.norm(np.indices((BOX,) * 3).T - BOX // 2, axis=-1).T * VOXEL < 90
    return np.corrcoef(mean[ball], seen[ball])[0, 1]


def disagreement(found, known):
    """Degrees between orientations, once all of them are turned alike."""
    relative = Rotation.from_matrix(np.swapaxes(known, 1, 2) @ found)
    return np.degrees((relative.mean().inv() * relative).magnitude())


def test_the_mean_in_known_orientations_is_the_structure(simulated):
    volumes, known = simulated
    result = finish(average(volumes, PARAMS.model_copy(update={"rounds": 0}), start=known))
    assert likeness_as_it_lies(result.mean) > 0.95
    assert result.fsc.min() > 0.8
    # Turned the other way round they are a blur.
    wrong = Fit(
        *(getattr(known, name) for name in ("score", "strength")),
        known.rotations.swapaxes(1, 2).copy(),
        known.shifts,
    )
    blur = finish(average(volumes, PARAMS.model_copy(update={"rounds": 0}), start=wrong))
    assert likeness_as_it_lies(blur.mean) < likeness_as_it_lies(result.mean) - 0.2
    np.testing.assert_array_equal(result.fit.rotations, known.rotations)
    assert np.isnan(result.fit.score).all()


def test_a_mean_from_nothing_is_the_structure_and_knows_how_each_particle_lies(simulated):
    volumes, known = simulated
    result = finish(average(volumes, PARAMS))
    assert likeness(result.mean) > 0.75
    # Half sets that were turned onto each other at the end have one orientation in common.
    assert np.median(disagreement(result.fit.rotations, known.rotations)) < 25
    away = np.linalg.norm(result.fit.shifts - known.shifts, axis=1)
    assert np.median(away) < np.median(np.linalg.norm(known.shifts, axis=1))
    assert result.resolution < 70


def test_from_a_structure_particles_come_to_lie_as_they_do(simulated):
    volumes, known = simulated
    result = finish(average(volumes, PARAMS, start=STRUCTURE))
    angles = Rotation.from_matrix(np.swapaxes(known.rotations, 1, 2) @ result.fit.rotations)
    assert np.median(np.degrees(angles.magnitude())) < 20
    assert np.median(np.linalg.norm(result.fit.shifts - known.shifts, axis=1)) < 10
    assert likeness(result.mean) > 0.85
    assert 0 < result.fit.score.min() < result.fit.score.max() < 1


def test_each_frequency_is_divided_by_how_many_particles_have_seen_it():
    # The same volume many times: its mean is itself, whatever the missing wedge has left out.
    box, turned = 16, random_rotations(24, np.random.default_rng(0)).numpy()
    axis = np.indices((box,) * 3) - box // 2
    blob = np.exp(-np.square(axis).sum(0) / (2 * 2.5**2)).astype(np.float32)
    wedge = imaging.missing_wedge((box,) * 3, 30.0)
    seen = torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(blob)) * wedge, s=(box,) * 3)
    params = AveragingParams(diameter=200.0, resolution=45.0, rounds=0)
    volumes = Subtomograms.from_memory(seen.repeat(24, 1, 1, 1), VOXEL)
    mean = finish(average(volumes, params, start=Fit.of_rotations(turned))).mean
    middle = mean[4:-4, 4:-4, 4:-4].ravel()
    whole, cut = (np.asarray(v)[4:-4, 4:-4, 4:-4].ravel() for v in (blob, seen))
    assert np.corrcoef(middle, whole)[0, 1] > 0.995
    assert np.corrcoef(middle, whole)[0, 1] > np.corrcoef(cut, whole)[0, 1]
    # The ball of a particle has no mean, as the frequency 0 is left out of all comparisons.
    slope = np.polyfit(whole, middle, 1)[0]
    assert slope == pytest.approx(1, abs=0.1)


def test_half_sets_of_noise_have_nothing_in_common():
    turned = Fit.of_rotations(random_rotations(8, np.random.default_rng(0)).numpy())
    params = PARAMS.model_copy(update={"rounds": 0})
    # In so small a ball a shell has a handful of independent values, so that one curve says little.
    curves = [finish(average(noise(8, seed), params, start=turned)).fsc for seed in range(16)]
    assert np.abs(np.mean(curves)) < 0.08


def test_half_sets_that_were_aligned_to_themselves_find_nothing_in_noise():
    aligned = {"rounds": 1, "resolution": 36.0, "first_resolution": 70.0, "rotation_step": 40.0}
    params = PARAMS.model_copy(update=aligned)
    found = [finish(average(noise(12, seed), params)) for seed in range(3)]
    # They were turned onto each other by what is coarser than 70 Å.
    fine = np.mean([result.fsc[result.frequency > 1.2 / 70] for result in found])
    assert np.abs(fine) < 0.12


def test_a_structure_leaves_its_mark_on_noise_up_to_the_first_resolution_only():
    params = PARAMS.model_copy(update={"rounds": 1, "first_resolution": 80.0, "resolution": 40.0})
    result = finish(average(noise(64), params, start=STRUCTURE))
    shown = result.frequency <= 1 / 80
    # Einstein from noise: what is aligned to a picture shows it.
    assert result.fsc[shown].mean() > 0.3
    assert result.fsc[result.frequency > 1.3 / 80].mean() < 0.15


def test_the_resolution_is_where_the_curve_falls_below_the_threshold():
    curve = {"frequency": np.array([0.01, 0.02, 0.03]), "fsc": np.array([1.0, 0.243, 0.043])}
    empty = dict.fromkeys(("mean", "halves", "fit", "structure"))
    made = Average(voxel_size=1.0, **empty, **curve)
    assert made.resolution == pytest.approx(1 / 0.025)
    assert Average(voxel_size=1.0, **empty, **(curve | {"fsc": np.zeros(3)})).resolution == np.inf
    assert Average(
        voxel_size=1.0, **empty, **(curve | {"fsc": np.ones(3)})
    ).resolution == pytest.approx(1 / 0.03)


def test_frequencies_are_seen_as_on_the_grid_of_a_box():
    z, y, x = np.meshgrid(*[np.fft.fftfreq(9)] * 2, np.fft.rfftfreq(9), indexing="ij")
    k = torch.from_numpy(np.stack([x, y, z], -1)).float()
    for half, centre in ((30.0, 0.0), (40.0, 12.0), (0.0, 0.0)):
        params = BandParams(missing_wedge=half, tilt_centre=centre)
        mask = imaging.missing_wedge((9, 9, 9), half, tilt_centre=centre) > 0
        torch.testing.assert_close(params.seen(k), mask)
        # A real volume has the same at k and −k.
        torch.testing.assert_close(params.seen(-k)[..., 1:], mask[..., 1:])


def test_particles_of_a_tomogram_begin_with_the_orientations_of_their_list():
    shape, places = (24, 40, 40), [[12, 10, 10], [12, 10, 30], [12, 30, 10], [12, 30, 30]]
    grid = np.stack(np.indices(shape), -1)
    distance = np.linalg.norm(grid[None] - np.array(places)[:, None, None, None], axis=-1).min(0)
    tomogram = Tomogram(-np.exp(-np.square(distance / 4)).astype(np.float32), 20.0, "balls")
    turned = random_rotations(4, np.random.default_rng(0)).numpy().astype(np.float64)
    particles = Particles.at(places, orientations=turned)
    params = AveragingParams(diameter=200.0, rounds=0, shift=0.0)
    result = finish(average_particles(tomogram, particles, params))
    np.testing.assert_allclose(result.fit.rotations, turned, atol=1e-6)
    # No finer than the tomogram allows, and protein is positive.
    assert 1 / result.frequency[-1] == pytest.approx(2.5 * 20, rel=0.1)
    assert result.mean[(result.mean.shape[0] // 2,) * 3] == result.mean.max() > 0


def test_the_same_input_gives_the_same_average_and_it_can_be_stopped(simulated):
    volumes, _ = simulated
    few = volumes.take(np.arange(8))
    params = PARAMS.model_copy(update={"rounds": 1, "rotation_step": 40.0})
    one, other = (finish(average(few, params)) for _ in range(2))
    np.testing.assert_array_equal(one.mean, other.mean)
    job = average(few, params)
    phases = {next(job).phase for _ in range(8)}
    job.close()
    assert "reading the particles" in phases
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n": 3}, "3 particles cannot be split into half sets"),
        ({"diameter": 400.0}, "400 Å wide but the boxes only 320 Å"),
        ({"rounds": 0}, "0 rounds and no orientations"),
        ({"orientations": 5}, "8 particles but 5 orientations"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_a_sentence(change, sentence):
    params = PARAMS.model_copy(
        update={k: v for k, v in change.items() if k in ("diameter", "rounds")}
    )
    start = Fit.of_rotations([np.eye(3)] * 5) if "orientations" in change else None
    with pytest.raises(ValueError, match=sentence):
        finish(average(noise(change.get("n", 8)), params, start=start))
