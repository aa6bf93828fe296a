"""Densities from atoms and maps, and the library of structures."""

from __future__ import annotations

import gzip
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.structures import (
    Structure,
    add_structure,
    library,
    library_index,
    most_alike,
    read_atoms,
    read_map,
    similarity,
)


def atom_line(number: int, name: str, residue: str, sequence: int, xyz, element: str) -> str:
    x, y, z = xyz
    return (
        f"ATOM  {number:5d} {name:^4} {residue:>3} A{sequence:4d}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2}\n"
    )


def write_carbons(path: Path, xyz, header: str = "") -> Path:
    """A PDB file of carbon atoms, each the CB of its own ALA."""
    lines = [atom_line(i + 1, "CB", "ALA", i + 1, at, "C") for i, at in enumerate(xyz)]
    path.write_text(header + "".join(lines) + "END\n")
    return path


def centre_of_mass(density: np.ndarray) -> np.ndarray:
    index = np.indices(density.shape)
    return (index * density).sum(axis=(1, 2, 3)) / density.sum()


def globule(n: int = 400, spread: float = 25.0, seed: int = 0) -> np.ndarray:
    """Atoms without any symmetry."""
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0, spread, (n, 3)) * [1.0, 0.6, 0.4]
    return xyz + 0.01 * xyz[:, [1, 2, 0]] ** 2 + [30, -40, 55]


@pytest.fixture
def own_library(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "library"
    monkeypatch.setenv("CRYOSHIFT_LIBRARY", str(folder))
    return folder


def test_one_atom_is_a_gaussian_of_the_stated_resolution(tmp_path):
    path = write_carbons(tmp_path / "one.pdb", [(12.3, -4.5, 6.7)])
    density = read_atoms(path, 4.0, resolution=20.0).values
    n = len(density)
    offset = 4.0 * (np.arange(n) - n // 2)
    sigma = 0.225 * 20.0
    squared = offset[:, None, None] ** 2 + offset[:, None] ** 2 + offset**2
    expected = np.exp(-squared / (2 * sigma**2)) / (2 * np.pi * sigma**2) ** 1.5
    # Forward scattering of carbon: 2.51 Å (International Tables C, table 4.3.1.1).
    assert n % 2 == 0
    assert density.dtype == np.float32
    np.testing.assert_allclose(density, 2.51 * expected, atol=0.06 * 2.51 * expected.max())
    # An atom on a point of the inner grid of 2 Å is narrower than the mean atom by 2²/6 Å².
    profile = density.sum(axis=(0, 1))
    variance = (profile * offset**2).sum() / profile.sum()
    assert variance == pytest.approx(sigma**2 - 2**2 / 6, rel=0.01)


def test_integral_is_the_scattering_of_the_atoms_at_any_voxel_size(tmp_path):
    xyz = globule()
    path = write_carbons(tmp_path / "globule.pdb", xyz)
    for voxel_size in (3.0, 8.0, 13.0):
        density = read_atoms(path, voxel_size).values
        assert density.sum() * voxel_size**3 == pytest.approx(2.51 * len(xyz), rel=0.01)


def test_mass_diameter_and_centre(tmp_path):
    xyz = globule()
    read = read_atoms(write_carbons(tmp_path / "globule.pdb", xyz), 8.0)
    distance = np.sort(np.linalg.norm(xyz - xyz.mean(axis=0), axis=1))
    assert read.mass_kda == pytest.approx(len(xyz) * 12.011 / 1000, rel=1e-3)
    assert distance[-5] <= read.diameter / 2 <= distance[-1]
    np.testing.assert_allclose(centre_of_mass(read.values), len(read.values) // 2, atol=0.1)
    assert read.values.min() >= 0


def test_axes_are_zyx(tmp_path):
    rod = [(0.0, 0.0, z) for z in np.arange(0, 100, 2.0)]
    density = read_atoms(write_carbons(tmp_path / "rod.pdb", rod), 5.0).values
    spread = [(density.sum(axis=tuple({0, 1, 2} - {axis})) > 1e-3).sum() for axis in range(3)]
    assert spread[0] > 2 * spread[1]
    assert spread[1] == spread[2]


def test_biological_assembly_is_built_unless_declined(tmp_path):
    header = (
        "REMARK 350 BIOMOLECULE: 1\n"
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A\n"
        "REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000\n"
        "REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000       60.00000\n"
        "REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000\n"
    )
    path = write_carbons(tmp_path / "half.pdb", [(0, 0, 0), (2, 0, 0)], header)
    whole = read_atoms(path, 5.0)
    half = read_atoms(path, 5.0, assembly="asymmetric unit")
    assert whole.mass_kda == pytest.approx(2 * half.mass_kda)
    assert whole.values.sum() == pytest.approx(2 * half.values.sum(), rel=0.01)
    # The copies lie 29 Å to either side of the centre along x, and only there.
    n = len(whole.values)
    profile = whole.values.sum(axis=(0, 1))
    assert sorted(np.argsort(profile)[-2:] - n // 2) in ([-6, 6], [-6, 5])
    assert profile[n // 2] < 0.01 * profile.max()


def test_only_the_first_model_counts(tmp_path):
    lines = [atom_line(1, "CB", "ALA", 1, (0, 0, 0), "C")]
    text = "".join(f"MODEL     {i:4d}\n{''.join(lines)}ENDMDL\n" for i in (1, 2, 3))
    (tmp_path / "nmr.pdb").write_text(text + "END\n")
    assert read_atoms(tmp_path / "nmr.pdb", 5.0).mass_kda == pytest.approx(0.012011, rel=1e-3)


def test_an_atom_of_a_trace_weighs_as_much_as_its_residue(tmp_path):
    lines = [atom_line(i, "CA", "ALA", i, (3.8 * i, 0, 0), "C") for i in range(1, 11)]
    (tmp_path / "trace.pdb").write_text("".join(lines) + "END\n")
    read = read_atoms(tmp_path / "trace.pdb", 5.0)
    alanine = 89.09
    assert read.mass_kda == pytest.approx(10 * alanine / 1000, rel=0.01)


def test_gzipped_mmcif_gives_the_same_density_as_pdb(tmp_path):
    pdb = write_carbons(tmp_path / "globule.pdb", globule(50))
    structure = gemmi.read_structure(str(pdb))
    structure.setup_entities()
    text = structure.make_mmcif_document().as_string()
    with gzip.open(tmp_path / "globule.cif.gz", "wt") as file:
        file.write(text)
    np.testing.assert_array_equal(
        read_atoms(pdb, 8.0).values, read_atoms(tmp_path / "globule.cif.gz", 8.0).values
    )


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("empty.pdb", "HEADER    NOTHING\nEND\n", "no atoms"),
        ("broken.cif", "this is no mmCIF", "could not be read"),
        ("other.txt", "hello", "no atoms|could not be read"),
    ],
)
def test_what_is_no_structure_is_said_in_a_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_atoms(tmp_path / name, 8.0)


def test_missing_file_and_bad_voxel_size(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        read_atoms(tmp_path / "absent.pdb", 8.0)
    with pytest.raises(ValueError, match="voxel size is 0 Å"):
        read_atoms(write_carbons(tmp_path / "one.pdb", [(0, 0, 0)]), 0.0)


def write_map(path: Path, grey: np.ndarray, voxel_size: float) -> Path:
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(grey.astype(np.float32))
        mrc.voxel_size = voxel_size
    return path


def two_balls(shape=(70, 60, 64)) -> np.ndarray:
    """Off-centre protein on a solvent of grey value 3."""
    z, y, x = np.indices(shape)
    large = (z - 30) ** 2 + (y - 25) ** 2 + (x - 28) ** 2 < 12**2
    small = (z - 46) ** 2 + (y - 25) ** 2 + (x - 28) ** 2 < 6**2
    noise = np.random.default_rng(0).normal(0, 0.2, shape)
    return 3 + 10 * gaussian_filter((large | small).astype(float), 1.0) + noise


def test_map_is_centred_and_scaled_to_its_mass(tmp_path):
    read = read_map(write_map(tmp_path / "balls.mrc", two_balls(), 3.0), 8.0, threshold=8.0)
    volume = 4 / 3 * np.pi * (12**3 + 6**3) * 27
    assert read.mass_kda == pytest.approx(volume / 1.21 / 1000, rel=0.1)
    np.testing.assert_allclose(centre_of_mass(read.values), len(read.values) // 2, atol=0.1)
    assert read.values.min() >= 0
    assert read.values.sum() * 8**3 == pytest.approx(read.mass_kda * 166, rel=0.01)


def test_map_axes_are_turned_to_zyx(tmp_path):
    grey = two_balls()
    path = write_map(tmp_path / "turned.mrc", np.ascontiguousarray(grey.transpose(2, 1, 0)), 3.0)
    with mrcfile.open(path, mode="r+") as mrc:
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = 3, 2, 1
    plain = write_map(tmp_path / "plain.mrc", grey, 3.0)
    np.testing.assert_allclose(read_map(path, 8.0).values, read_map(plain, 8.0).values, atol=1e-6)


def test_map_without_voxel_size_needs_one(tmp_path):
    path = write_map(tmp_path / "unsized.mrc", two_balls(), 0.0)
    with pytest.raises(ValueError, match="voxel size 0 Å"):
        read_map(path, 8.0)
    sized = read_map(path, 8.0, map_voxel_size=3.0).values
    plain = read_map(write_map(tmp_path / "plain.mrc", two_balls(), 3.0), 8.0).values
    np.testing.assert_array_equal(sized, plain)


def test_bad_maps_are_said_in_a_sentence(tmp_path):
    (tmp_path / "text.mrc").write_text("no map at all")
    with pytest.raises(ValueError, match="could not be read as a map"):
        read_map(tmp_path / "text.mrc", 8.0)
    with pytest.raises(ValueError, match="lies above"):
        read_map(write_map(tmp_path / "flat.mrc", np.ones((20, 20, 20)), 3.0), 8.0)
    holed = two_balls()
    holed[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        read_map(write_map(tmp_path / "nan.mrc", holed, 3.0), 8.0)


def structure_of(path: Path, name: str = "globule") -> Structure:
    read = read_atoms(path, 8.0)
    return Structure(
        id=name,
        name=name,
        mass_kda=read.mass_kda,
        source="test",
        diameter=read.diameter,
        density=read.values,
        voxel_size=8.0,
    )


@pytest.mark.parametrize(("voxel_size", "box"), [(8.0, 31), (12.0, 24), (13.7, 21), (5.0, 60)])
def test_at_keeps_scattering_and_centre(tmp_path, voxel_size, box):
    structure = structure_of(write_carbons(tmp_path / "globule.pdb", globule()))
    placed = structure.at(voxel_size, box)
    assert placed.shape == (box,) * 3
    assert placed.dtype == np.float32
    before = structure.density.sum() * 8.0**3
    assert placed.sum() * voxel_size**3 == pytest.approx(before, rel=0.01)
    np.testing.assert_allclose(centre_of_mass(placed), box // 2, atol=0.1)


def test_at_a_coarser_voxel_size_is_the_density_computed_there(tmp_path):
    path = write_carbons(tmp_path / "globule.pdb", globule(3000))
    computed = read_atoms(path, 12.0).values
    placed = structure_of(path).at(12.0, len(computed))
    assert np.corrcoef(placed.ravel(), computed.ravel())[0, 1] > 0.998


def test_at_refuses_a_box_that_is_too_small(tmp_path):
    structure = structure_of(write_carbons(tmp_path / "globule.pdb", globule()))
    with pytest.raises(ValueError, match=r"Å wide but a box of 8 voxels of 10 Å holds 80 Å"):
        structure.at(10.0, 8)


def test_bundled_library_is_sound(own_library):
    index = library_index()
    structures = library()
    assert len(index) >= 30
    assert len({entry.id for entry in index}) == len(index) == len(structures)
    for entry in index:
        structure = structures[entry.id]
        density = structure.density
        assert np.isfinite(density).all()
        assert density.min() >= 0
        np.testing.assert_allclose(centre_of_mass(density), len(density) // 2, atol=0.1)
        scattering = density.sum() * structure.voxel_size**3
        assert scattering == pytest.approx(166 * entry.mass_kda, rel=0.15)
        assert entry.source.startswith("wwPDB")
        assert entry.licence == "CC0-1.0"
        assert entry.family
        assert 60 < entry.diameter <= 450


def test_ribosome_is_larger_than_its_relatives(own_library):
    structures = library()
    masses = [structures[id_].mass_kda for id_ in ("4v6x", "4v5d", "1ffk", "5uz4")]
    assert masses == sorted(masses, reverse=True)
    assert len({structures[id_].family for id_ in ("4v6x", "4v5d", "1ffk", "5uz4")}) == 1


def test_unknown_id_is_answered_with_what_looks_like_it(own_library):
    with pytest.raises(ValueError, match=r"no '4v6y'.*4v6x"):
        library().need("4v6y")
    assert library().need("4v6x").id == "4v6x"


def test_own_structure_is_kept_beside_the_bundled_ones(tmp_path, own_library):
    path = write_carbons(tmp_path / "Globule.pdb", globule())
    added = add_structure(path, name="my globule")
    again = library()["globule"]
    assert again.name == added.name == "my globule"
    np.testing.assert_array_equal(again.density, added.density)
    assert "globule" in {entry.id for entry in library_index()}
    assert "4v6x" in library()
    with pytest.raises(ValueError, match="'globule' is taken"):
        add_structure(path)


def test_own_map_is_added(tmp_path, own_library):
    added = add_structure(write_map(tmp_path / "balls.mrc", two_balls(), 3.0), key="two-balls")
    assert library()["two-balls"].diameter == added.diameter > 72


def test_nothing_is_added_where_the_file_is_no_structure(tmp_path, own_library):
    (tmp_path / "empty.pdb").write_text("END\n")
    with pytest.raises(ValueError, match="no atoms"):
        add_structure(tmp_path / "empty.pdb")
    with pytest.raises(ValueError, match="cannot be a file name"):
        add_structure(tmp_path / "empty.pdb", key="../escape")
    assert "empty" not in library()


def test_similarity_finds_the_rotation_of_a_copy_and_tells_others_apart(tmp_path):
    xyz = globule(2000)
    turned = Rotation.from_euler("xyz", [50, -20, 130], degrees=True).apply(xyz)
    plain = structure_of(write_carbons(tmp_path / "plain.pdb", xyz))
    copy = structure_of(write_carbons(tmp_path / "turned.pdb", turned))
    rod = np.stack([np.linspace(0, 150, 800), np.zeros(800), np.zeros(800)], axis=1)
    other = structure_of(write_carbons(tmp_path / "rod.pdb", rod))
    assert similarity(plain, copy) > 0.95
    assert similarity(plain, other) < 0.8
    (first, nearest), (second, farther) = finish(most_alike(plain, [other, copy], rotations=200))
    assert nearest is copy
    assert farther is other
    assert first > 0.9 > second
