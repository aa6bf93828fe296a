"""The command line: what is not sure enough has no class, and how well that is foretold."""

import csv
import re

import numpy as np
import pytest

from napari_cryoshift.cli import main
from napari_cryoshift.cli.classify import print_thresholds
from napari_cryoshift.core.open_set import auroc, open_set_report, oscr
from napari_cryoshift.core.tomograms import save_volume
from napari_cryoshift.core.types import OTHER, Particles


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def listed(path, header, *lines):
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Balls and rods in much noise: four of each labelled, and all picked."""
    folder = tmp_path_factory.mktemp("unknown")
    z, y, x = np.mgrid[:24, :72, :96]
    volume = np.random.default_rng(0).normal(0, 2.0, (24, 72, 96)).astype(np.float32)
    places = [(12, py, px) for py in (12, 36, 60) for px in (12, 36, 60, 84)]
    names = ["ball", "rod"] * 6
    for (pz, py, px), name in zip(places, names, strict=True):
        wide = 2.5 if name == "ball" else 6.0
        away = ((z - pz) / 2.5) ** 2 + ((y - py) / 2.5) ** 2 + ((x - px) / wide) ** 2
        volume -= 1.5 * np.exp(-away / 2).astype(np.float32)
    save_volume(folder / "tomo.mrc", volume, 16.0)
    xyz = [f"{px},{py},{pz}" for pz, py, px in places]
    listed(folder / "picks.csv", "x,y,z,score", *(f"{at},1" for at in xyz))
    labelled = [f"{at},{name}" for at, name in zip(xyz[:8], names[:8], strict=True)]
    listed(folder / "support.csv", "x,y,z,class", *labelled, "3,3,3,other", "90,3,3,other")
    return folder


def classify(home, out, *words):
    common = ["classify", f"{home}/tomo.mrc", f"{home}/picks.csv", "--quiet"]
    files = ["--support", f"{home}/support.csv", "--out", str(out)]
    assert main([*common, *files, *words]) == 0
    return rows(out)


def test_what_is_less_sure_than_the_threshold_has_no_class(home, tmp_path, capsys):
    every = classify(home, tmp_path / "every.csv")
    sure = np.array([float(row["confidence"]) for row in every])
    threshold = float(np.sort(sure)[5:7].mean())
    capsys.readouterr()
    found = classify(home, tmp_path / "sure.csv", "--threshold", str(threshold))
    said = capsys.readouterr().out
    unknown = 0
    for before, after in zip(every, found, strict=True):
        if float(before["confidence"]) < threshold:
            assert after["class"] == ""
            unknown += 1
        else:
            assert after["class"] == before["class"]
        assert after["p_ball"] == before["p_ball"]
        assert float(after["confidence"]) == float(before["confidence"])
    assert 0 < unknown < len(every)
    assert re.search(rf"^ +{unknown}  unknown$", said, re.MULTILINE)
    assert "10 labels left out in turn" in said


def test_the_printed_thresholds_are_those_counted_by_hand(capsys):
    names = np.array(["a", "a", "b", OTHER, "b"], dtype=object)
    sure = np.array([0.3, 0.6, 0.8, 0.9, 0.95])
    labels = np.array(["a", "b", "b", "b", "b"], dtype=object)
    table = Particles.at(np.zeros((5, 3)), predicted=names, confidence=sure, label=labels)
    print_thresholds(table.take([0, 1, 2]), table, 0.55)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "of 5 labels left out in turn, 4 are predicted as a class"
    figures = {float(line.split()[0]): line.split()[1:4] for line in lines[3:]}
    assert len(figures) == 11
    assert figures[0.0] == ["1.000", "1.000", "0.750"]
    assert figures[0.55] == ["0.667", "0.750", "0.667"]
    assert figures[0.9] == ["0.000", "0.250", "1.000"]


def test_a_threshold_beyond_1_is_refused(home, tmp_path, capsys):
    words = f"classify {home}/tomo.mrc {home}/picks.csv --support {home}/support.csv"
    assert main([*words.split(), "--out", f"{tmp_path}/o.csv", "--threshold", "60"]) == 2
    assert "give one from 0 to 1" in capsys.readouterr().err


def test_evaluate_says_how_well_known_and_unknown_are_told_apart(tmp_path, capsys):
    truth = listed(
        tmp_path / "truth.csv", "x,y,z,class", "0,0,0,a", "50,0,0,a", "100,0,0,b", "150,0,0,new"
    )
    found = listed(
        tmp_path / "found.csv",
        "x,y,z,class,confidence,score,p_a,p_b,p_other",
        "0,0,0,a,0.9,5,0.9,0.1,0",
        "50,0,0,b,0.6,4,0.4,0.6,0",
        "100,0,0,b,0.7,3,0.1,0.7,0.2",
        "150,0,0,,0.5,2,0.5,0.2,0.3",  # of a class that the list does not know
        "200,0,0,other,0.8,1,0,0.2,0.8",  # of nothing
    )
    words = f"evaluate {found} {truth} --radius 20 --voxel-size 1"
    assert main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("listed, by what they are: 3 of a class, 2 unknown")
    said = [float(line.rsplit(maxsplit=1)[1]) for line in lines[start + 1 : start + 8]]
    true = ["a", "a", "b", OTHER, OTHER]
    report = open_set_report(true, ["a", "b", "b", OTHER, OTHER])
    sure, known = [0.9, 0.6, 0.7, 0.5, 0.2], [True, True, True, False, False]
    assert said[:4] == pytest.approx(
        [report.overall, report.per_class, report.known, report.unknown], abs=1e-4
    )
    assert said[4] == pytest.approx(auroc(sure, known), abs=1e-4)
    assert said[5] == pytest.approx(oscr(sure, [1, 0, 1, 0, 0], known), abs=1e-4)
    # Right are a, b and other, at .9, .7 and .8; wrong are .6 and .5: bins of one each.
    assert said[6] == pytest.approx((0.1 + 0.6 + 0.3 + 0.5 + 0.2) / 5, abs=1e-4)
    # The curve of which that is the mean distance from the diagonal.
    assert [line.split() for line in lines[start + 10 :]] == [
        ["0.5000", "0.0000", "1"],
        ["0.6000", "0.0000", "1"],
        ["0.7000", "1.0000", "1"],
        ["0.8000", "1.0000", "1"],
        ["0.9000", "1.0000", "1"],
    ]
