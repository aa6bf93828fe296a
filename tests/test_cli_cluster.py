"""`cryoshift cluster`: from a tomogram and a list to groups, regions and averages."""

import csv
from functools import partial

import mrcfile
import numpy as np
import pytest

from napari_cryoshift.cli import cluster as cli_cluster
from napari_cryoshift.cli import main
from napari_cryoshift.core import segmentation
from napari_cryoshift.core.tomograms import save_volume

BALLS = [(x, y) for x in (15, 37, 59, 81, 103) for y in (15, 37, 59)]
RODS = [(x, 81) for x in (15, 37, 59, 81, 103)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    volume = np.random.default_rng(0).normal(0, 0.3, (40, 96, 120)).astype(np.float32)
    z, y, x = np.mgrid[-9:10, -9:10, -9:10].astype(float)
    shapes = {"ball": z**2 + y**2 + x**2 < 49, "rod": 1.6 * ((y**2 + x**2 < 12) & (abs(z) < 9))}
    for name, places in (("ball", BALLS), ("rod", RODS)):
        for i, j in places:
            volume[11:30, j - 9 : j + 10, i - 9 : i + 10] -= shapes[name]
    save_volume(folder / "tomo.mrc", volume, 10.0)
    rows = [f"{i},{j},20" for i, j in (*RODS, *BALLS)]
    (folder / "picks.csv").write_text("\n".join(["x,y,z", *rows]) + "\n")
    return folder


def cluster(home, *flags):
    words = ["cluster", home / "tomo.mrc", home / "picks.csv", "--quiet", "--out", home / "c.csv"]
    return main([str(word) for word in (*words, *flags)])


def test_groups_regions_and_averages_are_written(home, capsys):
    usual = ("--components", 2, "--diameter", 140)
    files = ("--labels", home / "regions.mrc", "--averages", home / "averages")
    assert cluster(home, "--clusters", 2, *usual, *files) == 0
    said = capsys.readouterr().out
    assert "20 particles in" in said
    assert "2 groups, as asked for; BIC" in said
    with (home / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["cluster 2"] * 5 + ["cluster 1"] * 15
    chances = [[float(row[f"p_cluster {i}"]) for i in (1, 2)] for row in rows]
    np.testing.assert_allclose(np.sum(chances, 1), 1, atol=1e-5)
    with mrcfile.open(home / "regions.mrc") as file:
        regions = file.data.copy()
    assert regions.shape == (40, 96, 120)
    assert {int(regions[20, j, i]) for i, j in BALLS} == {1}
    assert {int(regions[20, j, i]) for i, j in RODS} == {2}
    assert regions[20, 15, 26] == 0  # between two balls
    names = {file.name for file in (home / "averages").iterdir()}
    assert names == {f"cluster_{i}.{end}" for i in (1, 2) for end in ("mrc", "fsc.csv")}


def test_the_number_of_groups_is_found_by_its_criterion(home, capsys):
    assert cluster(home, "--clusters", 2, 3, "--components", 2) == 0
    assert "groups, of 2, 3 by BIC; BIC" in capsys.readouterr().out


def test_groups_are_also_found_by_known_structures(home, capsys):
    assert cluster(home, "--compare", "--clusters", 2, "--components", 2) == 0
    assert "2 groups, as asked for" in capsys.readouterr().out
    assert cluster(home, "--compare", "--method", "disca") == 2
    assert "found in one round; choose quick" in capsys.readouterr().err


def test_a_method_that_is_not_there_is_refused_in_a_sentence(home, capsys):
    assert cluster(home, "--method", "magic") == 2
    assert "choose from quick, disca, autoencoder" in capsys.readouterr().err


def test_more_groups_than_particles_are_refused(home, capsys):
    assert cluster(home, "--clusters", 30) == 2
    assert "20 particles are too few for 30 groups" in capsys.readouterr().err


def test_the_voxels_of_chosen_groups_are_written(home, capsys, monkeypatch):
    tiny = {"filters": 4, "passes": 12, "batch": 4}
    drawing = segmentation._DRAWING.model_copy(update=tiny | {"learning_rate": 5e-3})
    monkeypatch.setattr(segmentation, "_DRAWING", drawing)
    params = segmentation.QUICK.model_copy(update=tiny | {"learning_rate": 5e-3})
    monkeypatch.setattr(cli_cluster, "segment", partial(segmentation.segment, params=params))
    usual = ("--clusters", 2, "--components", 2, "--segment", home / "voxels.mrc")
    assert cluster(home, *usual, "--positive", 2, 1) == 0
    assert "the voxels of 20 particles and their like in" in capsys.readouterr().out
    with mrcfile.open(home / "voxels.mrc") as file:
        assert file.data.shape == (40, 96, 120)
        assert file.voxel_size.x == pytest.approx(10)
        assert set(np.unique(file.data)) <= {0, 1, 2}
    assert cluster(home, *usual, "--positive", 3) == 2
    assert "--positive names groups 3 of 2; choose from 1 to 2" in capsys.readouterr().err
