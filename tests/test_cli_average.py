"""`cryoshift average`: from a tomogram and a list to a mean."""

import csv

import mrcfile
import numpy as np
import pytest

from napari_cryoshift.cli import main
from napari_cryoshift.core.tomograms import save_volume

PLACES = [(x, y, 10) for x in (10, 30) for y in (10, 24, 38)]


@pytest.fixture
def home(tmp_path):
    grid = np.stack(np.indices((20, 48, 40)), -1)
    centres = np.array([place[::-1] for place in PLACES])[:, None, None, None]
    distance = np.linalg.norm(grid[None] - centres, axis=-1).min(0)
    noise = np.random.default_rng(0).normal(size=distance.shape)
    balls = 5 * np.exp(-np.square(distance / 4)) + 0.2 * noise
    save_volume(tmp_path / "tomo.mrc", -balls.astype(np.float32), 20.0)
    rows = [f"{x},{y},{z},ball" for x, y, z in PLACES]
    (tmp_path / "picks.csv").write_text("\n".join(["x,y,z,class", *rows, "20,20,4,other"]) + "\n")
    return tmp_path


def average(home, *flags):
    words = ["average", home / "tomo.mrc", home / "picks.csv", "--quiet", "--diameter", 200]
    usual = ["--rotation-step", 60, "--rounds", 1, "--out", home / "mean.mrc"]
    return main([str(word) for word in (*words, *usual, *flags)])


def test_the_mean_its_curve_and_the_aligned_particles_are_written(home, capsys):
    assert average(home, "--class", "ball") == 0
    assert "the mean of 6 particles in" in capsys.readouterr().out
    with mrcfile.open(home / "mean.mrc") as file:
        mean, voxel_size = file.data.copy(), float(file.voxel_size.x)
    assert voxel_size == pytest.approx(50 / 3, rel=1e-3)
    # Protein is positive, and in the middle.
    top = np.array(np.unravel_index(mean.argmax(), mean.shape))
    assert np.abs(top - len(mean) // 2).max() <= 2
    with (home / "mean.fsc.csv").open() as file:
        curve = [tuple(map(float, row.values())) for row in csv.DictReader(file)]
    assert curve[0][0] == pytest.approx(1 / (len(mean) * voxel_size), rel=1e-3)
    assert curve[0][1] > 0.9
    listed = (home / "mean.csv").read_text().splitlines()
    assert len(listed) == 1 + len(PLACES)
    assert "rot" in listed[0]


def test_a_class_that_is_not_there_is_refused_in_a_sentence(home, capsys):
    assert average(home, "--class", "tube") == 2
    assert "0 particles cannot be split into half sets" in capsys.readouterr().err
    assert not (home / "mean.mrc").exists()
