"""Particles at known places of a tomogram, found again by other programs through lists of ours.

Every list is read here by somebody else's code, and its numbers are taken as its own program takes
them. What then lies in a box about each position shows, on voxels, whether the list is right.
"""

import json
from dataclasses import replace
from itertools import product
from typing import NamedTuple
from xml.etree import ElementTree

import dynamotable
import emfile
import imodmodel
import numpy as np
import pandas as pd
import pytest
import starfile
from eulerangles import convert_eulers, euler2matrix
from scipy.ndimage import map_coordinates, spline_filter
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import FORMATS, ListContext, write_particles, written_files
from napari_cryoshift.core.types import Particles

SHAPE = (61, 87, 75)
VOXEL_SIZE, PIXEL_SIZE, BINNING = 7.5, 1.875, 4
UNBINNED = (246, 347, 299)
"""RELION rounds x and y of these and cuts z to make that shape (reconstruct_tomogram.cpp)."""

COUNT, CELL, REACH, SIGMA = 40, 15, 6, 1.2
KINDS = {"80S ribosome": 1, "a.b": 2}
"""Classes, and how much denser particles of the second are."""

# A particle is four unequal balls about its centre, of no symmetry: no wrong turn looks right.
HEIGHTS = np.array([1.0, 1.2, 0.8, 0.6])
BALLS = np.array([[2.5, 0.0, 0.0], [-1.0, 2.0, 0.0], [-0.5, -1.0, 2.0], [0.0, 0.5, -2.5]])
BALLS -= HEIGHTS @ BALLS / HEIGHTS.sum()


# --- the tomogram ----------------------------------------------------------------------------


def rendered(shape, xyz, heights):
    """Return the exact values of Gaussian balls at the centres of voxels."""
    z, y, x = (
        np.exp(-((np.arange(side) - centres[:, None]) ** 2) / (2 * SIGMA**2))
        for side, centres in zip(shape, xyz.T[::-1], strict=True)
    )
    return np.einsum("nz,ny,nx->zyx", heights[:, None] * z, y, x, optimize=True)


BOX = (2 * REACH + 1,) * 3
REFERENCE = rendered(BOX, BALLS + REACH, HEIGHTS).ravel()
OFFSETS = np.indices(BOX).reshape(3, -1)[::-1] - REACH
"""(3, n) xyz, from the centre of a box to each of its voxels."""


@pytest.fixture(scope="module")
def particles():
    rng = np.random.default_rng(0)
    # A particle a cell, so that none reaches into the box of another.
    cells = np.array(list(product(*(range(side // CELL) for side in SHAPE))))
    zyx = rng.permutation(cells)[:COUNT] * CELL + CELL // 2 + rng.uniform(-0.5, 0.5, (COUNT, 3))
    return Particles.at(
        zyx,
        id=np.arange(COUNT) + 1,
        predicted=rng.choice(list(KINDS), COUNT),
        orientations=Rotation.random(COUNT, random_state=0).as_matrix(),
    )


@pytest.fixture(scope="module")
def tomogram(particles):
    balls = particles.positions[:, None, ::-1] + BALLS @ particles.orientations.transpose(0, 2, 1)
    density = np.array([KINDS[name] for name in particles.predicted])
    volume = rendered(SHAPE, balls.reshape(-1, 3), np.outer(density, HEIGHTS).ravel())
    return spline_filter(volume)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """What is known to whom writes a list; tomograms.star is as RELION writes it."""
    series = {"rlnTomoName": ["TS_01"], "rlnTomoTiltSeriesPixelSize": [PIXEL_SIZE]}
    sizes = {f"rlnTomoSize{axis}": [side] for axis, side in zip("ZYX", UNBINNED, strict=True)}
    star = tmp_path_factory.mktemp("relion") / "tomograms.star"
    starfile.write({"global": pd.DataFrame(series | sizes)}, star)
    return ListContext(
        voxel_size=VOXEL_SIZE,
        shape=SHAPE,
        tomogram="TS_01",
        binning=BINNING,
        tomograms_star=star,
        # Boxes of 13 voxels: that of an odd side has its centre between two corners of voxels.
        diameter=97.5,
    )


# --- how others read lists -------------------------------------------------------------------


class Seen(NamedTuple):
    """Where a program sees particles: 0-based voxels, an integer is the centre of one.

    Where a format has no place for classes, a class is a file; where it has none for orientations,
    there are none.
    """

    xyz: np.ndarray
    kinds: np.ndarray | None = None
    turns: np.ndarray | None = None


def relion_turns(angles):
    """RELION's rot, tilt and psi turn the tomogram to the reference."""
    turns = euler2matrix(angles, axes="zyz", intrinsic=True, right_handed_rotation=True)
    return turns.transpose(0, 2, 1)


def tom_turns(phi_theta_psi):
    """In TOM, PyTom and STOPGAP, phi about z, theta about x, psi about z turn the reference."""
    return euler2matrix(phi_theta_psi, axes="zxz", intrinsic=False, right_handed_rotation=True)


CORNER = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
CENTRED = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]


def relion(path, columns=CORNER):
    """Return the numbers of a list of RELION's kind as they stand there."""
    blocks = starfile.read(path, always_dict=True).values()
    table = next(block for block in blocks if columns[0] in block)
    angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    kinds = table["rlnClassNumber"].to_numpy()
    return Seen(table[columns].to_numpy(), kinds, relion_turns(angles))


def relion5(path, less=0):
    """Å from half the unbinned size (tomogram_set.cpp); voxel i of the tomogram is at pixel 4i."""
    seen = relion(path, CENTRED)
    pixels = seen.xyz / PIXEL_SIZE + np.array(UNBINNED[::-1]) / 2 - less
    return seen._replace(xyz=pixels / BINNING)


def relion4(path):
    """Unbinned pixels of the tilt series, 0-based."""
    seen = relion(path)
    return seen._replace(xyz=seen.xyz / BINNING)


def relion3(path):
    """Voxels of the tomogram."""
    return relion(path)


def warp(path):
    """Pixels of the size that the list states, from zero at the centre of the first voxel."""
    seen = relion(path)
    pixel_size = starfile.read(path)[["rlnPixelSize"]].to_numpy()
    return seen._replace(xyz=seen.xyz * pixel_size / VOXEL_SIZE)


def pytom_star(path):
    """Indices of the volume in NumPy (extract.py)."""
    return relion(path)


def stopgap(path):
    """Indices in MATLAB, which count from 1: orig and shift together."""
    table = starfile.read(path)
    place, shift = table[["orig_x", "orig_y", "orig_z"]], table[["x_shift", "y_shift", "z_shift"]]
    turns = tom_turns(table[["phi", "the", "psi"]].to_numpy())
    return Seen(place.to_numpy() + shift.to_numpy() - 1, table["class"].to_numpy(), turns)


def dynamo(path):
    """Voxels; dynamo2m, ArtiaX and copick take them for 0-based."""
    table = dynamotable.read(path)
    xyz = table[["x", "y", "z"]].to_numpy() + table[["dx", "dy", "dz"]].to_numpy()
    angles = convert_eulers(
        table[["tdrot", "tilt", "narot"]].to_numpy(), source_meta="dynamo", target_meta="relion"
    )
    return Seen(xyz, table["class"].to_numpy(), relion_turns(angles))


def em_motl(path):
    """Rows 8 to 10 x y z from 1, 11 to 13 shifts, 17 to 19 phi psi theta, 20 the class."""
    _, volume = emfile.read(path)
    rows = np.vstack([np.zeros((1, len(volume[0]))), volume[0].T])
    return Seen((rows[8:11] + rows[11:14] - 1).T, rows[20], tom_turns(rows[[17, 19, 18]].T))


def pytom(path):
    """Indices of the volume in NumPy (structures.py); turns Z1, X and Z2."""
    found = list(ElementTree.parse(path).iter("Particle"))
    xyz, shift = (
        np.array([[float(one.find(tag).get(axis)) for axis in "XYZ"] for one in found])
        for tag in ("PickPosition", "Shift")
    )
    angles = [[float(one.find("Rotation").get(a)) for a in ("Z1", "X", "Z2")] for one in found]
    kinds = np.array([one.find("Class").get("Name") for one in found])
    return Seen(xyz + shift, kinds, tom_turns(np.array(angles)))


def eman2(path):
    """Unbinned pixels from size // 2 of the tomogram that is open (e2spt_boxer.py)."""
    info = json.loads(path.read_text())
    pixels = np.array([box[:3] for box in info["boxes_3d"]])
    xyz = pixels / VOXEL_SIZE * info["apix_unbin"] + np.array(SHAPE[::-1]) // 2
    return Seen(xyz, np.array([box[5] for box in info["boxes_3d"]]))


def cryolo(path):
    """The corner of a box in x and y, half its width from the centre; its slice (io/cbox.py)."""
    table = starfile.read(path)["cryolo"]
    xyz = table[["CoordinateX", "CoordinateY", "CoordinateZ"]].to_numpy()
    half = table[["Width", "Height"]].to_numpy() / 2
    return Seen(xyz + np.pad(half, ((0, 0), (0, 1))))


def coords(path):
    """0-based voxels."""
    return Seen(np.loadtxt(path))


def deepfinder(path):
    """Indices of the volume in NumPy."""
    found = list(ElementTree.parse(path).iter("object"))
    values = [[float(one.get(a)) for a in ("x", "y", "z", "phi", "the", "psi")] for one in found]
    xyz, angles = np.split(np.array(values), 2, axis=1)
    return Seen(xyz, np.array([one.get("class_label") for one in found]), tom_turns(angles))


def copick(path):
    """Å from the centre of the first voxel: the location plus the shift of the transformation."""
    picks = json.loads(path.read_text())
    places = np.array([[point["location"][axis] for axis in "xyz"] for point in picks["points"]])
    matrices = np.array([point["transformation_"] for point in picks["points"]])
    kinds = np.full(len(places), picks["pickable_object_name"])
    return Seen((places + matrices[:, :3, 3]) / VOXEL_SIZE, kinds, matrices[:, :3, :3])


def portal(path):
    """0-based voxels of the tomogram that was annotated."""
    points = [json.loads(line) for line in path.read_text().splitlines()]
    xyz = np.array([[point["location"][axis] for axis in "xyz"] for point in points])
    return Seen(xyz, turns=np.array([point["xyz_rotation_matrix"] for point in points]))


def imod(path):
    """Model coordinates, in which the centre of the first voxel is (0.5, 0.5, 0)."""
    points = imodmodel.read(path)
    return Seen(points[["x", "y", "z"]].to_numpy() - [0.5, 0.5, 0], points["object_id"].to_numpy())


def csv(path):
    """0-based voxels, and RELION's angles."""
    table = pd.read_csv(path)
    turns = relion_turns(table[["rot", "tilt", "psi"]].to_numpy())
    return Seen(table[["x", "y", "z"]].to_numpy(), table["class"].to_numpy(), turns)


READERS = {
    reader.__name__: reader
    for reader in (
        *(relion5, relion4, relion3, warp, pytom_star, stopgap, dynamo, em_motl, pytom),
        *(eman2, cryolo, coords, deepfinder, copick, portal, imod, csv),
    )
}


# --- what lies there -------------------------------------------------------------------------


@pytest.fixture(scope="module", params=READERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def seen(tmp_path_factory, particles, known, name):
    """What a program sees in the files that are written for it."""
    path = tmp_path_factory.mktemp(name) / f"list{FORMATS[name].suffix}"
    write_particles(path, particles, name, context=known)
    files = list(written_files(path, particles, name, context=known))
    lists = [READERS[name](file) for file in files]
    kinds = [
        np.full(len(one.xyz), file.name) if one.kinds is None else one.kinds
        for one, file in zip(lists, files, strict=True)
    ]
    turns = None if lists[0].turns is None else np.concatenate([one.turns for one in lists])
    return Seen(np.concatenate([one.xyz for one in lists]), np.concatenate(kinds), turns)


def cropped(tomogram, xyz, turns=None):
    """Return boxes about positions; with orientations, particles in them stand as the reference."""
    offsets = np.stack([OFFSETS] * len(xyz)) if turns is None else turns @ OFFSETS
    zyx = (xyz[:, :, None] + offsets)[:, ::-1].transpose(1, 0, 2)
    return map_coordinates(tomogram, zyx, prefilter=False)


def density(crops):
    return crops.sum(axis=-1) / REFERENCE.sum()


def off_centre(crops):
    """Return where the centre of mass of crops is, voxels xyz from the centre of the box."""
    return crops @ OFFSETS.T / crops.sum(axis=-1, keepdims=True)


def hit(crops):
    """Tell in which crops there is a whole particle, centred to 0.1 voxel."""
    there = density(crops) > 0.95
    there[there] = np.abs(off_centre(crops[there])).max(axis=1) < 0.1
    return there


def likeness(crops):
    """Return the correlation of the mean of crops with the reference, within a sphere."""
    within = (OFFSETS**2).sum(axis=0) <= REACH**2
    return np.corrcoef(crops.mean(axis=0)[within], REFERENCE[within])[0, 1]


def test_every_format_has_a_reader_that_is_not_ours():
    missing = ", ".join(set(FORMATS) - set(READERS))
    assert not missing, (
        f"only our own code reads {missing}: add a function of that name here that takes a list as "
        "its program's documentation says, without our readers, and put it into READERS"
    )


def test_particles_lie_in_the_middle_of_their_boxes(tomogram, seen):
    crops = cropped(tomogram, seen.xyz)
    assert len(crops) == COUNT
    assert np.abs(off_centre(crops.mean(axis=0))).max() < 0.1
    # Errors that differ in sign from one particle to the next would be gone in the mean.
    assert hit(crops).all()


def test_half_a_voxel_would_be_seen(tomogram, seen):
    for axis in np.eye(3):
        crops = cropped(tomogram, seen.xyz + axis / 2)
        np.testing.assert_allclose(off_centre(crops.mean(axis=0)), -axis / 2, atol=0.1)
        assert not hit(crops).any()


def test_classes_are_told_apart(tomogram, seen):
    found = density(cropped(tomogram, seen.xyz))
    np.testing.assert_allclose(found, np.rint(found), rtol=0.03)
    assert len(set(zip(seen.kinds, np.rint(found), strict=True))) == len(set(seen.kinds)) == 2


def test_particles_stand_alike_when_they_are_turned_back(tomogram, seen, name):
    assert (seen.turns is not None) == ("orientation" in FORMATS[name].holds)
    if seen.turns is not None:
        inverse = seen.turns.transpose(0, 2, 1)
        assert likeness(cropped(tomogram, seen.xyz, seen.turns)) > 0.999
        assert likeness(cropped(tomogram, seen.xyz, inverse)) < 0.95


@pytest.mark.parametrize(
    "wrong",
    [
        lambda xyz: xyz + 1,
        lambda xyz: xyz[:, ::-1],
        lambda xyz: xyz[:, [1, 0, 2]],
        lambda xyz: np.array(SHAPE[::-1]) - 1 - xyz,
        lambda xyz: xyz * [1, 1, -1] + [0, 0, SHAPE[0] - 1],
        lambda xyz: xyz * 1.02,
    ],
    ids=["from 1", "zyx", "yxz", "mirrored", "upside down", "two percent larger"],
)
def test_other_mistakes_would_be_seen(tomogram, particles, wrong):
    assert hit(cropped(tomogram, wrong(particles.positions[:, ::-1]))).mean() < 0.1


def test_the_other_rule_for_the_centre_of_relion_5(tmp_path, tomogram, particles, known):
    # RELION's napari picker counts from half the size less 1 (get_particle_poses/spheres.py).
    path = tmp_path / "list.star"
    write_particles(path, particles, "relion5", context=replace(known, centre="picker"))
    as_written, by_default = (cropped(tomogram, relion5(path, less).xyz) for less in (1, 0))
    assert hit(as_written).all()
    unbinned_pixel = np.full(3, 1 / BINNING)
    np.testing.assert_allclose(off_centre(by_default.mean(axis=0)), -unbinned_pixel, atol=0.02)
