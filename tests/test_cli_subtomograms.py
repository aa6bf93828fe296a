"""`cryoshift subtomograms`: from a tomogram and a list to a set."""

import numpy as np
import pytest

from napari_cryoshift.cli import main
from napari_cryoshift.cli.subtomograms import CutSubtomograms
from napari_cryoshift.core.formats import read_particles
from napari_cryoshift.core.sets import read_metadata, read_set
from napari_cryoshift.core.tomograms import open_tomogram, save_volume
from napari_cryoshift.core.volumes import crop

ROWS = {"8,7,6,b": "b", "10,12,9.5,a": "a", "20,9,8,b": "b", "12,12,12,": ""}


@pytest.fixture
def home(tmp_path):
    noise = np.random.default_rng(0).normal(size=(20, 24, 28)).astype(np.float32)
    save_volume(tmp_path / "tomo.mrc", noise, 10.0)
    (tmp_path / "all.csv").write_text("x,y,z,class\n" + "\n".join(ROWS) + "\n")
    (tmp_path / "picks.csv").write_text("x,y,z\n8,7,6\n10,12,9.5\n")
    return tmp_path


def cut(home, out, **flags):
    usual = {"picks": home / "all.csv", "box": 6, "voxel_size_out": 12.0, "quiet": True}
    command = CutSubtomograms(tomogram=home / "tomo.mrc", out=home / out, **(usual | flags))
    command.run()
    return read_set(home / out)


@pytest.mark.parametrize("out", ["set.zarr", "set.mrcs", "set"])
def test_classes_are_those_of_the_list(home, capsys, out):
    read = cut(home, out)
    assert read.classes == ("a", "b")
    assert read.labels.tolist() == [1, 0, 1]
    assert (read.box, read.voxel_size) == (6, 12.0)
    listed = read_particles(home / "all.csv").take([0, 1, 2])
    direct = crop(open_tomogram(home / "tomo.mrc"), listed, box=6, voxel_size=12.0)
    assert read[:].equal(direct[:])
    assert read.edge.tolist() == direct.edge.tolist()
    assert "1 of 4 particles have no class: left out" in capsys.readouterr().out
    metadata = read_metadata(home / out)
    assert metadata["tomogram"] == "tomo.mrc"
    assert metadata["positions_zyx"] == [[6, 7, 8], [9.5, 12, 10], [8, 9, 20]]


def test_a_list_without_classes_is_a_set_without_labels(home):
    read = cut(home, "set.zarr", picks=home / "picks.csv")
    assert len(read) == 2
    assert read.labels is None


def test_light_particles_are_not_turned(home):
    dark, light = cut(home, "dark.zarr"), cut(home, "light.zarr", light=True)
    assert dark[:].equal(-light[:])


def test_the_grid_is_that_of_the_embedding_unless_said(home):
    read = cut(home, "set.zarr", box=None, voxel_size_out=None)
    assert (read.box, read.voxel_size) == (24, 16.0)


@pytest.mark.parametrize("wrong", [{"box": 1}, {"voxel_size_out": 0.0}])
def test_an_empty_grid(home, wrong):
    with pytest.raises(ValueError, match=r"voxels of .* Å a side; give 2 voxels or more"):
        cut(home, "set.zarr", **wrong)


def test_check_tells_a_set_whose_variances_give_its_classes_away(tmp_path, capsys):
    generator = np.random.default_rng(0)
    labels = np.repeat(["big", "small"], 20)
    spread = np.where(labels == "big", 1.0, 1.5) * generator.uniform(0.95, 1.05, 40)
    volumes = generator.normal(size=(40, 8, 8, 8)) * spread[:, None, None, None]
    flags = ["--voxel-size", "10", "--particles", "light", "--axes", "zyx", "--quiet"]
    np.savez(tmp_path / "leaky.npz", volumes=volumes, labels=labels)
    assert main(["check", str(tmp_path / "leaky.npz"), *flags]) == 0
    said = capsys.readouterr().out
    assert "40 volumes of 8³ voxels of 10 Å" in said
    assert "      20  big" in said
    assert "by its variance alone 100%" in said
    assert "standardise these volumes" in said

    even = volumes - volumes.mean((1, 2, 3), keepdims=True)
    even /= even.std((1, 2, 3), keepdims=True)
    np.savez(tmp_path / "even.npz", volumes=even, labels=labels)
    assert main(["check", str(tmp_path / "even.npz"), *flags]) == 0
    assert "standardise" not in capsys.readouterr().out


def test_check_refuses_a_set_without_labels(tmp_path, capsys):
    np.savez(tmp_path / "set.npz", volumes=np.random.default_rng(0).normal(size=(4, 8, 8, 8)))
    flags = ["--voxel-size", "10", "--particles", "light", "--axes", "zyx"]
    assert main(["check", str(tmp_path / "set.npz"), *flags]) == 2
    assert "set.npz has no labels; choose a labelled set" in capsys.readouterr().err
