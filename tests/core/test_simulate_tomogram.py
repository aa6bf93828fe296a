"""Crowded tomograms: packing, ground truth, noise, and the cached sample."""

from __future__ import annotations

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from napari_cryoshift.core.progress import Progress, finish
from napari_cryoshift.core.simulate.packing import Shell, pack
from napari_cryoshift.core.simulate.sample import sample_tomogram
from napari_cryoshift.core.simulate.specimen import add_particles
from napari_cryoshift.core.simulate.tomogram import CrowdedParams, simulate_tomogram
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.volumes import random_rotations

SMALL = CrowdedParams(
    shape=(32, 72, 80), classes=("2fha", "1mnf"), particles_per_class=6, membranes=1, beads=2
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYOSHIFT_LIBRARY", str(tmp_path / "library"))
    monkeypatch.setenv("CRYOSHIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def with_(params: CrowdedParams, **changes: object) -> CrowdedParams:
    return CrowdedParams(**(params.model_dump() | changes))


def test_no_two_particles_overlap():
    tomogram, truth = finish(simulate_tomogram(SMALL))
    radius = {s.name: s.diameter / 2 for s in map(library().need, SMALL.classes)}
    radii = np.array([radius[label] for label in truth.label])
    apart = squareform(pdist(truth.positions * SMALL.voxel_size)) + 1e9 * np.eye(len(truth))
    assert (apart >= radii[:, None] + radii + SMALL.gap - 1e-6).all()
    # Each lies whole in the tomogram.
    reach = radii[:, None] / SMALL.voxel_size - 1e-6
    assert (truth.positions >= reach).all()
    assert (truth.positions <= np.array(tomogram.shape) - 1 - reach).all()


def test_truth_names_every_particle_and_its_rotation():
    tomogram, truth = finish(simulate_tomogram(SMALL))
    names = [library()[key].name for key in SMALL.classes]
    assert [(truth.label == name).sum() for name in names] == [6, 6]
    assert set(truth.tomogram) == {tomogram.name}
    product = truth.orientations @ truth.orientations.transpose(0, 2, 1)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(truth.orientations), 1, atol=1e-5)


def test_particles_are_where_the_truth_says():
    params = with_(SMALL, classes=("2fha",), particles_per_class=20, membranes=0, beads=0, snr=1e9)
    tomogram, truth = finish(simulate_tomogram(params))
    half = 8
    padded = np.pad(tomogram.data, half)
    offsets = []
    for position in truth.positions:
        base = np.rint(position).astype(int)
        crop = padded[tuple(slice(at, at + 2 * half + 1) for at in base)]
        weights = crop**2
        index = np.indices(crop.shape) - half
        centre = (index * weights).sum(axis=(1, 2, 3)) / weights.sum()
        offsets.append(centre - (position - base))
    np.testing.assert_allclose(np.mean(offsets, axis=0), 0, atol=0.3)


def test_orientation_of_the_truth_turns_the_reference_into_the_particle():
    params = with_(
        SMALL, classes=("1u6g",), particles_per_class=1, membranes=0, beads=0, snr=1e9,
        defocus=0.0, missing_wedge=0.0,
    )  # fmt: skip
    tomogram, truth = finish(simulate_tomogram(params))
    structure = library()["1u6g"]
    reference = structure.at(params.voxel_size, 2 * (int(structure.diameter / 24) + 2))
    # The long axis of the reference (xyz), by the second moments of its density, ...
    index = (np.indices(reference.shape) - len(reference) // 2).reshape(3, -1)[::-1]
    long_axis = np.linalg.eigh((index * reference.ravel()) @ index.T)[1][:, -1]
    # ... and that of the particle in the tomogram, which has dark particles.
    image = np.clip(-tomogram.data, 0, None)
    image[image < 0.1 * image.max()] = 0
    index = (np.indices(image.shape) - truth.positions[0][:, None, None, None]).reshape(3, -1)[::-1]
    seen = np.linalg.eigh((index * image.ravel()) @ index.T)[1][:, -1]
    assert abs(seen @ truth.orientations[0] @ long_axis) > 0.98


def test_particles_are_dark():
    params = with_(SMALL, membranes=0, beads=0, snr=1e9)
    tomogram, truth = finish(simulate_tomogram(params))
    ferritin = truth.positions[truth.label == library()["2fha"].name]
    # The wall of ferritin lies 50 Å from its centre.
    shells = [_shell_mean(tomogram.data, at, 50 / 12) for at in ferritin]
    assert tomogram.dark
    assert np.mean(shells) < tomogram.data.mean() - tomogram.data.std()


def _shell_mean(data: np.ndarray, centre: np.ndarray, radius: float) -> float:
    offsets = np.indices(data.shape) - centre[:, None, None, None]
    distance = np.sqrt((offsets**2).sum(axis=0))
    return float(data[np.abs(distance - radius) < 0.7].mean())


def test_noise_is_what_the_ratio_says():
    clean = finish(simulate_tomogram(with_(SMALL, snr=1e9)))[0].data
    faint = finish(simulate_tomogram(with_(SMALL, snr=0.5)))[0].data - clean
    loud = finish(simulate_tomogram(with_(SMALL, snr=0.05)))[0].data - clean
    assert loud.var() / faint.var() == pytest.approx(10, rel=1e-3)


def test_specimen_scatters_as_much_as_its_particles():
    volume = torch.zeros(64, 64, 64)
    rotations = random_rotations(1, np.random.default_rng(0))
    structures = [library()["2fha"], library()["4v6x"]]
    for structure, centre in zip(structures, ([12.3, 14.0, 11.8], [40.0, 42.5, 41.2]), strict=True):
        add_particles(volume, structure, np.array([centre]), rotations, voxel_size=12.0)
    expected = sum(structure.density.sum() * 8.0**3 for structure in structures)
    assert float(volume.sum()) * 12.0**3 == pytest.approx(expected, rel=0.02)


def test_the_seed_decides():
    first, truth = finish(simulate_tomogram(SMALL))
    again, same = finish(simulate_tomogram(SMALL))
    other, _ = finish(simulate_tomogram(with_(SMALL, seed=1)))
    np.testing.assert_array_equal(first.data, again.data)
    np.testing.assert_array_equal(truth.positions, same.positions)
    assert not np.array_equal(first.data, other.data)


def test_what_cannot_be_packed_is_said_in_a_sentence():
    with pytest.raises(ValueError, match=r"only \d+ of 500 objects fit with gaps of 10 Å"):
        finish(simulate_tomogram(with_(SMALL, particles_per_class=250, membranes=0, beads=0)))
    with pytest.raises(ValueError, match="Å wide but the tomogram measures only 180 Å"):
        finish(simulate_tomogram(with_(SMALL, shape=(16, 80, 80), membranes=0)))
    with pytest.raises(ValueError, match="no '9xyz'"):
        finish(simulate_tomogram(with_(SMALL, classes=("9xyz",))))


def test_shells_keep_their_distance_from_both_sides():
    shell = Shell(np.array([500.0, 500.0, 500.0]), radius=300.0, thickness=60.0)
    centres = finish(
        pack(
            np.full(60, 50.0),
            np.full(3, 1000.0),
            gap=5.0,
            shells=(shell,),
            generator=np.random.default_rng(0),
        )
    )
    distance = np.linalg.norm(centres - shell.centre, axis=1)
    assert (np.abs(distance - 300) >= 50 + 30 + 5 - 1e-6).all()
    assert 0 < (distance < 300).sum() < 60


def test_every_step_reports_and_can_be_the_last():
    job = simulate_tomogram(SMALL)
    first = next(job)
    assert isinstance(first, Progress)
    job.close()
    phases = []
    finish(simulate_tomogram(SMALL), lambda progress: phases.append(progress.phase))
    assert list(dict.fromkeys(phases)) == ["packing particles", "placing particles", "imaging"]


def test_sample_is_made_once_and_read_by_other_programs(own_folders):
    steps: list[Progress] = []
    tomogram, truth = finish(sample_tomogram(SMALL), steps.append)
    assert steps
    steps.clear()
    again, same = finish(sample_tomogram(SMALL), steps.append)
    assert not steps
    np.testing.assert_array_equal(again.data, tomogram.data)
    np.testing.assert_array_equal(same.positions, truth.positions)
    np.testing.assert_array_equal(same.orientations, truth.orientations)
    assert isinstance(tomogram.data, np.memmap)
    with mrcfile.open(tomogram.path) as mrc:
        assert mrc.header.mode == 2
        assert mrc.voxel_size.x == pytest.approx(SMALL.voxel_size)
    table = pd.read_csv(tomogram.path.with_suffix(".csv"))
    np.testing.assert_array_equal(table[["z", "y", "x"]].to_numpy(), truth.positions)
    simulated, expected = finish(simulate_tomogram(SMALL))
    np.testing.assert_array_equal(tomogram.data, simulated.data)
    assert list(truth.label) == list(expected.label)


def test_a_cancelled_sample_leaves_nothing_behind(own_folders):
    job = sample_tomogram(SMALL)
    next(job)
    job.close()
    assert not list((own_folders / "cache").glob("*"))
