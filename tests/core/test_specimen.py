"""What a specimen is put together from: packing, membranes, small proteins, ice, densities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.cytosol import crowd
from napari_cryoshift.core.simulate.ice import IceParams, freeze
from napari_cryoshift.core.simulate.membranes import (
    FORMS,
    HALF_THICKNESS,
    Membrane,
    add_membranes,
    bilayer,
    draw_membranes,
)
from napari_cryoshift.core.simulate.packing import find_place, occupy
from napari_cryoshift.core.simulate.particles import Template
from napari_cryoshift.core.simulate.scattering import PROTEIN, PROTEIN_IN_LIBRARY
from napari_cryoshift.core.simulate.specimen import SpecimenParams, build_specimen
from napari_cryoshift.core.structures import library


def test_a_body_finds_the_only_place_there_is():
    taken = np.ones((12, 12, 12), dtype=bool)
    taken[4:7, 2:4, 9:12] = False
    body = np.zeros((5, 5, 5), dtype=bool)
    body[1:4, 1:3, 2:5] = True
    place = find_place(taken, body, np.random.default_rng(0))
    assert place.tolist() == [3, 1, 7]
    taken[5, 3, 10] = True
    assert find_place(taken, body, np.random.default_rng(0)) is None


def test_a_body_that_is_larger_than_the_volume_finds_none():
    body = np.ones((3, 9, 3), dtype=bool)
    assert find_place(np.zeros((8, 8, 8), dtype=bool), body, np.random.default_rng(0)) is None


def test_a_body_takes_its_gap_too_also_at_the_border():
    taken = np.zeros((9, 9, 9), dtype=bool)
    occupy(taken, np.ones((1, 1, 1), dtype=bool), np.array([0, 4, 4]), gap=2.0)
    z, y, x = np.indices(taken.shape)
    np.testing.assert_array_equal(taken, z**2 + (y - 4) ** 2 + (x - 4) ** 2 <= 4)


@pytest.mark.parametrize("voxel_size", [6.0, 12.0, 20.0])
def test_a_particle_scatters_what_it_has_beyond_the_ice_it_displaces(voxel_size):
    structure = library()["4v6x"]
    turned = Template(structure, voxel_size).turned(torch.eye(3), np.array([0.3, -0.2, 0.1]))
    in_a_vacuum = structure.density.sum() * structure.voxel_size**3
    expected = in_a_vacuum * PROTEIN / PROTEIN_IN_LIBRARY
    assert float(turned.sum()) * voxel_size**3 == pytest.approx(expected, rel=0.02)


def test_small_proteins_are_as_dense_as_one_of_the_library():
    density = np.zeros((60, 60, 60), dtype=np.float32)
    taken = np.zeros(density.shape, dtype=bool)
    rng = np.random.default_rng(0)
    volume = 0.02 * density.size * 12.0**3
    finish(crowd(density, taken, volume, voxel_size=12.0, blur=5.4, generator=rng))
    assert density.sum() * 12.0**3 == pytest.approx(PROTEIN * volume, rel=0.03)
    albumin = Template(library()["4f5s"], 12.0).turned(torch.eye(3), np.zeros(3))
    # Power a protein of 62 kDa, whatever there is of them.
    share = (density**2).sum() / density.sum()
    assert share == pytest.approx((albumin**2).sum() / albumin.sum(), rel=0.25)


def test_small_proteins_stay_where_space_is_free():
    taken = np.zeros((40, 60, 60), dtype=bool)
    taken[:20] = True
    density = np.zeros(taken.shape, dtype=np.float32)
    volume = 0.1 * taken.size / 2 * 10.0**3
    rng = np.random.default_rng(0)
    finish(crowd(density, taken, volume, voxel_size=10.0, blur=4.5, generator=rng))
    assert density[:17].max() < 1e-4
    assert density[23:].mean() > 0


def test_a_full_space_takes_no_more_small_proteins():
    taken = np.zeros((30, 30, 30), dtype=bool)
    density = np.zeros(taken.shape, dtype=np.float32)
    with pytest.raises(
        ValueError, match=r"fill \d+\.\d% of the space .* but 70.0% are wanted; ask"
    ):
        finish(
            crowd(
                density, taken, 0.7 * taken.size * 1000, voxel_size=10.0, blur=4.5,
                generator=np.random.default_rng(0),
            )
        )  # fmt: skip


def _membrane(**changes: object) -> Membrane:
    plain = {"centre": np.zeros(3), "axis": np.zeros(3), "radius": 300.0}
    still = {"waves": np.zeros((6, 3)), "phases": np.zeros(6)}
    return Membrane(**(plain | still | changes))


def test_depth_is_the_distance_from_a_sphere_or_a_cylinder():
    points = np.array([[0, 300, 0], [0, 0, 350], [100, 250, 0]], dtype=np.float32)
    np.testing.assert_allclose(
        _membrane().depth(points), [0, 50, np.hypot(100, 250) - 300], atol=1e-3
    )
    upright = _membrane(axis=np.array([1.0, 0, 0]))
    np.testing.assert_allclose(upright.depth(points), [0, 50, -50], atol=1e-3)


def test_a_bilayer_has_two_layers_of_head_groups():
    depth = np.linspace(-80, 80, 321)
    profile = bilayer(depth, 1.0)
    peaks = depth[1:-1][(profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:])]
    np.testing.assert_allclose(peaks, [-20, 20], atol=4)
    assert profile[160] > 0.3 * profile.max()
    assert np.abs(profile[np.abs(depth) > 50]).max() < 0.01 * profile.max()
    np.testing.assert_allclose(profile, profile[::-1], atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_membranes_of_every_form_lie_apart(form):
    highest = np.array([1500.0, 3000.0, 3000.0])
    drawn = finish(
        draw_membranes(
            2, [form], np.zeros(3), highest, gap=20.0, generator=np.random.default_rng(3)
        )
    )
    points = np.random.default_rng(0).uniform(0, highest, (200_000, 3)).astype(np.float32)
    first, second = (np.abs(membrane.depth(points)) < HALF_THICKNESS for membrane in drawn)
    assert first.any()
    assert second.any()
    assert not (first & second).any()


def test_a_membrane_takes_its_own_space_and_leaves_that_of_others():
    taken = np.zeros((60, 60, 60), dtype=bool)
    taken[:30] = True
    density = np.zeros(taken.shape, dtype=np.float32)
    membrane = _membrane(centre=np.full(3, 300.0), radius=200.0)
    finish(add_membranes(density, taken, [membrane], voxel_size=10.0, blur=4.5, gap=10.0))
    assert (density[:30] == 0).all()
    distance = np.linalg.norm(np.indices(taken.shape) * 10.0 - 300.0, axis=0)
    np.testing.assert_array_equal(taken[30:], (np.abs(distance - 200) < 40)[30:])


def test_ice_is_as_thick_tilted_and_uneven_as_asked():
    rng = np.random.default_rng(0)
    flat = freeze((50, 200, 200), 10.0, IceParams(thickness=300.0, tilt=0.0, relief=0.0), rng)
    np.testing.assert_allclose(flat.upper - flat.lower, 300.0, rtol=1e-5)
    tilted = freeze((50, 200, 200), 10.0, IceParams(thickness=300.0, tilt=10.0, relief=0.0), rng)
    rise = [float(np.diff(tilted.upper, axis=axis).mean()) / 10 for axis in (0, 1)]
    assert np.rad2deg(np.arctan(np.hypot(*rise))) == pytest.approx(10, rel=1e-3)
    rough = freeze((50, 400, 400), 20.0, IceParams(thickness=300.0, tilt=0.0, relief=25.0), rng)
    assert rough.upper.std() == pytest.approx(25, rel=1e-3)
    assert (rough.upper - rough.lower).std() > 25
    # Smooth: from voxel to voxel it changes by far less than overall.
    assert np.abs(np.diff(rough.upper, axis=1)).max() < 5


def test_a_specimen_averages_to_its_surroundings_and_is_empty_beyond_the_ice():
    params = SpecimenParams(
        shape=(40, 64, 64),
        classes=("2fha",),
        particles_per_class=8,
        crowding=0.05,
        membranes=1,
        beads=2,
        ice=IceParams(thickness=300.0, tilt=0.0, relief=0.0),
    )
    specimen = finish(build_specimen([library()["2fha"]], params, np.random.default_rng(0)))
    inside = specimen.ice.inside(40, 12.0)
    assert abs(specimen.density[inside].mean()) < 1e-5
    far = ~ndimage.binary_dilation(inside, iterations=3)
    assert np.abs(specimen.density[far]).max() < 0.01 * specimen.density.max()
    assert specimen.packing == pytest.approx((specimen.placed.occupancy > 0).sum() / inside.sum())


def test_beads_are_the_strongest_by_far():
    params = SpecimenParams(
        shape=(40, 64, 64),
        classes=("2fha",),
        particles_per_class=1,
        membranes=0,
        beads=3,
        gap=40.0,
        ice=IceParams(tilt=0.0, relief=0.0),
    )
    specimen = finish(build_specimen([library()["2fha"]], params, np.random.default_rng(0)))
    gold = specimen.density > 0.4
    pieces, count = ndimage.label(gold)
    assert count == 3
    assert (specimen.placed.occupancy[gold] == 0).all()
    volumes = np.bincount(pieces.ravel())[1:] * 12.0**3
    np.testing.assert_allclose(volumes, 4 / 3 * np.pi * 50.0**3, rtol=0.25)
