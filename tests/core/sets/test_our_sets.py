"""What we write: read back by us and by other people's libraries."""

import dataclasses
import errno
import json
import re
import sys
import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch
import zarr

from napari_cryoshift.core import volumes as volume_functions
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.sets import read_metadata, read_set, write_set, zarr_store
from napari_cryoshift.core.types import Subtomograms

NAMES = ["set.zarr", "set.mrcs", "set"]
CLASSES = ("80S ribosome", "data_1 'q' # \"x\"", "apoferritin")


def made(n=7, box=6, *, labels=True, edge=True, voxel_size=13.7142857142857, seed=0):
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, box, box, box))).float()
    volumes = volume_functions.standardise(noise)
    subtomograms = Subtomograms.from_memory(
        volumes,
        voxel_size,
        labels=np.arange(n) % 3 if labels else None,
        classes=CLASSES if labels else (),
    )
    return dataclasses.replace(subtomograms, edge=np.arange(n) % 2 == 1 if edge else None)


def write(path, subtomograms, **metadata):
    finish(write_set(path, subtomograms, metadata))
    return path


# --- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [True, False])
def test_the_bits_come_back(tmp_path, name, labels):
    subtomograms = made(labels=labels, edge=labels)
    metadata = {"seed": 3, "snr": [0.1, 1 / 3], "nested": {"name": "å"}}
    back = read_set(write(tmp_path / name, subtomograms, **metadata))
    rows = [6, 0, 3, 3]
    assert back[:].numpy().tobytes() == subtomograms[:].numpy().tobytes()
    assert back[rows].numpy().tobytes() == subtomograms[rows].numpy().tobytes()
    assert back[-1].equal(subtomograms[[6]])
    assert back[[]].shape == (0, 6, 6, 6)
    assert (back.box, len(back), back.classes) == (6, 7, subtomograms.classes)
    assert back.voxel_size == subtomograms.voxel_size
    for column in ("labels", "edge"):
        ours, theirs = getattr(back, column), getattr(subtomograms, column)
        assert ours is theirs is None or (ours.dtype, ours.tolist()) == (
            theirs.dtype,
            theirs.tolist(),
        )
    assert read_metadata(tmp_path / name) == metadata


@pytest.mark.parametrize("name", NAMES)
def test_classes_without_a_volume_keep_their_place(tmp_path, name):
    subtomograms = dataclasses.replace(made(n=3), labels=np.array([2, 2, 1]))
    back = read_set(write(tmp_path / name, subtomograms))
    assert back.labels.tolist() == [2, 2, 1]
    assert back.classes == CLASSES


@pytest.mark.parametrize("name", NAMES)
def test_what_is_given_outdoes_what_the_set_says(tmp_path, name):
    subtomograms = made()
    back = read_set(write(tmp_path / name, subtomograms), voxel_size=5.0, dark=True, axes="xyz")
    assert back.voxel_size == 5.0
    assert back[[2]].equal(-subtomograms[[2]].permute(0, 3, 2, 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_set_can_be_moved(tmp_path, name):
    subtomograms = made()
    write(tmp_path / name, subtomograms)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in list(tmp_path.glob("set*")):
        file.rename(elsewhere / file.name)
    assert read_set(elsewhere / name)[:].equal(subtomograms[:])


def test_a_stack_is_found_by_its_list_too(tmp_path):
    write(tmp_path / "set.mrcs", made(), seed=1)
    by_list = read_set(tmp_path / "set.star")
    assert by_list[:].equal(made()[:])
    assert by_list.classes == CLASSES
    assert read_metadata(tmp_path / "set.star") == {"seed": 1}


def test_rows_taken_out_of_the_list_are_out_of_the_set(tmp_path):
    subtomograms = made()
    write(tmp_path / "set", subtomograms)
    star = tmp_path / "set" / "particles.star"
    lines = [line for line in star.read_text().splitlines() if "000003.mrc" not in line]
    star.write_text("\n".join(lines) + "\n")
    back, rows = read_set(tmp_path / "set"), [0, 1, 3, 4, 5, 6]
    assert back[:].equal(subtomograms[rows])
    assert back.labels.tolist() == subtomograms.labels[rows].tolist()
    assert back.edge.tolist() == subtomograms.edge[rows].tolist()


# --- as others read it ------------------------------------------------------------------------


def test_zarr_reads_the_store(tmp_path):
    subtomograms = made()
    group = zarr.open_group(write(tmp_path / "set.zarr", subtomograms, seed=5), mode="r")
    assert group.metadata.zarr_format == 3
    assert group["volumes"].dtype == np.float32
    np.testing.assert_array_equal(group["volumes"][:], subtomograms[:].numpy())
    np.testing.assert_array_equal(group["labels"][:], subtomograms.labels)
    attributes = dict(group.attrs)
    assert attributes["classes"] == list(CLASSES)
    assert attributes["voxel_size"] == subtomograms.voxel_size
    assert attributes["protein"] == "positive"
    assert attributes["metadata"] == {"seed": 5}


def test_mrcfile_reads_the_stack_as_volumes(tmp_path):
    subtomograms = made(n=130)  # more than are written at once
    path = write(tmp_path / "set.mrcs", subtomograms)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert file.is_volume_stack()
        assert (file.header.ispg, file.header.mz, file.header.nz) == (401, 6, 130 * 6)
        np.testing.assert_array_equal(file.data, subtomograms[:].numpy())
        assert file.voxel_size.tolist() == pytest.approx((subtomograms.voxel_size,) * 3)
        assert file.header.dmin == file.data.min()
        assert file.header.dmax == file.data.max()
        assert file.header.rms == pytest.approx(1, abs=1e-4)


def test_the_folder_is_what_relion_takes(tmp_path):
    """Labels that ObservationModel and Experiment::read ask for, and volumes one file each."""
    subtomograms = made()
    folder = write(tmp_path / "for relion", subtomograms)
    blocks = starfile.read(folder / "particles.star", always_dict=True)
    assert list(blocks) == ["optics", "particles"]
    optics, particles = blocks["optics"].iloc[0], blocks["particles"]
    assert optics["rlnImagePixelSize"] == pytest.approx(subtomograms.voxel_size)
    assert (optics["rlnImageSize"], optics["rlnImageDimensionality"]) == (6, 3)
    assert {"rlnVoltage", "rlnSphericalAberration", "rlnOpticsGroup"} <= set(optics.index)
    assert set(particles["rlnOpticsGroup"]) == {optics["rlnOpticsGroup"]}
    assert particles["rlnClassNumber"].tolist() == (subtomograms.labels + 1).tolist()
    for name, volume in zip(particles["rlnImageName"], subtomograms[:], strict=True):
        assert Path(name).is_absolute()
        with mrcfile.open(name) as file:
            assert file.is_volume()
            np.testing.assert_array_equal(file.data, volume.numpy())
            assert file.voxel_size.x == pytest.approx(subtomograms.voxel_size)


def test_the_list_of_a_stack_counts_from_one(tmp_path):
    path = write(tmp_path / "set.mrcs", made())
    names = starfile.read(tmp_path / "set.star", always_dict=True)["particles"]["rlnImageName"]
    assert names.tolist() == [f"{k:06d}@{path.resolve()}" for k in range(1, 8)]


# --- only what is asked for -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set.zarr", "set.mrcs"])
def test_one_volume_of_ten_thousand_is_read_alone(tmp_path, name):
    count, box = 10_000, 8
    volumes = torch.arange(count).float()[:, None, None, None].expand(count, box, box, box)
    large = Subtomograms.from_memory(volumes, 10.0)
    path = write(tmp_path / name, large)
    read_set(path)[[1]]  # what is imported and cached the first time is not what is asked here
    tracemalloc.start()
    back = read_set(path)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    assert (back[[7_654]] == 7_654).all()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 0.15 * count * box**3 * 4


def test_writing_holds_a_few_volumes_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_store, "_CHUNK_BYTES", 4 * 6**3 * 10)
    asked = []
    subtomograms = made(n=35)
    watched = dataclasses.replace(
        subtomograms, read=lambda rows: asked.append(len(rows)) or subtomograms.read(rows)
    )
    steps = list(write_set(tmp_path / "set.zarr", watched, {}))
    assert asked == [10, 10, 10, 5]
    assert [(step.step, step.total) for step in steps] == [(10, 35), (20, 35), (30, 35), (35, 35)]
    assert read_set(tmp_path / "set.zarr")[:].equal(subtomograms[:])


# --- whole or not at all ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_cancelling_leaves_nothing(tmp_path, name):
    job = write_set(tmp_path / name, made(n=200), {})
    next(job)
    assert any(tmp_path.iterdir())
    job.close()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_leaves_nothing(tmp_path, name):
    def fail(rows):
        if rows[0] > 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return torch.zeros(len(rows), 48, 48, 48)

    broken = Subtomograms(read=fail, count=200, box=48, voxel_size=10.0)
    with pytest.raises(OSError, match=r"No space left on device.*nothing was written"):
        write(tmp_path / name, broken)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*NAMES, "set.star", "set.json"])
def test_nothing_is_written_over(tmp_path, name):
    there = tmp_path / name
    if there.suffix in ("", ".zarr"):
        there.mkdir()
        (there / "mine.txt").write_text("mine")
    else:
        there.write_text("mine")
    path = tmp_path / ("set.mrcs" if there.suffix in (".star", ".json") else name)
    with pytest.raises(ValueError, match=f"{re.escape(name)} is there already"):
        write(path, made())
    assert (there / "mine.txt" if there.is_dir() else there).read_text() == "mine"


def test_an_empty_folder_may_be_chosen(tmp_path):
    (tmp_path / "set").mkdir()
    assert len(read_set(write(tmp_path / "set", made()))) == 7


def test_the_folder_one_is_in_is_not_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        write(".", made())
    finish(write_set("set", made(), {}))
    assert len(read_set("set")) == 7


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*away.*make it first"):
        write(tmp_path / "away" / "set.zarr", made())


# --- bad input --------------------------------------------------------------------------------


def test_a_strange_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.hdf; end it in \.zarr or \.mrcs"):
        write(tmp_path / "set.hdf", made())


def test_nothing_to_write(tmp_path):
    with pytest.raises(ValueError, match="0 volumes to write"):
        write(tmp_path / "set.zarr", made().take([]))


def test_metadata_that_json_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match=r"not fit into JSON.*give numbers"):
        write(tmp_path / "set.zarr", made(), when=object())
    with pytest.raises(ValueError, match="not fit into JSON"):
        write(tmp_path / "set.zarr", made(), snr=float("nan"))


def test_classes_without_names(tmp_path):
    nameless = dataclasses.replace(made(), classes=("a",))
    with pytest.raises(ValueError, match="labels go from 0 to 2, but there are 1 class names"):
        write(tmp_path / "set.zarr", nameless)


def test_metadata_of_a_foreign_set(tmp_path):
    np.save(tmp_path / "volumes.npy", np.zeros((2, 4, 4, 4)))
    with pytest.raises(ValueError, match="does not say how it was made"):
        read_metadata(tmp_path / "volumes.npy")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        read_metadata(tmp_path / "none.zarr")


def test_a_damaged_description(tmp_path):
    path = write(tmp_path / "set.mrcs", made())
    card = json.loads((tmp_path / "set.json").read_text())
    (tmp_path / "set.json").write_text(json.dumps(card | {"voxel_size": -1}))
    with pytest.raises(ValueError, match=r"set\.json has a damaged description \(voxel_size"):
        read_set(path)
    (tmp_path / "set.json").write_text("{")
    with pytest.raises(ValueError, match=r"set\.json is no regular JSON"):
        read_set(path)


def test_a_damaged_store(tmp_path):
    path = write(tmp_path / "set.zarr", made())
    (path / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="no regular Zarr store"):
        read_set(path)


def test_zarr_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "set.zarr", made())
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ValueError, match=r"set\.zarr needs the library zarr.*pip install"):
        read_set(path)
    with pytest.raises(ValueError, match="needs the library zarr"):
        write(tmp_path / "other.zarr", made())
    assert not (tmp_path / "other.zarr").exists()


@pytest.mark.parametrize(
    ("name", "which"),
    [("set.zarr", "volume 5 of 7"), ("set.mrcs", "5@set.mrcs"), ("set", "000005.mrc")],
)
@pytest.mark.filterwarnings("ignore:Data array contains NaN")
def test_a_volume_that_is_not_finite(tmp_path, name, which):
    volumes = made()[:]
    volumes[4, 1, 2, 3] = float("nan")
    path = write(tmp_path / name, Subtomograms.from_memory(volumes, 10.0))
    back = read_set(path)
    assert back[[3, 5]].isfinite().all()
    with pytest.raises(ValueError, match=f"{which} has NaN or infinite values; replace"):
        back[2:6]
