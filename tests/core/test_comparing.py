"""Comparing particles with the known structures: once, and the same in any company."""

import numpy as np
import pytest
import torch

from napari_cryoshift.core import comparing
from napari_cryoshift.core.comparing import compare, known_structures
from napari_cryoshift.core.matching import MatchParams, matched_filter
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.volumes import crop, random_rotations, sample_rotated

KEYS = ("3j9i", "2fha", "1igt")
QUICK = MatchParams(rotation_step=45.0, defocus=-4.0)
PLACES = np.array([(20, y, x) for y in (22, 62) for x in (22, 62, 102)], dtype=float)


@pytest.fixture(autouse=True)
def few_structures(monkeypatch):
    monkeypatch.setattr(comparing, "known_structures", lambda: [library()[key] for key in KEYS])


@pytest.fixture(scope="module")
def scene():
    """Three proteasomes, then three ferritins, in noise; protein dark."""
    volume = np.random.default_rng(0).normal(size=(40, 84, 124)).astype(np.float32)
    turned = random_rotations(len(PLACES), np.random.default_rng(1))
    for row, (z, y, x) in enumerate(PLACES.astype(int)):
        density = torch.from_numpy(library()[KEYS[row // 3]].density)
        one = sample_rotated(density, turned[row : row + 1], box=24, step=1.25)[0].numpy()
        volume[z - 12 : z + 12, y - 12 : y + 12, x - 12 : x + 12] -= 3 * one / one.std()
    return Tomogram(volume, 10.0, "scene"), Particles.at(PLACES)


def test_each_particle_fits_its_own_structure_best(scene):
    tomogram, particles = scene
    scores = finish(compare(tomogram, particles, QUICK))
    assert scores.shape == (6, 3)
    assert scores.dtype == np.float32
    assert (scores.argmax(1) == np.repeat([0, 1], 3)).all()


def test_it_is_the_matched_filter(scene):
    tomogram, particles = scene
    volumes = crop(tomogram, particles, box=24, voxel_size=16.0)
    noise = finish(comparing._noise(tomogram, QUICK))
    structures = comparing.known_structures()
    expected = finish(matched_filter(volumes, structures, QUICK, noise=noise))
    np.testing.assert_allclose(finish(compare(tomogram, particles, QUICK)), expected, atol=1e-5)


def test_a_particle_has_the_same_scores_in_any_company(scene):
    tomogram, particles = scene
    together = finish(compare(tomogram, particles, QUICK))
    alone = finish(compare(tomogram, particles.take([4]), QUICK))
    # Half precision, where the processor has it.
    np.testing.assert_allclose(alone[0], together[4], atol=5e-3)


def test_what_the_cache_holds_is_not_compared_again(scene, tmp_path, monkeypatch):
    tomogram, particles = scene
    asked = []

    def counting(volumes, *args, **kwargs):
        asked.append(len(volumes))
        return matched_filter(volumes, *args, **kwargs)

    monkeypatch.setattr(comparing, "matched_filter", counting)
    first = finish(compare(tomogram, particles.take([0, 1, 2, 3]), QUICK, tmp_path))
    second = finish(compare(tomogram, particles.take([5, 3, 2]), QUICK, tmp_path))
    assert asked == [4, 1]
    np.testing.assert_array_equal(second[1:], first[[3, 2]])
    finish(compare(tomogram, particles, QUICK.model_copy(update={"defocus": -5.0}), tmp_path))
    monkeypatch.setattr(comparing, "known_structures", lambda: [library()["2fha"]])
    assert finish(compare(tomogram, particles, QUICK, tmp_path)).shape == (6, 1)
    assert asked == [4, 1, 6, 6]
    assert len({file.suffix for file in tmp_path.iterdir()}) == 1


def test_a_job_that_is_stopped_keeps_whole_portions(scene, tmp_path, monkeypatch):
    tomogram, particles = scene
    monkeypatch.setattr(comparing, "_PORTION", 4)
    job = compare(tomogram, particles, QUICK, tmp_path)
    seen = [next(job)]
    while seen[-1].phase != "comparing with the structures" or seen[-1].step <= 4:
        seen.append(next(job))
    job.close()
    assert (seen[-1].step, seen[-1].total) == (6, 6)  # counted on, over the portions
    phases = [progress.phase for progress in compare(tomogram, particles, QUICK, tmp_path)]
    # Of the two that are left, and no more.
    assert phases.count("comparing with the structures") == 1
    assert torch.is_grad_enabled()


def test_a_coarse_tomogram_is_compared_at_what_it_resolves(scene, monkeypatch):
    asked = []

    def noting(volumes, structures, params, noise):
        asked.append(params.resolution)
        return matched_filter(volumes, structures, params, noise=noise)

    monkeypatch.setattr(comparing, "matched_filter", noting)
    fine, particles = scene
    coarse = Tomogram(fine.data, 30.0, "coarse")
    for tomogram in (fine, coarse):
        assert np.isfinite(finish(compare(tomogram, particles.take([0]), QUICK))).all()
    assert asked == [40.0, 75.0]


def test_bad_positions_are_refused_and_none_are_no_rows(scene):
    tomogram, particles = scene
    with pytest.raises(ValueError, match="1 of 1 positions lie outside the tomogram"):
        finish(compare(tomogram, Particles.at([[999, 0, 0]]), QUICK))
    assert finish(compare(tomogram, particles.take([]), QUICK)).shape == (0, 3)


def test_the_known_structures_fit_into_the_boxes():
    known = known_structures()
    assert {"4v6x", "3j9i"} <= {structure.id for structure in known}
    assert max(structure.diameter for structure in known) <= 24 * 16.0
