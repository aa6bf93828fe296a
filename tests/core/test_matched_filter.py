import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.matching import (
    Band,
    BandParams,
    MatchParams,
    Template,
    TemplateMatchingParams,
    align,
    match_particles,
    match_tomogram,
    matched_filter,
    rotation_grid,
    shift_grid,
    standard_scores,
)
from napari_cryoshift.core.matching import windows as windows_module
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms, subtomogram_truth
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram
from napari_cryoshift.core.volumes import random_rotations, sample_rotated

BOX, VOXEL = 20, 16.0
STRUCTURES = [library()[key] for key in ("1wcm", "3j9i", "1qvr")]
IMAGED = ImagingParams(
    box=BOX,
    voxel_size=VOXEL,
    snr=(1.0, 1.0),
    snr_convention="power",
    defocus=(-5.0, -5.0),
    resolution=(40.0, 40.0),
    shift=10.0,
)
OPTICS = {"defocus": -5.0, "rotation_step": 30.0}


@pytest.fixture(scope="module")
def volumes():
    simulated = simulate_subtomograms(STRUCTURES, IMAGED, per_class=12, seed=1)
    return Subtomograms.from_memory(simulated[:], VOXEL, simulated.labels, simulated.classes)


def angles(a, b):
    """Degrees between rotations (n, 3, 3)."""
    return np.degrees((Rotation.from_matrix(a).inv() * Rotation.from_matrix(b)).magnitude())


def planted(shape, voxel_size, places, rotations, structure, noise, seed=0):
    """Dark particles in white noise, seen without the missing wedge, low-passed to 40 Å."""
    volume = torch.zeros(shape)
    box = 2 * int(np.ceil(structure.diameter / 2 / voxel_size + 1))
    for place, rotation in zip(places, rotations, strict=True):
        middle = np.round(place).astype(int)
        particle = sample_rotated(
            torch.from_numpy(structure.density),
            torch.from_numpy(rotation).float()[None],
            box=box,
            step=voxel_size / structure.voxel_size,
            shifts=torch.tensor(place - middle)[None].float(),
        )[0]
        corner = middle - box // 2
        volume[tuple(slice(c, c + box) for c in corner)] += particle
    volume /= volume[volume > 0.05 * volume.max()].std()
    generator = np.random.default_rng(seed)
    volume += noise * torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    k = imaging.radius(shape, voxel_size)
    passed = imaging.missing_wedge(shape, 30.0) * (k < 1 / 40)
    seen = torch.fft.irfftn(torch.fft.rfftn(volume) * passed, s=shape)
    return Tomogram(-seen.numpy(), voxel_size, "planted")


# Rotations and shifts


@pytest.mark.parametrize("step", [40.0, 30.0, 20.0])
def test_the_grid_covers_all_rotations_evenly(step):
    grid = rotation_grid(step).double().numpy()
    assert len(grid) == round(8 * np.pi**2 / np.radians(step) ** 3)
    np.testing.assert_allclose(
        grid @ grid.swapaxes(1, 2), np.eye(3)[None].repeat(len(grid), 0), atol=1e-6
    )
    quaternions = Rotation.from_matrix(grid).as_quat()
    anywhere = Rotation.random(2000, rng=np.random.default_rng(0)).as_quat()
    nearest = 2 * np.degrees(np.arccos(np.abs(anywhere @ quaternions.T).max(1).clip(max=1)))
    assert nearest.max() < step
    assert nearest.mean() < 0.55 * step


def test_shifts_are_those_of_a_cubic_grid_within_a_ball():
    shifts = shift_grid(18.0, 12.0).numpy()
    assert len(shifts) == 1 + 6 + 12  # the centre, the faces and the edges of a cube
    assert np.linalg.norm(shifts, axis=1).max() == pytest.approx(12 * 2**0.5)
    np.testing.assert_array_equal(shift_grid(0.0, 12.0).numpy(), [[0, 0, 0]])


# Templates


def test_a_band_keeps_what_the_resolution_and_the_wedge_leave():
    params = BandParams(resolution=50.0, missing_wedge=30.0)
    band = Band.of(BOX, VOXEL, params)
    volume = torch.randn(2, BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
    shape = (BOX,) * 3
    passed = imaging.missing_wedge(shape, 30.0) * (imaging.radius(shape, VOXEL) <= 1 / 50)
    passed[0, 0, 0] = 0
    spectrum = torch.fft.rfftn(volume, dim=(1, 2, 3)) * passed
    expected = torch.fft.irfftn(spectrum, s=shape, dim=(1, 2, 3))
    torch.testing.assert_close(band.volumes(band.spectra(volume)), expected, atol=1e-5, rtol=0)


def test_a_template_is_the_rotated_density():
    structure = STRUCTURES[0]
    rotations = random_rotations(4, np.random.default_rng(0))
    band = Band.of(BOX, VOXEL, BandParams(missing_wedge=0.0, resolution=50.0))
    template = Template.of(structure, 50.0).rotated(rotations, band)
    # Sampled finely, then brought to the voxels of the band by leaving out high frequencies.
    fine = sample_rotated(
        torch.from_numpy(structure.density), rotations, box=4 * BOX, step=VOXEL / 4 / 8.0
    )
    spectra = Band.of(4 * BOX, VOXEL / 4, BandParams(missing_wedge=0.0, resolution=50.0)).spectra(
        fine
    )
    assert spectra.shape == template.shape
    same = (spectra.conj() * template).real.sum(1) / spectra.norm(dim=1) / template.norm(dim=1)
    assert same.min() > 0.998


# The matched filter


def test_volumes_fit_their_own_structure_best(volumes):
    scores = finish(matched_filter(volumes, STRUCTURES, MatchParams(**OPTICS), device="cpu"))
    assert scores.shape == (36, 3)
    assert np.abs(scores).max() <= 1
    assert (standard_scores(scores).argmax(1) == volumes.labels).mean() > 0.95


def test_the_score_is_the_normalised_correlation_of_whitened_volume_and_template(volumes):
    params = MatchParams(**OPTICS, shift=0.0)
    noise = np.linspace(1.0, 2.0, 9)
    found = finish(align(volumes, STRUCTURES[0], params, noise=noise, device="cpu"))
    band = Band.of(BOX, VOXEL, params)
    power = torch.from_numpy(np.interp(band.radii * BOX * VOXEL, np.arange(9), noise)).float()
    template = Template.of(STRUCTURES[0], params.resolution).rotated(
        torch.from_numpy(found.rotations), band
    )
    seen = template * (params.transfer(band.radii) / power.sqrt())[band.radius]
    whitened = band.spectra(volumes[:]) / power.sqrt()[band.radius]
    by_hand = (whitened * seen.conj()).real.sum(1) / whitened.norm(dim=1) / seen.norm(dim=1)
    np.testing.assert_allclose(found.score, by_hand, atol=0.03)


def test_grey_values_may_be_scaled_and_offset(volumes):
    params = MatchParams(**OPTICS)
    scaled = Subtomograms.from_memory(3 * volumes[:] + 7, VOXEL)
    first, second = (
        finish(matched_filter(v, STRUCTURES, params, device="cpu")) for v in (volumes, scaled)
    )
    np.testing.assert_allclose(first, second, atol=1e-2)


def test_a_volume_is_compared_under_its_own_defocus():
    imaged = IMAGED.model_copy(update={"defocus": (-12.0, -8.0), "snr": (100.0, 100.0)})
    one = STRUCTURES[:1]
    simulated = simulate_subtomograms(one, imaged, per_class=24, seed=5)
    defocus = subtomogram_truth(one, imaged, per_class=24, seed=5)["defocus"]
    params = MatchParams(**OPTICS)
    known = finish(matched_filter(simulated, one, params, defocus=defocus, device="cpu"))
    common = finish(matched_filter(simulated, one, params, device="cpu"))
    assert known.mean() > common.mean() + 0.1


def test_alignment_finds_rotation_and_shift():
    imaged = IMAGED.model_copy(update={"shift": 24.0})
    truth = subtomogram_truth(STRUCTURES[:1], imaged, per_class=24, seed=2)
    simulated = simulate_subtomograms(STRUCTURES[:1], imaged, per_class=24, seed=2)
    params = MatchParams(defocus=-5.0, rotation_step=20.0, shift=42.0, shift_step=8.0)
    fit = finish(align(simulated, STRUCTURES[0], params, device="cpu"))
    shifts = truth[["shift_z", "shift_y", "shift_x"]].to_numpy()
    assert np.median(np.linalg.norm(fit.shifts - shifts, axis=1)) < 8
    rotations = truth[[f"r{i}{j}" for i in range(3) for j in range(3)]].to_numpy()
    assert np.median(angles(fit.rotations, rotations.reshape(-1, 3, 3))) < 20


def test_it_can_be_stopped_and_says_how_far_it_is(volumes):
    job = matched_filter(volumes, STRUCTURES, MatchParams(**OPTICS), device="cpu")
    assert next(job).total > 0
    job.close()
    assert torch.is_grad_enabled()


def test_bad_input_is_refused_in_a_sentence(volumes):
    with pytest.raises(ValueError, match="0 structures"):
        finish(matched_filter(volumes, [], MatchParams()))
    with pytest.raises(ValueError, match="36 volumes but 5 defoci"):
        finish(matched_filter(volumes, STRUCTURES, defocus=[-5.0] * 5))
    with pytest.raises(ValueError, match="only 320 Å; give larger volumes"):
        finish(matched_filter(volumes, [library()["4v6x"]], MatchParams()))
    with pytest.raises(ValueError, match="shows nothing at a resolution of 400 Å"):
        finish(matched_filter(volumes, STRUCTURES, MatchParams(resolution=400.0)))
    with pytest.raises(ValueError, match="above 0°"):
        rotation_grid(0.0)


# Template matching


PLACES = np.array([[11.3, 12.0, 13.2], [13.0, 34.6, 14.0], [12.1, 24.4, 35.0]])


@pytest.fixture(scope="module")
def scene():
    rotations = random_rotations(len(PLACES), np.random.default_rng(3)).double().numpy()
    return planted((25, 46, 48), 18.0, PLACES, rotations, STRUCTURES[0], 0.5), rotations


def found_in(tomogram, **params):
    given = {"rotation_step": 40.0, **params}
    params = TemplateMatchingParams(**given)
    return finish(match_tomogram(tomogram, STRUCTURES[0], params, device="cpu"))


def nearest(found, places):
    """Row of the found particle nearest to each place, and the distance."""
    distance = np.linalg.norm(found.positions[None] - places[:, None], axis=-1)
    return distance.argmin(1), distance.min(1)


@pytest.mark.parametrize("whiten", [True, False])
def test_planted_particles_come_first_at_their_places_and_rotations(scene, whiten):
    tomogram, rotations = scene
    found = found_in(tomogram, whiten=whiten, rotation_step=30.0)
    rows, distance = nearest(found, PLACES)
    assert sorted(rows) == [0, 1, 2]
    assert distance.max() < 0.7
    assert angles(found.orientations[rows], rotations).max() < 30
    assert np.all(np.diff(found.score) <= 0)
    assert found.score[0] <= 1


def test_the_particle_alone_correlates_almost_perfectly():
    rotation = rotation_grid(40.0)[77:78].double().numpy()
    tomogram = planted((24, 24, 24), 18.0, np.array([[12.0, 12, 12]]), rotation, STRUCTURES[0], 0.0)
    found = found_in(tomogram, whiten=False, envelope=0.0)
    assert found.score[0] > 0.95
    np.testing.assert_allclose(found.positions[0], 12, atol=0.2)
    assert angles(found.orientations[:1], rotation)[0] < 1


def test_windows_give_what_the_whole_gives(scene, monkeypatch):
    tomogram, _ = scene
    whole = found_in(tomogram)
    monkeypatch.setattr(windows_module, "_SIDE", 16)
    tiled = found_in(tomogram)
    rows, distance = nearest(tiled, whole.positions[:3])
    assert distance.max() < 0.2
    np.testing.assert_allclose(tiled.score[rows], whole.score[:3], atol=0.03)


def test_fine_tomograms_are_averaged_over_blocks():
    rotations = random_rotations(1, np.random.default_rng(4)).double().numpy()
    place = np.array([[24.0, 23.0, 26.0]])
    tomogram = planted((51, 50, 52), 9.0, place, rotations, STRUCTURES[0], 0.5)
    found = found_in(tomogram)
    assert np.linalg.norm(found.positions[0] - place[0]) < 1.2
    assert angles(found.orientations[:1], rotations)[0] < 40


def test_grey_values_sign_and_scale_do_not_matter(scene):
    tomogram, _ = scene
    other = Tomogram(5 - 40 * tomogram.data, 18.0, "light", dark=False)
    first, second = (found_in(each, rotation_step=60.0) for each in (tomogram, other))
    np.testing.assert_allclose(first.positions[:3], second.positions[:3], atol=0.05)
    np.testing.assert_allclose(first.score[:3], second.score[:3], atol=1e-3)


def test_each_read_is_small_whatever_the_tomogram(scene, monkeypatch):
    tomogram, _ = scene
    monkeypatch.setattr(windows_module, "_SIDE", 16)
    sizes = []

    class Recorded:
        shape = tomogram.shape

        def __getitem__(self, index):
            part = tomogram.data[index]
            sizes.append(max(part.shape))
            return part

    job = match_tomogram(
        Tomogram(Recorded(), 18.0, "recorded"),
        STRUCTURES[0],
        TemplateMatchingParams(rotation_step=60.0),
        device="cpu",
    )
    finish(job)
    assert max(sizes) < max(tomogram.shape)


def test_no_two_places_are_nearer_than_asked_and_no_more_than_asked(scene):
    tomogram, _ = scene
    found = found_in(tomogram, rotation_step=60.0, min_distance=0.8, max_count=9)
    assert len(found) <= 9
    between = np.linalg.norm(found.positions[None] - found.positions[:, None], axis=-1) * 18.0
    assert between[~np.eye(len(found), dtype=bool)].min() > 0.8 * STRUCTURES[0].diameter


def test_tomograms_that_cannot_be_searched_are_refused_in_a_sentence():
    noise = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    with pytest.raises(ValueError, match="voxels of 100 Å wide"):
        found_in(Tomogram(noise, 100.0, "coarse"))
    with pytest.raises(ValueError, match="Å thick"):
        found_in(Tomogram(noise[:4], 18.0, "thin"))
    with pytest.raises(ValueError, match="same value everywhere"):
        found_in(Tomogram(np.ones((40, 40, 40), np.float32), 18.0, "flat"))
    noise[20, 20, 20] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        found_in(Tomogram(noise, 18.0, "holed"))


def test_particles_of_a_list_are_fitted_and_moved(scene):
    tomogram, rotations = scene
    away = np.array([[1.0, -1.0, 1.0], [0, 2, 0], [-1, 0, 1]])
    particles = Particles.at(PLACES + away, label="a", score=1.0)
    params = MatchParams(rotation_step=30.0, shift=54.0, shift_step=9.0)
    fitted = finish(match_particles(tomogram, particles, STRUCTURES[0], params))
    assert np.linalg.norm(fitted.positions - PLACES, axis=1).max() < 0.7
    assert angles(fitted.orientations, rotations).max() < 30
    assert (fitted.score > 0.3).all()
    assert list(fitted.label) == ["a"] * 3


def test_strength_is_contrast_in_standard_deviations_of_the_noise():
    structure, n = STRUCTURES[0], 40
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, BOX, BOX, BOX, generator=generator)
    params = MatchParams(**OPTICS, missing_wedge=0.0, shift=0.0, envelope=0.0)
    band = Band.of(BOX, VOXEL, params)
    rotation = rotation_grid(30.0)[:1]
    seen = Template.of(structure, params.resolution).rotated(rotation, band)
    seen = seen * params.transfer(band.radii)[band.radius]
    # Of unit norm in noise of unit variance, of which a spectrum has the power of its voxels.
    particle = band.volumes(seen / seen.abs().square().sum().sqrt() * BOX**1.5)[0]
    contrast = torch.tensor([0.0, 20.0, 40.0]).repeat_interleave(n)[:, None, None, None] / 2**0.5
    white = np.full(BOX, float(BOX**3), np.float32)

    def fit(volumes):
        some = Subtomograms.from_memory(volumes, VOXEL)
        return finish(align(some, structure, params, noise=white))

    found = fit(noise.repeat(3, 1, 1, 1) + contrast * particle)
    none, weak, strong = found.strength.reshape(3, n).mean(1)
    # Of noise alone it is the largest of many values from a normal distribution.
    assert 1 < none < 5
    # The templates are kept to 97 % of their power.
    assert weak == pytest.approx(20, rel=0.05)
    assert strong == pytest.approx(40, rel=0.05)
    assert found.strength.reshape(3, n)[2].std() == pytest.approx(1, abs=0.35)
    scaled = Subtomograms.from_memory(noise + particle, VOXEL)
    listed = {
        name: finish(matched_filter(scaled, [structure], params, measure=name, noise=white))[:, 0]
        for name in ("score", "strength")
    }
    both = finish(align(scaled, structure, params, noise=white))
    np.testing.assert_allclose(listed["score"], both.score, atol=0.02)
    np.testing.assert_allclose(listed["strength"], both.strength, rtol=0.05, atol=0.1)
