"""The command line: recentring, and comparing with known structures."""

import csv

import numpy as np
import pytest

from napari_cryoshift.cli import main
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods.protonet import ProtoNet, ProtoNetParams
from napari_cryoshift.core.tomograms import save_volume
from napari_cryoshift.core.workflows import known_structures

PLACES = np.array([[15, y, x] for y in (15, 45) for x in (15, 45, 75)], dtype=float)
AWAY = np.array([[2, 0, 0], [0, -2, 0], [0, 1, 1], [1, 0, -1], [0, 2, 0], [-1, 1, 0]])


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def positions(path):
    return np.array([[float(row[axis]) for axis in "zyx"] for row in rows(path)])


def listed(path, zyx, names, scores):
    lines = [
        f"{3 * i + 7},{x},{y},{z},{name},{score}"
        for i, ((z, y, x), name, score) in enumerate(zip(zyx, names, scores, strict=True))
    ]
    path.write_text("\n".join(["id,x,y,z,class,score", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path):
    """Six dark balls in noise, picked off their centres: four of class ball, two of class blob."""
    z, y, x = np.mgrid[:30, :60, :90]
    volume = np.random.default_rng(0).normal(0, 0.3, (30, 60, 90)).astype(np.float32)
    for place in PLACES:
        away = np.square(np.stack([z, y, x]) - place[:, None, None, None]).sum(0)
        volume -= 3 * np.exp(-away / (2 * 2.5**2)).astype(np.float32)
    save_volume(tmp_path / "tomo.mrc", volume, 16.0)
    names = ["ball"] * 4 + ["blob"] * 2
    listed(tmp_path / "picks.csv", PLACES + AWAY, names, np.arange(6.0))
    return tmp_path


def recentre(home, *words):
    flags = ["--diameter", "130", "--largest", "50", "--quiet"]
    files = [str(home / "tomo.mrc"), str(home / "picks.csv"), "--out", str(home / "moved.csv")]
    return main(["recentre", *files, *flags, *map(str, words)])


def off(found, chosen=slice(None)):
    return np.linalg.norm((found - PLACES)[chosen], axis=1).mean()


def test_picks_of_one_kind_are_moved_onto_their_particles(home, capsys):
    assert recentre(home) == 0
    assert off(positions(home / "moved.csv")) < 0.5 * off(PLACES + AWAY)
    assert "6 of 6 particles moved, by " in capsys.readouterr().out
    for before, after in zip(rows(home / "picks.csv"), rows(home / "moved.csv"), strict=True):
        assert (after["id"], after["class"]) == (before["id"], before["class"])
        assert float(after["score"]) == float(before["score"])


def test_only_the_class_that_was_named_is_moved(home, capsys):
    assert recentre(home, "--class", "ball") == 0
    found = positions(home / "moved.csv")
    np.testing.assert_allclose(found[4:], (PLACES + AWAY)[4:])
    assert off(found, slice(4)) < off(PLACES + AWAY, slice(4))
    assert "4 of 6 particles moved" in capsys.readouterr().out


def test_centred_examples_centre_the_others(home):
    examples = listed(home / "clicked.csv", PLACES[:3], ["ball"] * 3, [1.0] * 3)
    assert recentre(home, "--class", "ball", "--examples", examples) == 0
    found = positions(home / "moved.csv")
    assert off(found, slice(4)) < 0.5 * off(PLACES + AWAY, slice(4))


def test_bad_input_is_one_sentence(home, capsys):
    assert recentre(home, "--class", "bal") == 2
    said = capsys.readouterr().err
    assert "picks.csv has 0 particles of class 'bal' but ball, blob; choose" in said
    listed(home / "picks.csv", [[500, 10, 10]], ["ball"], [1.0])
    assert recentre(home) == 2
    assert "1 of 1 particles of picks.csv lie outside" in capsys.readouterr().err
    files = [str(home / "tomo.mrc"), str(home / "picks.csv"), "--out", str(home / "picks.csv")]
    assert main(["recentre", *files]) == 2
    assert "is read here and would be lost" in capsys.readouterr().err


def test_predictions_and_vectors_may_go_by_known_structures(home):
    Checkpoint.of(ProtoNet(ProtoNetParams(width=8), 24), 16.0, {}).save(home / "tiny.safetensors")
    listed(home / "support.csv", PLACES[[0, 1]], ["ball", "other"], [1.0, 1.0])
    common = [str(home / "tomo.mrc"), str(home / "picks.csv"), "--quiet"]
    common += ["--checkpoint", str(home / "tiny.safetensors"), "--cache", str(home / "kept")]
    compared = ["--compare", "--matching.rotation-step", "90"]

    def classified(*words):
        out = str(home / "said.csv")
        support = ["--support", str(home / "support.csv")]
        assert main(["classify", *common, "--out", out, *support, *words]) == 0
        return np.array([float(row["p_ball"]) for row in rows(home / "said.csv")])

    assert np.abs(classified() - classified(*compared)).max() > 1e-3
    assert main(["embed", *common, "--out", str(home / "vectors.npz"), *compared]) == 0
    with np.load(home / "vectors.npz") as arrays:
        assert arrays["fits"].shape == (6, len(known_structures()))
        assert arrays["structures"].tolist() == [known.id for known in known_structures()]
        assert np.abs(arrays["fits"]).max() <= 1
    assert {file.suffix for file in (home / "kept").iterdir()} == {".emb", ".fit"}
