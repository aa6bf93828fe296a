"""Sets as the papers' data come, and as other programs write them."""

import gzip
import io
import json
import shutil
import sys
import tracemalloc
import zipfile

import h5py
import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
import zarr
from mrcfile.dtypes import HEADER_DTYPE

from napari_cryoshift.core.sets import read_set

SAID = {"voxel_size": 10.0, "dark": False}


def cubes(n=6, box=5, seed=0):
    return np.random.default_rng(seed).normal(3, 2, size=(n, box, box, box)).astype(np.float32)


def standard(volumes):
    """Recomputed in double precision: mean 0, standard deviation 1 each."""
    axes = (-3, -2, -1)
    wide = np.asarray(volumes, dtype=np.float64)
    return (wide - wide.mean(axes, keepdims=True)) / wide.std(axes, keepdims=True)


def same(subtomograms, volumes):
    read = subtomograms[:].numpy()
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, standard(volumes), atol=2e-5)


def mrc(path, volume, voxel_size=9.5):
    path.parent.mkdir(exist_ok=True, parents=True)
    mrcfile.write(path, volume, voxel_size=voxel_size)
    return path


def text(path, content):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def particle_star(path, names, *, pixel_sizes=(9.5,), classes=None):
    table = {"rlnImageName": names}
    if classes is not None:
        table["rlnClassNumber"] = classes
    optics = {
        "rlnOpticsGroup": list(range(1, len(pixel_sizes) + 1)),
        "rlnImagePixelSize": list(pixel_sizes),
    }
    starfile.write({"optics": pd.DataFrame(optics), "particles": pd.DataFrame(table)}, path)
    return path


# --- sign, voxel size, scale and axes ---------------------------------------------------------


def test_sign_and_scale(tmp_path):
    volumes = cubes()
    np.save(tmp_path / "v.npy", volumes)
    same(read_set(tmp_path / "v.npy", voxel_size=10, dark=False), volumes)
    same(read_set(tmp_path / "v.npy", voxel_size=10, dark=True), -volumes)


def test_axes_in_the_order_of_aitom(tmp_path):
    volumes = cubes()
    np.save(tmp_path / "v.npy", volumes)
    turned = read_set(tmp_path / "v.npy", axes="xyz", **SAID)[:]
    assert turned[2, 0, 3, 4] == pytest.approx(standard(volumes)[2, 4, 3, 0], abs=1e-5)


def test_voxel_size_and_sign_are_asked_for(tmp_path):
    np.save(tmp_path / "v.npy", cubes())
    with pytest.raises(ValueError, match=r"v\.npy does not say its voxel size; give it"):
        read_set(tmp_path / "v.npy", dark=True)
    with pytest.raises(ValueError, match=r"v\.npy does not say whether .* dark or light; give it"):
        read_set(tmp_path / "v.npy", voxel_size=10)
    with pytest.raises(ValueError, match="is 0 Å; give a positive one"):
        read_set(tmp_path / "v.npy", voxel_size=0, dark=True)


@pytest.mark.parametrize("placeholder", [0.0, 1.0])
def test_a_placeholder_is_no_voxel_size(tmp_path, placeholder):
    mrc(tmp_path / "set" / "1.mrc", cubes()[0], voxel_size=placeholder)
    with pytest.raises(ValueError, match="does not say its voxel size"):
        read_set(tmp_path / "set", dark=True)
    assert read_set(tmp_path / "set", dark=True, voxel_size=1.0).voxel_size == 1.0


@pytest.mark.parametrize("dtype", ["float16", "float64", "int16", "uint8", ">f4"])
def test_any_real_type(tmp_path, dtype):
    volumes = (10 * cubes()).clip(0, 200).astype(dtype)
    np.save(tmp_path / "v.npy", volumes)
    same(read_set(tmp_path / "v.npy", **SAID), volumes)


# --- a folder a class -------------------------------------------------------------------------


def test_a_folder_a_class_of_mrc(tmp_path):
    volumes = cubes(4)
    for name, volume in zip(
        ["ribosome/2.mrc", "ribosome/10.mrc", "TRiC/a.rec", "TRiC/b.mrc"], volumes, strict=True
    ):
        mrc(tmp_path / "set" / name, volume)
    (tmp_path / "set" / ".DS_Store").mkdir()
    text(tmp_path / "set" / "TRiC" / "._a.mrc", "rubbish of another system")
    read = read_set(tmp_path / "set", dark=False)
    same(read, volumes[[2, 3, 0, 1]])  # 2 before 10
    assert read.classes == ("TRiC", "ribosome")
    assert read.labels.tolist() == [0, 0, 1, 1]
    assert read.voxel_size == pytest.approx(9.5)


def test_a_folder_a_class_of_npy(tmp_path):
    volumes = cubes(3)
    for name, volume in zip(["5T2C/0", "5T2C/1", "1KP8/0"], volumes, strict=True):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "set" / f"{name}.npy", volume)
    read = read_set(tmp_path / "set", axes="xyz", **SAID)
    same(read, volumes[[2, 0, 1]].transpose(0, 3, 2, 1))
    assert read.classes == ("1KP8", "5T2C")
    assert read.labels.tolist() == [0, 1, 1]


def test_the_public_simulated_sets(tmp_path):
    """<class>/subtomogram_mrc/tomotarget0.mrc, with density maps that are no members."""
    volumes = cubes(2)
    for name, volume in zip(["1bxn", "3hhb"], volumes, strict=True):
        mrc(tmp_path / "set" / name / "subtomogram_mrc" / "tomotarget0.mrc", volume)
        mrc(tmp_path / "set" / name / "densitymap_mrc" / "packtarget0.mrc", volume)
        text(tmp_path / "set" / name / "json_label" / "target0.json", {"name": name})
    read = read_set(tmp_path / "set", dark=False)
    same(read, volumes)
    assert read.classes == ("1bxn", "3hhb")


def test_packed_volumes(tmp_path):
    volumes = cubes(2)
    for number, volume in enumerate(volumes):
        path = mrc(tmp_path / "set" / "a" / f"{number}.mrc", volume)
        with path.open("rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        path.unlink()
    same(read_set(tmp_path / "set", dark=False), volumes)


# --- JSON labels ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["name", "class", "label", None])
def test_a_json_file_beside_each_volume(tmp_path, key):
    volumes, names = cubes(3), ["b", "a", "b"]
    for number, (volume, name) in enumerate(zip(volumes, names, strict=True)):
        mrc(tmp_path / "set" / f"v{number}.mrc", volume)
        text(tmp_path / "set" / f"v{number}.json", json.dumps({key: name} if key else name))
    read = read_set(tmp_path / "set", dark=False)
    same(read, volumes)
    assert read.classes == ("a", "b")
    assert read.labels.tolist() == [1, 0, 1]


def test_json_files_in_a_folder_of_their_own_with_the_same_numbers(tmp_path):
    volumes = cubes(12)
    for number, volume in enumerate(volumes):
        mrc(tmp_path / "set" / "subtomogram_mrc" / f"tomotarget{number}.mrc", volume)
        text(tmp_path / "set" / "json_label" / f"target{number}.json", {"name": f"c{number % 5}"})
    read = read_set(tmp_path / "set", dark=False)
    same(read, volumes)
    assert read.labels.tolist() == [number % 5 for number in range(12)]


def test_one_json_file_for_all(tmp_path):
    volumes = cubes(3)
    for number, volume in enumerate(volumes):
        mrc(tmp_path / "set" / f"v{number}.mrc", volume)
    text(tmp_path / "set" / "labels.json", {"v0.mrc": "x", "v1": 7, "v2.mrc": "x"})
    read = read_set(tmp_path / "set", dark=False)
    assert read.classes == ("7", "x")
    assert read.labels.tolist() == [1, 0, 1]


def test_no_labels_are_none(tmp_path):
    for number, volume in enumerate(cubes(3)):
        mrc(tmp_path / "set" / f"v{number}.mrc", volume)
    read = read_set(tmp_path / "set", dark=False)
    assert read.labels is None
    assert read.classes == ()


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"v0.mrc": "x"}, r"1 of 2 volumes in set have no label, such as v1\.mrc; label all"),
        (["x", "y"], "does not say which class belongs to which file"),
        ("{", "labels.json is no regular JSON file"),
        ("[" * 100_000, "labels.json is no regular JSON file"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, labels, sentence):
    for number, volume in enumerate(cubes(2)):
        mrc(tmp_path / "set" / f"v{number}.mrc", volume)
    text(tmp_path / "set" / "labels.json", labels)
    with pytest.raises(ValueError, match=sentence):
        read_set(tmp_path / "set", dark=False)


def test_a_json_file_without_a_class(tmp_path):
    mrc(tmp_path / "set" / "v.mrc", cubes()[0])
    text(tmp_path / "set" / "v.json", {"snr": 0.1})
    with pytest.raises(ValueError, match=r"v\.json names no class; give it under the key name"):
        read_set(tmp_path / "set", dark=False)


# --- arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", ["v_labels.npy", "labels.npy"])
def test_npy_with_labels_beside(tmp_path, beside):
    volumes = cubes(4)
    np.save(tmp_path / "v.npy", volumes)
    np.save(tmp_path / beside, np.array([10, 2, 10, 3]))
    read = read_set(tmp_path / "v.npy", **SAID)
    same(read, volumes)
    assert read.classes == ("2", "3", "10")
    assert read.labels.tolist() == [2, 0, 2, 1]


def test_npz_with_names_for_its_labels(tmp_path):
    volumes = cubes(3).astype(np.float16)
    np.savez(tmp_path / "S.npz", x=volumes, y=[2, 0, 2], names=["c", "b", "a"], other=np.eye(3))
    read = read_set(tmp_path / "S.npz", **SAID)
    same(read, volumes)
    assert read.classes == ("c", "b", "a")  # as the file has them
    assert read.labels.tolist() == [2, 0, 2]


def test_npz_with_names_as_labels(tmp_path):
    np.savez(tmp_path / "S.npz", volumes=cubes(3), labels=["b", "a", "b"])
    read = read_set(tmp_path / "S.npz", **SAID)
    assert read.classes == ("a", "b")
    assert read.labels.tolist() == [1, 0, 1]


def test_hdf5(tmp_path):
    volumes = cubes(4)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["data/subtomograms"] = volumes
        file["data/target"] = np.array([1, 1, 0, 1], dtype=np.uint8)
        file["data/classes"] = ["ribosome", "proteasome"]
    read = read_set(tmp_path / "s.h5", **SAID)
    same(read, volumes)
    assert read[[3, 0, 3]].equal(read[:][[3, 0, 3]])
    assert read.classes == ("ribosome", "proteasome")
    assert read.labels.tolist() == [1, 1, 0, 1]


def test_a_zarr_store_of_others(tmp_path):
    volumes = cubes(4)
    group = zarr.create_group(tmp_path / "s.zarr", zarr_format=2)
    group.create_array("images", data=volumes)
    group.create_array("y", data=np.array([5, 5, 4, 5]))
    read = read_set(tmp_path / "s.zarr", **SAID)
    same(read, volumes)
    assert read.classes == ("4", "5")
    zarr.create_array(tmp_path / "a.zarr", data=volumes)
    same(read_set(tmp_path / "a.zarr", **SAID), volumes)


@pytest.mark.parametrize("name", ["v.npy", "v.h5"])
def test_one_volume_of_ten_thousand_is_read_alone(tmp_path, name):
    volumes = np.arange(10_000 * 8**3, dtype=np.float32).reshape(-1, 8, 8, 8)
    if name == "v.npy":
        np.save(tmp_path / name, volumes)
    else:
        with h5py.File(tmp_path / name, "w") as file:
            file["volumes"] = volumes
    read_set(tmp_path / name, **SAID)[[1]]
    tracemalloc.start()
    read_set(tmp_path / name, **SAID)[[5_000]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * volumes.nbytes


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"a": cubes(2), "b": cubes(2)}, r"2 arrays that could be volumes \(a, b\); keep one"),
        ({"v": cubes(2), "p": [1, 2], "q": [1, 2]}, r"could be labels \(p, q\)"),
        ({"v": cubes(4), "labels": [1, 2, 3]}, "4 volumes but 3 labels; give one label a volume"),
        ({"v": cubes(2), "y": [0, 2], "names": ["a", "b"]}, "label 2 but names 2 classes"),
        ({"v": cubes(2), "y": [0, 0.5]}, "label 0.5; give names or whole numbers"),
        ({"v": cubes(2), "y": [0, np.nan]}, "label nan; give names or whole numbers"),
        ({"v": np.zeros((3, 3))}, r"no array of the shape \(n, d, d, d\) but v \(3, 3\)"),
        ({"v": cubes(2).astype(complex)}, "type complex128, which are no grey values"),
        ({"v": np.zeros((2, 3, 4, 4))}, "volumes of 3 × 4 × 4 voxels; cut cubes"),
        ({"v": np.zeros((0, 4, 4, 4))}, "holds 0 volumes"),
        ({"v": np.array([None, 1])}, "no whole .npz file"),
    ],
)
def test_arrays_that_are_no_set(tmp_path, arrays, sentence):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(ValueError, match=sentence):
        read_set(tmp_path / "s.npz", **SAID)


# --- particle STAR files ----------------------------------------------------------------------


def test_single_files_named_from_the_project_folder(tmp_path):
    """RELION names files as seen from its project folder, not from that of the list."""
    volumes = cubes(3)
    job = tmp_path / "Extract" / "job007"
    names = [f"Extract/job007/Subtomograms/TS_01/{k}_data.mrc" for k in (1, 2, 3)]
    for name, volume in zip(names, volumes, strict=True):
        mrc(tmp_path / name, volume, voxel_size=0)
    star = particle_star(job / "particles.star", names, classes=[3, 1, 3])
    read = read_set(star, dark=False)
    same(read, volumes)
    assert read.classes == ("class 1", "class 3")
    assert read.labels.tolist() == [1, 0, 1]
    assert read.voxel_size == pytest.approx(9.5)


def test_stacks_of_volumes(tmp_path):
    volumes = cubes(5)
    for name, part in (("a.mrcs", volumes[:2]), ("b.mrcs", volumes[2:])):
        mrcfile.write(tmp_path / name, part, voxel_size=9.5)
    names = ["000001@b.mrcs", "2@a.mrcs", "3@b.mrcs"]
    read = read_set(particle_star(tmp_path / "p.star", names, classes=[0, 0, 0]), dark=False)
    same(read, volumes[[2, 1, 4]])
    assert read.labels is None  # class 0 is RELION's word for none


def test_a_stack_of_the_other_byte_order(tmp_path):
    volumes = cubes(3)
    mrcfile.write(tmp_path / "s.mrcs", volumes.astype(">f4"), voxel_size=9.5)
    read = read_set(tmp_path / "s.mrcs", dark=False)
    same(read, volumes)
    assert read.voxel_size == pytest.approx(9.5)


def test_a_stack_that_does_not_say_that_it_is_one(tmp_path):
    """Space group 1 and all sections in one: as many programs leave a stack of volumes."""
    volumes = cubes(3)
    mrcfile.write(tmp_path / "s.mrcs", volumes.reshape(15, 5, 5), voxel_size=9.5)
    same(read_set(tmp_path / "s.mrcs", dark=False), volumes)


@pytest.mark.parametrize(
    ("names", "options", "sentence"),
    [
        (["1.mrc", "none.mrc"], {}, r"names none\.mrc, which is not there; put it beside"),
        (["1.mrc", "1@s.mrcs"], {}, "names 1 volumes in stacks and 1 in files of their own"),
        (["4@s.mrcs"], {}, r"names volume 4 of s\.mrcs, which holds 3"),
        (["0@s.mrcs"], {}, r"names volume 0 of s\.mrcs"),
        (["1.mrc"], {"pixel_sizes": (5, 9)}, "optics groups of 5 and 9 Å a voxel"),
        (["1.mrc", "big.mrc"], {}, r"1\.mrc has 5 × 5 × 5 voxels but big\.mrc has 6 × 6 × 6"),
        (["1@s.mrcs", "1@big.mrcs"], {}, r"volumes of \(5, 5, 5\) and \(6, 6, 6\)"),
        (["1@tilts.mrcs"], {}, "a stack of 7 images of 5 × 5 pixels, not of volumes"),
        (["1@cut.mrcs"], {}, "is cut short: the file has 1300 bytes, its header promises 2524"),
        (["1@text.mrcs"], {}, "is no MRC stack"),
        (["1@huge.mrcs"], {}, "is cut short: the file has 1524 bytes, its header promises 944471"),
        (["1.mrc"], {"classes": [0.5]}, "rlnClassNumber 0.5, which is no whole number"),
        (["1.mrc"], {"classes": ["nan"]}, "row 1 has no number in column rlnClassNumber"),
    ],
)
def test_lists_of_volumes_that_cannot_be_used(tmp_path, names, options, sentence):
    mrc(tmp_path / "1.mrc", cubes()[0])
    mrc(tmp_path / "big.mrc", cubes(box=6)[0])
    mrc(tmp_path / "s.mrcs", cubes(3))
    mrc(tmp_path / "big.mrcs", cubes(3, box=6))
    mrc(tmp_path / "tilts.mrcs", np.zeros((7, 5, 5), np.float32))
    (tmp_path / "cut.mrcs").write_bytes((tmp_path / "s.mrcs").read_bytes()[:1300])
    text(tmp_path / "text.mrcs", "no header " * 200)
    huge = np.frombuffer((tmp_path / "s.mrcs").read_bytes(), HEADER_DTYPE, count=1).copy()
    huge["nx"] = huge["ny"] = 2**20 - 1
    huge["nz"], huge["mz"] = 2**31 - 1, 1
    (tmp_path / "huge.mrcs").write_bytes(huge.tobytes() + bytes(500))
    star = particle_star(tmp_path / "p.star", names, **options)
    with pytest.raises(ValueError, match=sentence):
        read_set(star, dark=False)


def test_a_list_of_picks_is_no_set(tmp_path):
    text(tmp_path / "p.star", "data_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnTomoName #2\n1 a\n")
    with pytest.raises(ValueError, match="no rlnImageName: its particles are not extracted"):
        read_set(tmp_path / "p.star", dark=False)


def test_several_lists_in_a_folder(tmp_path):
    mrc(tmp_path / "set" / "1.mrc", cubes()[0])
    for name in ("a.star", "b.star"):
        particle_star(tmp_path / "set" / name, ["1.mrc"])
    with pytest.raises(ValueError, match=r"2 particle lists \(a\.star, b\.star\); choose one"):
        read_set(tmp_path / "set", dark=False)


# --- bad input --------------------------------------------------------------------------------


def test_volumes_of_two_sizes(tmp_path):
    mrc(tmp_path / "set" / "a" / "1.mrc", cubes(box=5)[0])
    mrc(tmp_path / "set" / "b" / "2.mrc", cubes(box=6)[0])
    with pytest.raises(ValueError, match=r"1\.mrc has 5 × 5 × 5 voxels but 2\.mrc has 6 × 6 × 6"):
        read_set(tmp_path / "set", dark=False)


def test_volumes_of_two_voxel_sizes(tmp_path):
    mrc(tmp_path / "set" / "1.mrc", cubes()[0], voxel_size=5)
    mrc(tmp_path / "set" / "2.mrc", cubes()[0], voxel_size=9)
    with pytest.raises(ValueError, match=r"voxels of 5 Å but 2\.mrc of 9 Å"):
        read_set(tmp_path / "set", dark=False)


def test_no_cubes(tmp_path):
    mrc(tmp_path / "set" / "1.mrc", np.zeros((4, 5, 5), np.float32))
    with pytest.raises(ValueError, match=r"1\.mrc has volumes of 4 × 5 × 5 voxels; cut cubes"):
        read_set(tmp_path / "set", dark=False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    volumes = cubes(6)
    volumes[3, 0, 0, 0] = value
    np.save(tmp_path / "v.npy", volumes)
    read = read_set(tmp_path / "v.npy", **SAID)
    assert read[[0, 5]].isfinite().all()
    with pytest.raises(ValueError, match="volume 4 of 6 has NaN or infinite values; replace"):
        read[2:5]


def test_a_class_and_a_file_name_the_volume_that_is_not_finite(tmp_path):
    np_volume = cubes()[0]
    np_volume[1, 1, 1] = np.nan
    (tmp_path / "set" / "TRiC").mkdir(parents=True)
    np.save(tmp_path / "set" / "TRiC" / "7.npy", np_volume)
    with pytest.raises(ValueError, match=r"TRiC/7\.npy has NaN"):
        read_set(tmp_path / "set", **SAID)[:]


def test_an_index_beyond_the_end(tmp_path):
    np.save(tmp_path / "v.npy", cubes(3))
    with pytest.raises(IndexError):
        read_set(tmp_path / "v.npy", **SAID)[[3]]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("s.npy", b"", "s.npy is empty"),
        ("s.npy", b"\x93NUMPY\x01\x00", "no whole .npy array"),
        ("s.npz", b"PK\x03\x04 and then nothing", "no whole .npz file"),
        ("s.h5", b"\x89HDF\r\n\x1a\n and then nothing", "no whole HDF5 file"),
        ("s.txt", b"no set", "no set of subtomograms known here; choose"),
    ],
)
def test_files_that_are_no_set(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_set(tmp_path / name, **SAID)


def test_an_array_beyond_memory(tmp_path):
    head = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 64, 64, 64)}
    np.lib.format.write_array_header_1_0(head, shape)
    (tmp_path / "s.npy").write_bytes(head.getvalue() + bytes(100))
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as file:
        file.write(tmp_path / "s.npy", "volumes.npy")
    for name, sentence in (("s.npy", "no whole .npy array"), ("s.npz", "not fit into memory")):
        with pytest.raises(ValueError, match=sentence):
            read_set(tmp_path / name, **SAID)


def refusal(path):
    """Return what is said against a file; nothing if it is read."""
    try:
        read_set(path, **SAID)
    except ValueError as error:
        return str(error)
    return ""


def test_a_damaged_hdf5_file_is_refused_or_read(tmp_path):
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file["volumes"], file["labels"] = cubes(3), [0, 1, 0]
    whole = path.read_bytes()
    said = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        content = bytearray(whole)
        for at in rng.integers(8, 2500, 20):
            content[at] = rng.integers(256)
        path.write_bytes(content)
        said.append(refusal(path))
    assert any(said)
    assert not any("\n" in sentence for sentence in said)


def test_folders_that_are_no_set(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no volumes and no folders of them"):
        read_set(tmp_path / "set", **SAID)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        read_set(tmp_path / "none", **SAID)


def test_h5py_missing(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["volumes"] = cubes()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"s\.h5 needs the library h5py"):
        read_set(tmp_path / "s.h5", **SAID)
