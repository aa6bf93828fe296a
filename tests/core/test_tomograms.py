import errno
import gzip
import os
import struct
import time
from pathlib import Path

import emfile
import mrcfile
import numpy as np
import pytest
from mrcfile.dtypes import HEADER_DTYPE
from scipy.ndimage import gaussian_filter

from napari_cryoshift.core.tomograms import (
    check_values,
    guess_dark,
    open_tomogram,
    read_header,
    save_volume,
)
from napari_cryoshift.core.types import Tomogram


def volume(shape=(6, 8, 10), dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write_mrc(path, data, voxel_size=10.0, **fields):
    """Write with mrcfile, then set header fields by name, e.g. mode=4 or origin_x=5."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = voxel_size
    raw = bytearray(Path(path).read_bytes())
    header = np.frombuffer(raw, HEADER_DTYPE, count=1)[0]
    for name, value in fields.items():
        field, _, axis = name.partition("_")
        if axis:
            header[field][axis] = value
        else:
            header[field] = value
    Path(path).write_bytes(raw)
    return path


def write_em(path, data, order="<", code=5):
    z, y, x = data.shape
    machine = 6 if order == "<" else 3
    head = struct.pack(f"{order}bbbb3i", machine, 0, 0, code, x, y, z).ljust(512, b"\0")
    path.write_bytes(head + data.astype(data.dtype.newbyteorder(order)).tobytes())
    return path


def caveats_of(path):
    return " ".join(read_header(path).caveats)


# --- opening ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [(0, np.int8), (1, np.int16), (2, np.float32), (6, np.uint16), (12, np.float16)],
)
def test_every_mode_gives_the_values_that_mrcfile_wrote(tmp_path, mode, dtype):
    data = volume((3, 4, 5), dtype)
    path = write_mrc(tmp_path / "a.mrc", data, 13.5)
    tomogram = open_tomogram(path)
    assert read_header(path).mode == mode
    assert isinstance(tomogram.data, np.memmap)
    assert tomogram.data.dtype == dtype
    np.testing.assert_array_equal(tomogram.data, data)
    assert tomogram.voxel_size == pytest.approx(13.5)
    assert tomogram.path == path


@pytest.mark.parametrize(
    ("file", "name"),
    [("TS_01.rec", "TS_01"), ("a_10.0A.mrc", "a_10.0A"), ("v.st", "v"), ("x.y.ccp4", "x.y")],
)
def test_name_is_the_file_name_without_its_suffix(tmp_path, file, name):
    assert open_tomogram(write_mrc(tmp_path / file, volume())).name == name


def test_gzipped_file_is_unpacked(tmp_path):
    data = volume()
    plain = write_mrc(tmp_path / "a.mrc", data)
    packed = tmp_path / "emd_1.map.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    tomogram = open_tomogram(packed)
    assert tomogram.name == "emd_1"
    np.testing.assert_array_equal(tomogram.data, data)


def test_big_endian_file(tmp_path):
    data = volume()
    path = write_mrc(tmp_path / "a.mrc", data)
    header = np.frombuffer(path.read_bytes(), HEADER_DTYPE, count=1)
    swapped = header.astype(HEADER_DTYPE.newbyteorder(">"))
    swapped["machst"] = (0x11, 0x11, 0, 0)
    path.write_bytes(swapped.tobytes() + data.astype(">f4").tobytes())
    np.testing.assert_array_equal(open_tomogram(path).data, data)
    assert not read_header(path).caveats

    swapped["machst"] = (0x44, 0x44, 0, 0)
    path.write_bytes(swapped.tobytes() + data.astype(">f4").tobytes())
    np.testing.assert_array_equal(open_tomogram(path).data, data)
    assert "wrong byte order" in caveats_of(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("code", "dtype"), [(2, "i2"), (5, "f4"), (9, "f8")])
def test_em_file(tmp_path, order, code, dtype):
    data = volume((3, 4, 5), dtype)
    path = write_em(tmp_path / "a.em", data, order, code)
    tomogram = open_tomogram(path, voxel_size=8.0)
    np.testing.assert_array_equal(tomogram.data, data)
    assert tomogram.voxel_size == 8.0
    assert read_header(path).voxel_size == 0


def test_extended_header_is_skipped(tmp_path):
    data = volume()
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(data)
        mrc.set_extended_header(np.zeros(77, dtype="V1"))
        mrc.voxel_size = 5
    np.testing.assert_array_equal(open_tomogram(tmp_path / "a.mrc").data, data)


def test_four_gigabytes_open_within_a_second(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume((2, 2, 2)), nx=1024, ny=1024, nz=1024)
    os.truncate(path, 1024 + 4 * 2**30)
    start = time.perf_counter()
    tomogram = open_tomogram(path, voxel_size=10)
    corner = tomogram.data[-1, -1, -1]
    assert time.perf_counter() - start < 1
    assert tomogram.shape == (1024, 1024, 1024)
    assert corner == 0


# --- what the header says --------------------------------------------------------------------


def test_plain_file_has_no_caveats(tmp_path):
    assert read_header(write_mrc(tmp_path / "a.mrc", volume())).caveats == ()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"voxel_size": 0.0}, "voxel size 0"),
        ({"voxel_size": 1.0}, "place-holder"),
        ({"voxel_size": (10.0, 10.0, 13.0)}, "10, 10, 13 Å"),
        ({"origin_x": -512.0}, "-512, 0, 0 Å"),
        ({"nzstart": -7}, "0, 0, -7"),
        ({"map": b"\0\0\0\0"}, "MAP stamp"),
        ({"machst": (0, 0, 0, 0)}, "machine stamp"),
        ({"mapc": 0}, "axis order"),
    ],
)
def test_caveats(tmp_path, fields, says):
    path = write_mrc(tmp_path / "a.mrc", volume(), **fields)
    assert says in caveats_of(path)
    np.testing.assert_array_equal(open_tomogram(path, voxel_size=10).data, volume())


def test_upright_specimen_is_hinted(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume((9, 8, 10)))
    assert "z (9) than along y (8)" in caveats_of(path)


def test_origin_is_kept_but_moves_no_voxel(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume(), origin_x=1.0, origin_y=2.0, origin_z=3.0)
    assert read_header(path).origin == (3.0, 2.0, 1.0)
    assert open_tomogram(path).data[1, 2, 3] == volume()[1, 2, 3]


@pytest.mark.parametrize("axes", [(1, 3, 2), (2, 1, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2)])
def test_permuted_axes_are_transposed_on_load(tmp_path, axes):
    data = volume((6, 8, 10))
    # Columns run along the first of these axes (1 = x), sections along the last.
    stored = data.transpose([3 - axis for axis in axes[::-1]])
    path = write_mrc(tmp_path / "a.mrc", np.ascontiguousarray(stored))
    raw = bytearray(path.read_bytes())
    header = np.frombuffer(raw, HEADER_DTYPE, count=1)[0]
    header["mapc"], header["mapr"], header["maps"] = axes
    header["mx"], header["my"], header["mz"] = 10, 8, 6
    for axis, length in zip("xyz", (100, 160, 180), strict=True):
        header["cella"][axis] = length
    path.write_bytes(raw)
    tomogram = open_tomogram(path, voxel_size=10)
    np.testing.assert_array_equal(tomogram.data, data)
    assert read_header(path).voxel_sizes == (30, 20, 10)
    assert "another order" in caveats_of(path)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, -56),  # MRC2014: signed
        ({"extra2": struct.pack("<40x2i36x", 1146047817, 1)}, -56),  # IMOD: flagged signed
        ({"extra2": struct.pack("<40x2i36x", 1146047817, 0)}, 200),  # IMOD: not flagged
        ({"dmax": 255}, 200),
    ],
)
def test_signed_and_unsigned_bytes(tmp_path, fields, value):
    data = np.full((3, 4, 5), 200, dtype=np.uint8).view(np.int8)
    data[0, 0, 0] = 1
    path = write_mrc(tmp_path / "a.mrc", data, **fields)
    assert open_tomogram(path).data[1, 1, 1] == value
    assert "signed" in caveats_of(path)


def test_report_names_size_voxel_size_and_caveats(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume((6, 8, 10)), 13.5, origin_x=4)
    report = read_header(path).report()
    assert "10 × 8 × 6 voxels" in report
    assert "13.5 Å" in report
    assert all(caveat in report for caveat in read_header(path).caveats)


# --- the voxel size --------------------------------------------------------------------------


def test_voxel_size_zero_has_to_be_given(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume(), 0.0)
    assert read_header(path).voxel_size == 0
    assert "not given" in read_header(path).report()
    with pytest.raises(ValueError, match=r"voxel size 0; give .*--voxel-size"):
        open_tomogram(path)
    assert open_tomogram(path, voxel_size=7.5).voxel_size == 7.5


def test_given_voxel_size_wins_and_is_noted(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume(), 10.0)
    tomogram = open_tomogram(path, voxel_size=13.0)
    assert tomogram.voxel_size == 13
    assert "The header says 10 Å, but 13 Å was given." in tomogram.caveats
    assert open_tomogram(path, voxel_size=10.0).caveats == ()


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_voxel_size_is_refused(tmp_path, size):
    path = write_mrc(tmp_path / "a.mrc", volume())
    with pytest.raises(ValueError, match="give a positive one"):
        open_tomogram(path, voxel_size=size)


# --- broken files ----------------------------------------------------------------------------


def test_truncated_file_is_refused_with_both_sizes(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume((6, 8, 10)))
    os.truncate(path, 2000)
    with pytest.raises(ValueError, match=r"2000 bytes, its header promises 2944"):
        open_tomogram(path)


def test_truncated_gzip_is_refused(tmp_path):
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    raw = gzip.compress(write_mrc(tmp_path / "a.mrc", noise).read_bytes())
    path = tmp_path / "b.mrc.gz"
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match="no whole gzip file"):
        open_tomogram(path)
    path.write_bytes(b"not packed at all" * 100)
    with pytest.raises(ValueError, match="no whole gzip file"):
        read_header(path)


def test_gzip_of_a_truncated_volume_is_refused(tmp_path):
    raw = write_mrc(tmp_path / "a.mrc", volume()).read_bytes()
    (tmp_path / "b.mrc.gz").write_bytes(gzip.compress(raw[:1500]))
    with pytest.raises(ValueError, match="cut short"):
        open_tomogram(tmp_path / "b.mrc.gz")


def test_image_is_refused(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume((8, 10)))
    with pytest.raises(ValueError, match=r"2-D image \(10 × 8 × 1 voxels\)"):
        open_tomogram(path)


def test_complex_values_are_refused(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume(dtype=np.complex64))
    with pytest.raises(ValueError, match="MRC mode 4"):
        open_tomogram(path)


def test_stack_of_volumes_is_refused(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", volume((3, 4, 5, 6)))
    with pytest.raises(ValueError, match="stack of 3 volumes"):
        open_tomogram(path)


@pytest.mark.parametrize("suffix", [".mrc", ".em"])
@pytest.mark.parametrize(
    "content", [b"", b"x,y,z\n1,2,3\n", b"some words of a text. " * 100, b"\0" * 5000]
)
def test_other_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.(mrc|em) is no (tomogram|MRC file|EM volume)"):
        open_tomogram(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_tomogram(tmp_path / "a.mrc")


# --- values ----------------------------------------------------------------------------------


class CountingSections:
    """An array that counts how many sections are read."""

    def __init__(self, data):
        self.data, self.shape, self.read = data, data.shape, 0

    def __getitem__(self, index):
        self.read += 1
        return self.data[index]


@pytest.mark.parametrize(
    ("value", "says"), [(3.0, "every voxel is 3"), (np.nan, "all NaN"), (np.inf, "all NaN")]
)
def test_blank_volumes_are_refused(value, says):
    tomogram = Tomogram(np.full((6, 8, 10), value), 10.0, "TS_01")
    with pytest.raises(ValueError, match=f"TS_01 is blank: .*{says}"):
        check_values(tomogram)


def test_one_voxel_that_differs_is_enough():
    data = np.full((6, 8, 10), 3.0)
    data[0, 0, 0] = 4
    check_values(Tomogram(data, 10.0, "a"))
    data[0] = np.nan
    data[5] = 2
    check_values(Tomogram(data, 10.0, "a"))


def test_check_stops_at_the_first_section_that_varies():
    sections = CountingSections(np.random.default_rng(0).normal(size=(100, 8, 8)))
    check_values(Tomogram(sections, 10.0, "a"))
    assert sections.read == 1


def particles_in_noise(voxel_size, contrast, seed=0):
    rng = np.random.default_rng(seed)
    shape = (40, 120, 120)
    centres = np.zeros(shape)
    centres[tuple(rng.integers(0, shape, size=(150, 3)).T)] = 1
    sigma = 60 / voxel_size
    blobs = gaussian_filter(centres, sigma) * (2 * np.pi * sigma**2) ** 1.5
    return (rng.normal(size=shape) + contrast * blobs).astype(np.float32)


@pytest.mark.parametrize("voxel_size", [10.0, 20.0, 40.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_dark_and_light_particles_are_told_apart(voxel_size, seed):
    data = particles_in_noise(voxel_size, contrast=1.0, seed=seed)
    assert not guess_dark(Tomogram(data, voxel_size, "light"))
    assert guess_dark(Tomogram(-data, voxel_size, "dark"))


def test_a_gold_bead_does_not_turn_the_guess():
    data = particles_in_noise(20.0, contrast=2.0)
    data[18:23, 50:55, 50:55] = -300
    assert not guess_dark(Tomogram(data, 20.0, "light"))


def test_missing_values_do_not_spoil_the_guess():
    data = particles_in_noise(20.0, contrast=1.0)
    data[:, :30] = np.nan
    assert not guess_dark(Tomogram(data, 20.0, "light"))


# --- saving ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mrc", ".mrc.gz"])
def test_saved_volume_opens_elsewhere_and_here(tmp_path, suffix):
    data = np.random.default_rng(0).normal(size=(4, 5, 6))
    path = tmp_path / f"a{suffix}"
    save_volume(path, data, 7.84)
    with mrcfile.open(path) as mrc:
        np.testing.assert_array_equal(mrc.data, data.astype(np.float32))
        assert mrc.voxel_size.x == pytest.approx(7.84)
    assert open_tomogram(path).voxel_size == pytest.approx(7.84)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_saving_keeps_small_types(tmp_path):
    save_volume(tmp_path / "a.mrc", volume(dtype=np.int8), 10.0)
    assert open_tomogram(tmp_path / "a.mrc").data.dtype == np.int8


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_the_old_volume(tmp_path, monkeypatch, step):
    path = tmp_path / "a.mrc"
    save_volume(path, volume(), 10.0)
    before = path.read_bytes()

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r"No space left on device\), the file .* is unchanged; free"):
        save_volume(path, volume() + 1, 10.0)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.mrc"]


def test_saving_into_no_folder(tmp_path):
    with pytest.raises(OSError, match="nothing was written"):
        save_volume(tmp_path / "none" / "a.mrc", volume(), 10.0)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_an_em_file_of_another_program_reads_alike(tmp_path, dtype):
    values = np.random.default_rng(0).integers(-99, 99, (7, 5, 3)).astype(dtype)
    emfile.write(tmp_path / "volume.em", values)
    read = open_tomogram(tmp_path / "volume.em", voxel_size=10.0)
    np.testing.assert_array_equal(np.asarray(read.data), values)
