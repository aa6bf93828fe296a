"""Crowded tomograms: specimen, ground truth, noise, missing wedge, and the cached sample."""

from __future__ import annotations

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage

from napari_cryoshift.core.progress import Progress, finish
from napari_cryoshift.core.simulate.sample import sample_tomogram
from napari_cryoshift.core.simulate.tomogram import (
    CrowdedParams,
    CrowdedTomogram,
    simulate_tomogram,
)
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.volumes import sample_rotated

SMALL = CrowdedParams(
    shape=(36, 72, 80), classes=("2fha", "1mnf"), particles_per_class=6, membranes=1, beads=2
)
BARE = {"membranes": 0, "beads": 0, "snr": 1e9}


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYOSHIFT_LIBRARY", str(tmp_path / "library"))
    monkeypatch.setenv("CRYOSHIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def with_(params: CrowdedParams, **changes: object) -> CrowdedParams:
    return CrowdedParams(**(params.model_dump() | changes))


@pytest.fixture(scope="module")
def small() -> CrowdedTomogram:
    return finish(simulate_tomogram(SMALL))


def alone(simulated: CrowdedTomogram, row: int, params: CrowdedParams) -> np.ndarray:
    """The density of one particle in an empty tomogram, turned and moved as the truth says."""
    truth = simulated.particles
    (structure,) = (s for s in map(library().need, params.classes) if s.name == truth.label[row])
    side = max(params.shape) + 1
    moved = truth.positions[row] - side // 2
    turned = sample_rotated(
        torch.from_numpy(structure.density),
        torch.from_numpy(truth.orientations[row]).float()[None],
        box=side,
        step=params.voxel_size / structure.voxel_size,
        shifts=torch.from_numpy(moved[None]).float(),
    )[0].numpy()
    return turned[tuple(slice(0, n) for n in params.shape)]


def test_truth_names_every_particle_and_its_rotation(small):
    truth = small.particles
    assert small.names == tuple(library()[key].name for key in SMALL.classes)
    assert [(truth.label == name).sum() for name in small.names] == [6, 6]
    assert set(truth.tomogram) == {small.tomogram.name}
    product = truth.orientations @ truth.orientations.transpose(0, 2, 1)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(truth.orientations), 1, atol=1e-5)


def test_occupancy_is_where_the_density_of_each_particle_is(small):
    for row in range(len(small.particles)):
        density = alone(small, row, SMALL)
        body = small.occupancy == row + 1
        # The body is filled, and holds what is dense; hardly any of it is far from the density.
        assert density[body].sum() > 0.6 * density.sum()
        assert body[density > 0.7 * density.max()].all()
        near = ndimage.binary_dilation(density > 0.25 * density.max())
        assert ndimage.binary_fill_holes(near)[body].all()


def test_a_body_has_the_volume_of_its_protein():
    params = with_(SMALL, classes=("1u6g",), particles_per_class=3, voxel_size=8.0, **BARE)
    simulated = finish(simulate_tomogram(params))
    # CAND1-CUL1-ROC1 encloses next to nothing.
    expected = library()["1u6g"].mass_kda * 1000 * 1.21
    volumes = np.bincount(simulated.occupancy.ravel())[1:] * 8.0**3
    np.testing.assert_allclose(volumes, expected, rtol=0.15)


def test_class_volume_and_occupancy_tell_the_same(small):
    assert small.classes.dtype == np.int16
    assert small.occupancy.dtype == np.int32
    np.testing.assert_array_equal(small.classes > 0, small.occupancy > 0)
    for row, label in enumerate(small.particles.label):
        own = small.occupancy == row + 1
        assert (small.classes[own] == 1 + small.names.index(label)).all()
        assert own.any()
    assert small.occupancy.max() == len(small.particles)


def test_bodies_keep_the_gap():
    params = with_(SMALL, gap=30.0, membranes=0, beads=0)
    simulated = finish(simulate_tomogram(params))
    for row in range(len(simulated.particles)):
        own = simulated.occupancy == row + 1
        others = (simulated.occupancy > 0) & ~own
        distance = ndimage.distance_transform_edt(~own) * params.voxel_size
        assert distance[others].min() > params.gap


def test_nothing_but_particles_carries_a_label():
    filled = with_(SMALL, membranes=2, beads=6, crowding=0.05, snr=1e9)
    simulated = finish(simulate_tomogram(filled))
    particles = sum(alone(simulated, row, filled) for row in range(12)) > 1e-3
    elsewhere = ~ndimage.binary_fill_holes(ndimage.binary_dilation(particles))
    assert (simulated.occupancy[elsewhere] == 0).all()
    # Beads and membranes are there, and stand out from all else.
    outliers = np.abs(simulated.tomogram.data) > 4 * simulated.tomogram.data.std()
    assert outliers[elsewhere].any()


def test_copies_follow_concentrations():
    params = with_(
        SMALL, ice={"relief": 0.0, "tilt": 0.0}, concentrations=(50.0, 20.0), membranes=0, beads=0
    )
    simulated = finish(simulate_tomogram(params))
    litres = np.prod(SMALL.shape) * 12.0**3 * 1e-27
    expected = [round(c * 1e-6 * 6.022e23 * litres) for c in (50.0, 20.0)]
    assert [(simulated.particles.label == name).sum() for name in simulated.names] == expected


def test_copies_of_each_class_can_differ():
    simulated = finish(simulate_tomogram(with_(SMALL, particles_per_class=(5, 2))))
    assert [(simulated.particles.label == name).sum() for name in simulated.names] == [5, 2]


def test_true_shapes_pack_denser_than_bounding_spheres_could():
    params = with_(
        SMALL, classes=("1qvr",), particles_per_class=40, shape=(32, 64, 64), gap=0.0, **BARE,
        ice={"relief": 0.0, "tilt": 0.0},
    )  # fmt: skip
    simulated = finish(simulate_tomogram(params))
    sphere = np.pi / 6 * library()["1qvr"].diameter ** 3
    # Random sequential packing of spheres ends at 38 % of an endless space.
    assert 40 * sphere / (np.prod(params.shape) * 12.0**3) > 0.45
    assert simulated.packing == pytest.approx((simulated.occupancy > 0).mean())


def test_ice_bounds_where_particles_are():
    ice = {"thickness": 260.0, "relief": 0.0, "tilt": 0.0}
    simulated = finish(simulate_tomogram(with_(SMALL, ice=ice, membranes=0)))
    planes = np.flatnonzero(simulated.occupancy.any(axis=(1, 2))) * 12.0
    middle = (36 - 1) / 2 * 12.0
    assert planes.min() >= middle - 130
    assert planes.max() <= middle + 130


def test_particles_are_where_the_truth_says():
    params = with_(SMALL, classes=("2fha",), particles_per_class=20, **BARE)
    simulated = finish(simulate_tomogram(params))
    half = 8
    padded = np.pad(simulated.tomogram.data, half)
    offsets = []
    for position in simulated.particles.positions:
        base = np.rint(position).astype(int)
        crop = padded[tuple(slice(at, at + 2 * half + 1) for at in base)]
        weights = crop**2
        index = np.indices(crop.shape) - half
        centre = (index * weights).sum(axis=(1, 2, 3)) / weights.sum()
        offsets.append(centre - (position - base))
    np.testing.assert_allclose(np.mean(offsets, axis=0), 0, atol=0.3)


def test_orientation_of_the_truth_turns_the_reference_into_the_particle():
    params = with_(SMALL, classes=("1u6g",), particles_per_class=1, **BARE)
    simulated = finish(simulate_tomogram(params))
    structure = library()["1u6g"]
    reference = structure.at(params.voxel_size, 2 * (int(structure.diameter / 24) + 2))
    # The long axis of the reference (xyz), by the second moments of its density, ...
    index = (np.indices(reference.shape) - len(reference) // 2).reshape(3, -1)[::-1]
    long_axis = np.linalg.eigh((index * reference.ravel()) @ index.T)[1][:, -1]
    # ... and that of the voxels which the particle occupies.
    truth = simulated.particles
    voxels = (np.argwhere(simulated.occupancy) - truth.positions[0])[:, ::-1]
    seen = np.linalg.eigh(voxels.T @ voxels)[1][:, -1]
    assert abs(seen @ truth.orientations[0] @ long_axis) > 0.98


def test_particles_are_dark():
    simulated = finish(simulate_tomogram(with_(SMALL, **BARE)))
    tomogram, truth = simulated.tomogram, simulated.particles
    ferritin = truth.positions[truth.label == library()["2fha"].name]
    # The wall of ferritin lies 50 Å from its centre.
    shells = [_shell_mean(tomogram.data, at, 50 / 12) for at in ferritin]
    assert tomogram.dark
    assert np.mean(shells) < tomogram.data.mean() - tomogram.data.std()


def _shell_mean(data: np.ndarray, centre: np.ndarray, radius: float) -> float:
    offsets = np.indices(data.shape) - centre[:, None, None, None]
    distance = np.sqrt((offsets**2).sum(axis=0))
    return float(data[np.abs(distance - radius) < 0.7].mean())


@pytest.mark.parametrize("snr", [10.0, 0.5, 0.05])
def test_noise_is_what_the_ratio_says(snr):
    clean = finish(simulate_tomogram(with_(SMALL, snr=1e9)))
    noise = finish(simulate_tomogram(with_(SMALL, snr=snr))).tomogram.data - clean.tomogram.data
    signal = clean.tomogram.data[clean.occupancy > 0]
    assert signal.var() / noise.var() == pytest.approx(snr, rel=0.05)


@pytest.mark.parametrize(("lowest", "highest"), [(-60.0, 60.0), (-50.0, 70.0)])
def test_spectrum_has_the_missing_wedge_of_the_tilt_range(lowest, highest):
    params = with_(
        SMALL,
        shape=(64, 32, 64),
        particles_per_class=1,
        membranes=0,
        beads=0,
        snr=1e-3,
        resolution=30.0,
        tilt_series={"lowest": lowest, "highest": highest, "step": 2.0},
    )
    data = finish(simulate_tomogram(params)).tomogram.data
    window = np.hanning(64)[:, None, None] * np.hanning(64)
    power = (np.abs(np.fft.fftn(data * window, axes=(0, 2))) ** 2).mean(axis=1)
    kz, kx = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij")
    radius = np.hypot(kz, kx)
    angle = np.rad2deg(np.arctan2(kz * np.sign(kx + 1e-12), np.abs(kx)))
    shell = (radius > 0.15) & (radius < 0.3)
    seen = power[shell & (angle > lowest + 6) & (angle < highest - 6)].mean()
    missed = power[shell & ((angle < lowest - 6) | (angle > highest + 6))].mean()
    assert missed < 0.02 * seen


def test_the_seed_decides(small):
    again = finish(simulate_tomogram(SMALL))
    other = finish(simulate_tomogram(with_(SMALL, seed=1)))
    np.testing.assert_array_equal(small.tomogram.data, again.tomogram.data)
    np.testing.assert_array_equal(small.occupancy, again.occupancy)
    np.testing.assert_array_equal(small.particles.positions, again.particles.positions)
    np.testing.assert_array_equal(small.particles.orientations, again.particles.orientations)
    assert not np.array_equal(small.tomogram.data, other.tomogram.data)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"particles_per_class": 250, "membranes": 0, "beads": 0},
            r"only \d+ of 500 particles fit, which fill \d+\.\d% of the space; ask for fewer",
        ),
        (
            {"concentrations": 900.0, "membranes": 0, "beads": 0},
            r"only \d+ of \d+ particles fit, which fill",
        ),
        ({"shape": (24, 80, 80), "classes": ("4v6x",)}, "346 Å wide but the ice of the tomogram"),
        ({"ice": {"thickness": 150.0}}, "Å wide but the ice of the tomogram measures only 150 Å"),
        ({"classes": ("9xyz",)}, "no '9xyz'"),
        ({"membranes": 50}, r"only \d+ of 50 membranes fit; ask for fewer"),
        ({"beads": 1000}, r"only \d+ of 1000 gold beads fit; ask for fewer"),
        ({"concentrations": 1e-4}, "hold no particle at these numbers; raise"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        finish(simulate_tomogram(with_(SMALL, **changes)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"snr": 0.0}, r"snr\n.*greater than 0"),
        ({"snr": -1.0}, r"snr\n.*greater than 0"),
        ({"tilt_series": {"step": 0.0}}, r"tilt_series.step\n.*greater than 0"),
        (
            {"tilt_series": {"lowest": 0.0, "highest": 2.0}},
            "the tilt step of 3° is wider than the tilt range of 2°; give a smaller step",
        ),
        ({"tilt_series": {"lowest": 60.0, "highest": -60.0}}, "give the lower end first"),
        ({"particles_per_class": (1, 2, 3)}, "2 classes but 3 particles per class; give one"),
        ({"classes": ("2fha", "2fha")}, "names 2 structures but only 1 different"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        with_(SMALL, **changes)


def test_every_step_reports_and_can_be_the_last():
    job = simulate_tomogram(SMALL)
    first = next(job)
    assert isinstance(first, Progress)
    job.close()
    steps: list[Progress] = []
    finish(simulate_tomogram(with_(SMALL, crowding=0.02)), steps.append)
    assert list(dict.fromkeys(step.phase for step in steps)) == [
        "drawing membranes",
        "adding membranes",
        "adding gold beads",
        "packing particles",
        "crowding",
        "projecting",
        "exposing",
        "reconstructing",
    ]
    assert max(step.metrics.get("packing", 0.0) for step in steps) > 0.01


def test_sample_is_made_once_and_read_by_other_programs(own_folders, small):
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
    np.testing.assert_array_equal(tomogram.data, small.tomogram.data)
    assert list(truth.label) == list(small.particles.label)


def test_a_cancelled_sample_leaves_nothing_behind(own_folders):
    job = sample_tomogram(SMALL)
    next(job)
    job.close()
    assert not list((own_folders / "cache").glob("*"))
