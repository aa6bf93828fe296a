"""The command line: what it prints and writes, and what it says of bad input."""

import csv
import io
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from napari_cryoshift.cli import COMMANDS, main
from napari_cryoshift.cli.console import ProgressLine
from napari_cryoshift.cli.train import Train
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.formats import FORMATS
from napari_cryoshift.core.methods.protonet import ProtoNet, ProtoNetParams
from napari_cryoshift.core.progress import Progress
from napari_cryoshift.core.sets import read_metadata
from napari_cryoshift.core.tomograms import save_volume
from napari_cryoshift.core.workflows import shipped_checkpoint


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(path, header, *lines):
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def home(simulated, tmp_path_factory):
    """A folder with a simulated tomogram of 12 particles, and an untrained embedding."""
    folder = tmp_path_factory.mktemp("cli")
    shutil.copytree(simulated, folder, dirs_exist_ok=True)
    method = ProtoNet(ProtoNetParams(width=8), 24)
    Checkpoint.of(method, 16.0, {}).save(folder / "tiny.safetensors")
    truth = rows(folder / "tomo.csv")
    labelled = [truth[0], truth[1], truth[6], truth[7]]
    table(
        folder / "support.csv",
        "x,y,z,class",
        *(f"{row['x']},{row['y']},{row['z']},{row['class'].split()[0]}" for row in labelled),
        "3,3,3,other",
    )
    return folder


@pytest.fixture(scope="module")
def classified(home):
    """Picks of the tomogram under ids of their own, classified."""
    picks, out = home / "picks.csv", home / "classified.csv"
    assert main(f"pick {home}/tomo.mrc --diameter 180 --out {picks} --quiet".split()) == 0
    found = rows(picks)[::-1]
    table(
        picks,
        "id,x,y,z,score",
        *(
            f"{7 * i + 3},{row['x']},{row['y']},{row['z']},{row['score']}"
            for i, row in enumerate(found)
        ),
    )
    words = f"classify {home}/tomo.mrc {picks} --support {home}/support.csv --out {out}"
    assert main([*words.split(), "--checkpoint", f"{home}/tiny.safetensors", "--quiet"]) == 0
    return out


# --- the front door ---


def test_the_program_is_installed_under_its_name():
    (script,) = entry_points(group="console_scripts", name="cryoshift")
    assert script.load() is main


def test_nothing_heavy_is_imported_before_a_command_is_chosen():
    heavy = "{'torch', 'napari', 'qtpy', 'matplotlib', 'pandas', 'scipy'}"
    code = (
        "import sys, napari_cryoshift\n"
        f"assert not {heavy} & set(sys.modules)\n"
        "from napari_cryoshift.cli import main\n"
        "assert main(['--help']) == 0\n"
        f"sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([*name.split(), "--help"])
    assert end.value.code == 0
    assert f"usage: cryoshift {name}" in capsys.readouterr().out


def test_flags_are_made_from_the_parameters_with_their_units(capsys):
    with pytest.raises(SystemExit):
        main(["pick", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--diameter FLOAT Diameter of the particle, Å." in said
    assert "--max-count INT" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 0, "library list"),
        (["library", "--help"], 0, "library add"),
        (["library"], 2, "library show"),
        (["--version"], 0, "."),
        (["pik", "a.mrc"], 2, "there is no command 'pik'"),
        (["library", "lst"], 2, "there is no command 'library lst'"),
    ],
)
def test_the_list_of_commands(words, code, said, capsys):
    assert main(words) == code
    output = capsys.readouterr()
    assert said in output.out + output.err


def test_an_unknown_flag_is_named(capsys):
    with pytest.raises(SystemExit) as end:
        main(["info", "a.mrc", "--colour", "red"])
    assert end.value.code == 2
    assert "--colour" in capsys.readouterr().err


# --- what the commands do ---


def test_info_says_what_the_header_says_and_what_particles_look_like(home, capsys):
    assert main(["info", f"{home}/tomo.mrc"]) == 0
    said = capsys.readouterr().out
    assert "96 × 96 × 40 voxels (x, y, z)" in said
    assert "12 Å" in said
    assert "look dark" in said


def test_picks_are_listed_best_first_and_find_the_particles(home, classified):
    listed, truth = rows(home / "picks.csv"), rows(home / "tomo.csv")
    scores = [float(row["score"]) for row in listed[::-1]]
    assert scores == sorted(scores, reverse=True)
    points, true = (
        np.array([[float(row[axis]) for axis in "xyz"] for row in found])
        for found in (listed, truth)
    )
    nearest = np.linalg.norm(points[:, None] - true, axis=2).min(0)
    assert (nearest * 12 < 90).mean() > 0.9


def test_candidates_outside_the_mask_are_dropped(home, tmp_path):
    shape = mrcfile.read(home / "tomo.mrc").shape
    mask = np.zeros(shape, np.float32)
    mask[:, :, : shape[2] // 2] = 1
    save_volume(tmp_path / "mask.mrc", mask, 1.0)
    words = f"pick {home}/tomo.mrc --diameter 200 --quiet --out {tmp_path}/half.csv"
    assert main([*words.split(), "--mask", f"{tmp_path}/mask.mrc"]) == 0
    assert {float(row["x"]) < shape[2] // 2 for row in rows(tmp_path / "half.csv")} == {True}
    save_volume(tmp_path / "small.mrc", mask[1:], 1.0)
    assert main([*words.split(), "--mask", f"{tmp_path}/small.mrc"]) == 2


def test_a_classified_list_has_its_columns_and_the_rows_of_the_picks(home, classified):
    before, after = rows(home / "picks.csv"), rows(classified)
    assert list(after[0]) == [
        *("id", "x", "y", "z", "class", "confidence", "score"),
        *("p_TRiC/CCT", "p_ferritin", "p_other"),
    ]
    for axis in ("id", "x", "y", "z", "score"):
        assert [float(row[axis]) for row in after] == [float(row[axis]) for row in before]
    for row in after:
        chances = {name[2:]: float(p) for name, p in row.items() if name.startswith("p_")}
        assert sum(chances.values()) == pytest.approx(1)
        assert row["class"] == max(chances, key=chances.get)
        assert float(row["confidence"]) == chances[row["class"]]


def test_the_picking_score_counts_beside_the_looks(home, classified, tmp_path):
    picks = rows(home / "picks.csv")
    bare = table(tmp_path / "bare.csv", "x,y,z", *(f"{p['x']},{p['y']},{p['z']}" for p in picks))
    chances = []
    for picked in (bare, f"{home}/picks.csv"):
        words = (
            f"classify {home}/tomo.mrc {picked} --support {home}/support.csv --quiet "
            f"--checkpoint {home}/tiny.safetensors --out {tmp_path}/out.csv"
        )
        assert main(words.split()) == 0
        chances.append([float(row["p_other"]) for row in rows(tmp_path / "out.csv")])
    assert chances[0] != chances[1]


def test_embeddings_are_the_same_from_the_cache(home, classified, tmp_path):
    words = f"embed {home}/tomo.mrc {classified} --checkpoint {home}/tiny.safetensors --quiet"
    for name in ("first", "second"):
        assert (
            main([*words.split(), "--out", f"{tmp_path}/{name}.npz", "--cache", f"{tmp_path}/c"])
            == 0
        )
    assert len(list((tmp_path / "c").iterdir())) == 1
    first, second = np.load(tmp_path / "first.npz"), np.load(tmp_path / "second.npz")
    assert first["embeddings"].shape == (len(rows(classified)), 8)
    assert first["id"].tolist() == [int(row["id"]) for row in rows(classified)]
    np.testing.assert_array_equal(first["embeddings"], second["embeddings"])


def test_light_particles_are_the_dark_ones_of_the_inverted_tomogram(home, tmp_path):
    save_volume(tmp_path / "tomo.mrc", -mrcfile.read(home / "tomo.mrc"), 12.0)
    for tomogram, flags in ((f"{home}/tomo.mrc", []), (f"{tmp_path}/tomo.mrc", ["--light"])):
        out = tmp_path / f"{len(flags)}.csv"
        words = ["pick", tomogram, "--diameter", "180", "--out", str(out), "--quiet", *flags]
        assert main(words) == 0
    dark, light = rows(tmp_path / "0.csv"), rows(tmp_path / "1.csv")
    assert [[row[axis] for axis in "xyz"] for row in dark] == [
        [row[axis] for axis in "xyz"] for row in light
    ]


def test_evaluation_by_hand(tmp_path, capsys):
    """Three true particles 10 voxels apart; of four listed, ranks 1 and 3 are within 20 Å."""
    truth = table(tmp_path / "truth.csv", "x,y,z,class", "0,0,0,a", "10,0,0,a", "20,0,0,b")
    found = table(
        tmp_path / "found.csv",
        "x,y,z,class,score,p_a,p_b",
        "5,0,0,a,2,0.4,0.6",
        "1,0,0,a,3,0.9,0.1",
        "10,1,0,b,1,0.3,0.7",
        "50,0,0,b,0,0.1,0.9",
    )
    words = ["evaluate", found, truth, "--radius", "20", "--voxel-size", "10", "--at", "1", "3"]
    assert main(words) == 0
    said = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:9])
    assert said["listed"] == "4"
    assert said["matched"] == "2"
    assert float(said["recall"]) == pytest.approx(2 / 3, abs=1e-4)
    assert float(said["precision"]) == 0.5
    assert float(said["F1"]) == pytest.approx(4 / 7, abs=1e-4)
    assert float(said["average precision"]) == pytest.approx((1 + 2 / 3) / 3, abs=1e-4)
    assert float(said["recall at 1"]) == pytest.approx(1 / 3, abs=1e-4)
    assert float(said["recall at 3"]) == pytest.approx(2 / 3, abs=1e-4)

    assert main([*words, "--class", "a"]) == 0
    said = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    # Two rows are called a, one of them is; by p_a the true ones have ranks 1 and 3.
    assert (said["listed"], said["true"], said["matched"]) == ("2", "2", "1")
    assert float(said["average precision"]) == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)


def test_export_leaves_others_out_and_says_how_to_use_the_list(home, classified, tmp_path, capsys):
    words = f"export {classified} --to relion5 --out {tmp_path}/relion --tomogram {home}/tomo.mrc"
    assert main([*words.split(), "--name", "TS_01"]) == 0
    named = sum(row["class"] != "other" for row in rows(classified))
    said = capsys.readouterr().out
    assert f"{named} of {len(rows(classified))} particles" in said
    assert "Import coordinates" in said
    assert "TS_01" in (tmp_path / "relion" / "classified.star").read_text()


def test_export_by_class_and_confidence(home, classified, tmp_path):
    words = f"export {classified} --to csv --out {tmp_path} --classes ferritin --min-confidence 0.5"
    assert main(words.split()) == 0
    wanted = [
        row["id"]
        for row in rows(classified)
        if row["class"] == "ferritin" and float(row["confidence"]) >= 0.5
    ]
    assert [row["id"] for row in rows(tmp_path / "classified.csv")] == wanted


def test_an_exported_list_goes_by_the_name_that_was_given(home, classified, tmp_path):
    words = f"export {classified} --to relion3 --tomogram {home}/tomo.mrc"
    assert main([*words.split(), "--out", f"{tmp_path}/a"]) == 0
    words = f"export {tmp_path}/a/classified.star --to relion3 --tomogram {home}/tomo.mrc"
    assert main([*words.split(), "--out", f"{tmp_path}/b", "--name", "TS_01"]) == 0
    written = (tmp_path / "b" / "classified.star").read_text()
    assert {line.split()[3] for line in written.splitlines() if line[:1].isdigit()} == {"TS_01"}


def test_of_a_list_of_several_tomograms_the_rows_of_this_one_are_taken(home, tmp_path, capsys):
    both = table(
        tmp_path / "both.csv", "x,y,z,tomogram", "9,9,9,tomo.mrc", "900,9,9,else", "20,20,20,tomo"
    )
    words = f"embed {home}/tomo.mrc {both} --checkpoint {home}/tiny.safetensors --quiet"
    assert main([*words.split(), "--out", f"{tmp_path}/e.npz"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "e.npz")["positions"], [[20, 20, 20]])


def test_simulated_subtomograms_are_a_labelled_stack_and_are_made_again(tmp_path, capsys):
    words = f"simulate subtomograms --out {tmp_path}/s.mrcs --structures 2fha 1qvr --per-class 3"
    assert main([*words.split(), "--imaging.box", "20", "--quiet"]) == 0
    with mrcfile.open(tmp_path / "s.mrcs") as stack:
        assert stack.is_volume_stack()
        assert stack.data.shape == (6, 20, 20, 20)
        assert float(stack.voxel_size.x) == 12.0
        assert np.abs(stack.data.mean(axis=(1, 2, 3))).max() < 1e-5
        volumes = np.array(stack.data)
    truth = rows(tmp_path / "s_truth.csv")
    assert [row["class"][:4] for row in truth] == ["ferr"] * 3 + ["ClpB"] * 3
    assert all(0.05 <= float(row["snr_nominal"]) <= 3 for row in truth)
    said = capsys.readouterr().out
    assert "6 volumes of 2 classes" in said
    assert "by its variance alone 50%" in said
    (tmp_path / "again").mkdir()
    assert main(f"simulate again {tmp_path}/s.mrcs --out {tmp_path}/again/s.mrcs".split()) == 0
    assert (mrcfile.read(tmp_path / "again" / "s.mrcs") == volumes).all()


def test_settings_of_a_paper_and_flags_that_win_over_them(tmp_path):
    words = f"simulate subtomograms --paper cryo-shift --out {tmp_path}/s.zarr --structures 2fha"
    assert main([*words.split(), "--per-class", "2", "--imaging.snr", "0.5", "0.5"]) == 0
    imaging = read_metadata(tmp_path / "s.zarr")["params"]["imaging"]
    assert (imaging["box"], imaging["voxel_size"]) == (40, 13.68)
    assert imaging["defocus"] == [-12.0, 0.0]
    assert imaging["snr"] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("subtomograms --out s.zarr --structures 1ihm", "396 Å wide but the box only 384 Å"),
        ("subtomograms --out s.zarr --imaging.snr 0 1", "give one above 0"),
        ("subtomograms --out s.zarr --imaging.tilt-step 0", "greater than 0"),
        (
            "subtomograms --out s.zarr --imaging.tilt-step 20 --imaging.missing-wedge 85 85",
            "smaller",
        ),
        ("subtomograms --out s.zarr --imaging.tilt-centre 40", "goes beyond 90°"),
        ("subtomograms --out s.zarr --paper nature", "no settings of 'nature'"),
        ("subtomograms --out s.cake", "end it in .zarr or .mrcs"),
        ("tomogram --out t.mrc --snr 0", "greater than 0"),
        ("tomogram --out t.mrc --tilt-series.step 0", "greater than 0"),
        (
            "tomogram --out t.mrc --shape 24 48 48 --classes 2fha --concentrations 900",
            "particles fit",
        ),
        ("tomogram --out t.mrc --shape 24 24 24 --voxel-size 8 --classes 1ihm", "Å"),
        ("again nothing.zarr --out s.zarr", "no file or folder"),
    ],
)
def test_what_cannot_be_simulated_is_one_sentence(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *words.split(), "--quiet"]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert list(tmp_path.iterdir()) == []


def test_library_add_list_show(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CRYOSHIFT_LIBRARY", str(tmp_path / "own"))
    z, y, x = np.ogrid[-16:16, -16:16, -16:16]
    save_volume(tmp_path / "ball.mrc", (z**2 + y**2 + x**2 < 100).astype(np.float32), 8.0)
    assert main(["library", "add", f"{tmp_path}/ball.mrc", "--name", "a ball"]) == 0
    assert main(["library", "list"]) == 0
    assert "a ball" in capsys.readouterr().out
    assert main(["library", "show", "ball", "--out", f"{tmp_path}/density.mrc"]) == 0
    assert "a ball" in capsys.readouterr().out
    with mrcfile.open(tmp_path / "density.mrc") as density:
        assert float(density.voxel_size.x) == 8.0
        assert density.data.max() > 0


def test_training_writes_an_embedding_with_its_card(tmp_path):
    words = (
        f"train --out {tmp_path}/e.safetensors --tasks 2 --ways 2 --shots 1 --queries 1 --width 4"
    )
    source = (
        "--source.structures 2fha 1qvr --source.hold-out ClpB --source.chimeras 1 "
        "--source.assemblies 0 --source.distractors 0 --source.imaging.box 16"
    )
    assert main([*words.split(), *source.split(), "--quiet"]) == 0
    checkpoint = Checkpoint.load(tmp_path / "e.safetensors")
    assert checkpoint.box == 16
    assert checkpoint.card["held_out"] == ["ClpB"]
    assert checkpoint.card["source"]["imaging"]["snr_convention"] == "power"
    assert 0 <= checkpoint.card["figures"]["accuracy"] <= 1


def test_training_without_flags_is_how_the_shipped_embedding_was_trained(tmp_path):
    command, shipped = Train(out=tmp_path / "e.safetensors"), shipped_checkpoint()
    training = {"exclude": {"head"}}  # what labels become afterwards is no matter of training
    assert command.params.model_dump(**training) == shipped.params.model_dump(**training)
    assert command.source.imaging.box == shipped.box
    assert command.source.imaging.voxel_size == shipped.voxel_size
    assert set(command.source.hold_out) == set(shipped.card["held_out"])


@pytest.mark.usefixtures("small_sample")
def test_the_demo_reports_on_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CRYOSHIFT_CACHE", str(tmp_path / "cache"))
    assert main(["demo", "--out", f"{tmp_path}/demo", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "picking recall" in said
    assert "classification accuracy" in said
    folder = tmp_path / "demo"
    page = (folder / "report.html").read_text(encoding="utf-8")
    for picture in ("section", "gallery", "embedding", "precision_recall"):
        assert f'src="{picture}.png"' in page
        assert (folder / f"{picture}.png").stat().st_size > 10_000
    support = rows(folder / "support.csv")
    assert (
        sorted(row["class"] for row in support)
        == ["TRiC/CCT chaperonin"] * 5 + ["ferritin"] * 5 + ["other"] * 10
    )
    assert (folder / "relion5" / "particles.star").exists()
    # The page's own figures can be had again from its files.
    words = f"evaluate {folder}/picks.csv {folder}/truth.csv --radius 100 --voxel-size 12"
    assert main(words.split()) == 0
    recall = capsys.readouterr().out.split("recall")[1].split()[0]
    assert f"picking recall           {float(recall):.3f}" in page


def test_the_window_of_the_demo_needs_napari(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["demo", "--out", f"{tmp_path}/demo", "--window"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "napari is not installed; " in line
    assert not (tmp_path / "demo").exists()


# --- progress, errors, the way out ---


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_one_line_a_phase_and_a_file_plain_lines():
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        line = ProgressLine(stream)
        for step in (1, 2, 3):
            line.show(Progress("picking", step, 3))
        line.show(Progress("embedding", 1, 1, {"loss": 0.5}))
        line.end()
    assert terminal.getvalue().count("\n") == 2
    assert terminal.getvalue().count("\r") >= 3
    assert file.getvalue().splitlines() == [
        "picking 1/3",
        "picking 3/3",
        "embedding 1/1 · loss 0.5",
    ]


def test_time_left_is_what_the_steps_so_far_took(monkeypatch):
    file, now = io.StringIO(), iter([0.0, 100.0])
    monkeypatch.setattr("napari_cryoshift.cli.console.time.monotonic", lambda: next(now))
    line = ProgressLine(file)
    line.show(Progress("learning", 0, 50))
    line.show(Progress("learning", 10, 50))  # 10 s a step, 40 steps
    assert file.getvalue().splitlines()[1] == "learning 10/50 · 7 min left"


def test_results_go_to_stdout_and_progress_to_stderr(home, tmp_path, capsys):
    words = f"pick {home}/tomo.mrc --diameter 180 --out {tmp_path}/p.csv"
    assert main(words.split()) == 0
    loud = capsys.readouterr()
    assert main([*words.split(), "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert loud.out == quiet.out
    assert "candidates" in quiet.out
    assert "picking" in loud.err
    assert quiet.err == ""


def test_ctrl_c_ends_with_130_and_leaves_nothing_half_written(tmp_path, monkeypatch, capsys):
    def press(self, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressLine, "show", press)
    words = f"simulate subtomograms --out {tmp_path}/s.mrcs --structures 2fha --per-class 2"
    assert main(words.split()) == 130
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.strip() == "stopped"


def test_a_reader_who_leaves_early_is_no_error():
    code = "import sys; from napari_cryoshift.cli import main; sys.exit(main(['library', 'list']))"
    command = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait() == 0


def test_debug_shows_where_an_error_arose(capsys):
    assert main(["info", "nowhere.mrc", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


PICK = "pick --diameter 180 --out {here}/out.csv"
CLASSIFY = "classify {home}/tomo.mrc {home}/classified.csv --out {here}/out.csv"
LISTED = "--support {home}/support.csv --checkpoint {home}/tiny.safetensors --out {here}/out.csv"
EXPORT = "export {home}/classified.csv --tomogram {home}/tomo.mrc --out {here}/new"
EVALUATE = "evaluate {home}/classified.csv {home}/tomo.csv"
BROKEN = {
    "truncated": f"{PICK} {{here}}/short.mrc",
    "no voxel size": f"{PICK} {{here}}/unsized.mrc",
    "zero voxel size": f"{PICK} {{home}}/tomo.mrc --voxel-size 0",
    "constant": f"{PICK} {{here}}/flat.mrc",
    "NaN": f"{PICK} {{here}}/nan.mrc",
    "2-D": f"{PICK} {{here}}/image.mrc",
    "missing": f"{PICK} {{here}}/nowhere.mrc",
    "no tomogram": "info {home}/support.csv",
    "out of bounds": f"{PICK} {{home}}/tomo.mrc --strictness 99",
    "wrong ending": "pick {home}/tomo.mrc --out {here}/out.star",
    "no folder": "pick {home}/tomo.mrc --out {here}/no/out.csv",
    "a folder": "pick {home}/tomo.mrc --out {here}/folder.csv",
    "over its picks": f"{CLASSIFY} --support {{here}}/support.csv --out {{home}}/classified.csv",
    "over its support": f"{CLASSIFY} --support {{here}}/support.csv --out {{here}}/support.csv",
    "a file as folder": "demo --out {here}/short.mrc",
    "a file as cache": f"classify {{home}}/tomo.mrc {{here}}/near.csv {LISTED} "
    "--cache {here}/old",
    "negative seed": "demo --out {here}/demo --seed -1",
    "NaN in a box": "embed {here}/holed.mrc {here}/near.csv --out {here}/e.npz",
    "Other with a capital": f"{CLASSIFY} --support {{here}}/capital.csv",
    "a column twice": f"{CLASSIFY} --support {{here}}/twice.csv",
    "a folder as checkpoint": f"{CLASSIFY} --support {{here}}/support.csv --checkpoint {{here}}",
    "another tomogram": f"classify {{home}}/tomo.mrc {{here}}/several.csv {LISTED}",
    "several tomograms": "evaluate {here}/several.csv {home}/tomo.csv --radius 9 --voxel-size 12",
    "no such tomograms.star": f"{EXPORT} --to relion5 --tomograms-star {{here}}/nowhere.star",
    "no size": f"{EXPORT} --to relion5 --unbinned-size 0 100 100",
    "one class misspelt": f"{EXPORT} --to csv --classes ferritin feritin",
    "confidence in percent": f"{EXPORT} --to csv --min-confidence 50",
    "one name for several": "export {here}/several.csv --to csv --name a --out {here}/new",
    "recall of none": f"{EVALUATE} --radius 100 --voxel-size 12 --at 0",
    "all outside": f"classify {{home}}/tomo.mrc {{here}}/far.csv {LISTED}",
    "one outside": f"classify {{home}}/tomo.mrc {{here}}/one_far.csv {LISTED}",
    "no number": f"classify {{home}}/tomo.mrc {{here}}/no_number.csv {LISTED}",
    "one class": f"{CLASSIFY} --support {{here}}/one_class.csv",
    "no example": f"{CLASSIFY} --support {{here}}/empty.csv",
    "unnamed example": f"{CLASSIFY} --support {{here}}/unnamed.csv",
    "no class column": f"{CLASSIFY} --support {{here}}/no_class.csv",
    "other version": f"{CLASSIFY} --support {{home}}/support.csv --checkpoint {{here}}/old",
    "no checkpoint": f"{CLASSIFY} --support {{home}}/support.csv --checkpoint {{home}}/tomo.csv",
    "unknown format": "export {home}/classified.csv --to relion9 --out {here}",
    "nothing of the tomogram": "export {home}/classified.csv --to relion5 --out {here}",
    "unknown class": "export {home}/classified.csv --to csv --out {here} --classes nobody",
    "over itself": "export {home}/classified.csv --to csv --out {home}",
    "radius in voxels": f"{EVALUATE} --radius 100",
    "no radius": f"{EVALUATE} --radius 0 --voxel-size 12",
    "class without truth": f"{EVALUATE} --radius 9 --voxel-size 12 --class nobody",
    "unknown structure": "library show 0xyz",
    "density as text": "library show 4v6x --out {here}/density.txt",
    "unknown family": "train --out {here}/e.safetensors --source.hold-out nobody",
}
"""What is wrong → the words that try it; {home} is whole, {here} has the files below."""


@pytest.fixture
def here(home, tmp_path):
    whole = (home / "tomo.mrc").read_bytes()
    (tmp_path / "short.mrc").write_bytes(whole[: len(whole) // 2])
    save_volume(tmp_path / "unsized.mrc", np.ones((8, 8, 8), np.float32), 0.0)
    save_volume(tmp_path / "flat.mrc", np.ones((40, 40, 40), np.float32), 12.0)
    save_volume(tmp_path / "image.mrc", np.ones((64, 64), np.float32), 12.0)
    with pytest.warns(RuntimeWarning, match="NaN"):
        save_volume(tmp_path / "nan.mrc", np.full((40, 40, 40), np.nan, np.float32), 12.0)
    content = (home / "tiny.safetensors").read_bytes()
    assert b'\\"version\\": 1' in content
    (tmp_path / "old").write_bytes(content.replace(b'\\"version\\": 1', b'\\"version\\": 0'))
    table(tmp_path / "far.csv", "x,y,z", "500,500,500", "3,3,3", "600,1,1")
    table(tmp_path / "one_far.csv", "x,y,z", "500,500,500", "3,3,3", "4,4,4")
    table(tmp_path / "no_number.csv", "x,y,z", "9,nine,9")
    table(tmp_path / "one_class.csv", "x,y,z,class", "9,9,9,a", "20,20,20,a")
    table(tmp_path / "empty.csv", "x,y,z,class")
    table(tmp_path / "unnamed.csv", "x,y,z,class", "9,9,9,a", "20,20,20,")
    table(tmp_path / "no_class.csv", "x,y,z", "9,9,9")
    table(tmp_path / "near.csv", "x,y,z", "3,3,3")
    table(tmp_path / "capital.csv", "x,y,z,class", "9,9,9,a", "20,20,20,Other")
    table(tmp_path / "twice.csv", "x,X,y,z,class", "9,9,9,9,a", "9,20,20,20,b")
    table(tmp_path / "several.csv", "x,y,z,tomogram", "9,9,9,one", "20,20,20,two")
    (tmp_path / "support.csv").write_bytes((home / "support.csv").read_bytes())
    (tmp_path / "folder.csv").mkdir()
    holed = mrcfile.read(home / "tomo.mrc")
    holed[5, 5, 5] = np.nan
    with pytest.warns(RuntimeWarning, match="NaN"):
        save_volume(tmp_path / "holed.mrc", holed, 12.0)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_one_sentence_and_exit_code_2(case, home, here, classified, capsys):
    before = contents(here)
    list_before = classified.read_bytes()
    assert main([*BROKEN[case].format(home=home, here=here).split(), "--quiet"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("cryoshift ")
    # What was wrong, and what to do or what is allowed.
    assert "; " in line or "Input should be" in line
    assert contents(here) == before
    assert classified.read_bytes() == list_before


# --- convert and formats ---------------------------------------------------------------------


@pytest.fixture
def warp_list(tmp_path):
    path = tmp_path / "in.star"
    path.write_text(
        "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n"
        "_rlnMicrographName #4\n_rlnPixelSize #5\n_rlnClassNumber #6\n"
        "30 20 10 TS_01.tomostar 5.0 1\n60 50 40 TS_02.tomostar 5.0 2\n\n"
    )
    return path


def test_formats_are_listed_with_what_they_hold(capsys):
    assert main(["formats"]) == 0
    said = capsys.readouterr().out
    for name, entry in FORMATS.items():
        (line,) = [line for line in said.splitlines() if line.split(maxsplit=1)[0] == name]
        assert entry.title in line
        assert entry.suffix in line
        assert all(what in line for what in entry.holds)


def test_convert_between_units(warp_list, tmp_path, capsys):
    words = f"convert {warp_list} {tmp_path}/out.star --to relion5 --voxel-size 10 --binning 4"
    assert main([*words.split(), *["--unbinned-size", "400", "300", "200"]]) == 0
    said = capsys.readouterr().out
    assert "2 particles" in said
    assert "Warp" in said
    assert "Import coordinates" in said
    table = starfile.read(tmp_path / "out.star")
    # 30 pixels of 5 Å are 150 Å; the centre is at 200 unbinned pixels of 2.5 Å.
    assert list(table.rlnCenteredCoordinateXAngst) == [150 - 500, 300 - 500]
    words = f"convert {tmp_path}/out.star {tmp_path}/back.csv --to csv --voxel-size 10 --binning 4"
    assert main([*words.split(), *["--unbinned-size", "400", "300", "200"]]) == 0
    assert [row["x"] for row in rows(tmp_path / "back.csv")] == ["15.0", "30.0"]
    assert [row["tomogram"] for row in rows(tmp_path / "back.csv")] == ["TS_01", "TS_02"]


def test_convert_between_the_two_centres(warp_list, tmp_path):
    frame = "--voxel-size 10 --binning 4 --unbinned-size 400 300 200"
    words = f"convert {warp_list} {tmp_path}/picker.star --to relion5 --centre picker {frame}"
    assert main(words.split()) == 0
    words = f"convert {tmp_path}/picker.star {tmp_path}/a.star --to relion5 --from-centre picker"
    assert main([*words.split(), *frame.split()]) == 0
    picker = starfile.read(tmp_path / "picker.star").rlnCenteredCoordinateXAngst
    relion = starfile.read(tmp_path / "a.star").rlnCenteredCoordinateXAngst
    np.testing.assert_allclose(picker - relion, 2.5)


def test_convert_to_a_file_for_each_tomogram(warp_list, tmp_path, capsys):
    words = f"convert {warp_list} {tmp_path}/out.cbox --to cryolo --voxel-size 10 --diameter 200"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert f"in {tmp_path}\n" in said
    names = {"out_TS_01_class_1.cbox", "out_TS_02_class_2.cbox"}
    assert all(name in said for name in names)
    assert {file.name for file in tmp_path.glob("*.cbox")} == names


def test_convert_with_numbered_tomograms(warp_list, tmp_path):
    words = f"convert {warp_list} {tmp_path}/a.star --to stopgap --voxel-size 10 --from warp"
    assert main([*words.split(), *["--numbered", "x", "TS_02", "TS_01"]]) == 0
    assert list(starfile.read(tmp_path / "a.star").tomo_num) == [3, 2]
    words = f"convert {tmp_path}/a.star {tmp_path}/b.csv --to csv --numbered x TS_02 TS_01"
    assert main(words.split()) == 0
    assert [row["tomogram"] for row in rows(tmp_path / "b.csv")] == ["TS_01", "TS_02"]


def test_convert_a_list_on_another_binning(tmp_path):
    table(tmp_path / "a.csv", "x,y,z", "30,20,10")
    words = f"convert {tmp_path}/a.csv {tmp_path}/b.csv --to csv --voxel-size 10"
    assert main([*words.split(), "--list-voxel-size", "5"]) == 0
    assert [rows(tmp_path / "b.csv")[0][axis] for axis in "xyz"] == ["15.0", "10.0", "5.0"]


@pytest.mark.parametrize(
    "words",
    [
        "in.star out.star --to nothing",
        "in.star out.star --to relion5 --from nothing",
        "in.star out.txt --to relion5",
        "in.star out.star --to relion5",
        "in.star in.star --to relion3 --voxel-size 10",
        "out_import.star out.star --to relion5 --voxel-size 10 --unbinned-size 400 300 200",
        "in.star out.star --to relion5 --voxel-size 10",
        "in.star out.csv --to csv --voxel-size 0",
        "in.star out.csv --to csv --voxel-size 10 --name one",
        "in.star out.star --to stopgap --voxel-size 10 --numbered TS_01",
        "in.star none/out.csv --to csv --voxel-size 10",
        "in.star out.csv --to csv --from dynamo",
        "none.star out.csv --to csv",
        "empty.star out.csv --to csv",
    ],
)
def test_convert_refuses_bad_input_in_one_sentence(warp_list, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.star").touch()
    shutil.copy(warp_list, tmp_path / "out_import.star")
    before = contents(tmp_path)
    assert main(["convert", *words.split()]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("cryoshift convert: ")
    assert "; " in line
    assert contents(tmp_path) == before


def test_a_known_structure_is_found_and_fitted(home, tmp_path, capsys):
    where = f"{home}/tomo.mrc --structure 4v8r --defocus -5"
    assert main(f"match {where} --rotation-step 40 --out {tmp_path}/m.csv --quiet".split()) == 0
    truth = [row for row in rows(home / "tomo.csv") if row["class"].startswith("TRiC")]
    found = rows(tmp_path / "m.csv")[: len(truth)]

    def nearest(listed):
        places = np.array([[float(row[axis]) for axis in "xyz"] for row in listed])
        actual = np.array([[float(row[axis]) for axis in "xyz"] for row in truth])
        return np.linalg.norm(actual[:, None] - places, axis=-1).min(1) * 12.0

    assert (nearest(found) < 60).sum() >= 5
    shifted = [f"{float(row['x']) + 2},{row['y']},{row['z']}" for row in truth]
    picks = table(tmp_path / "off.csv", "x,y,z", *shifted)
    assert main(f"fit {home}/tomo.mrc {picks} --structure 4v8r --out {tmp_path}/f.csv".split()) == 0
    assert np.median(nearest(rows(tmp_path / "f.csv"))) < np.median(nearest(rows(Path(picks))))
    assert "6 particles" in capsys.readouterr().out
