"""`cryoshift adapt`: known structures, a tomogram and its picks, few labels or none."""

import csv
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.image import imread
from safetensors.torch import load_file

from napari_cryoshift.cli import main
from napari_cryoshift.cli.command import Command
from napari_cryoshift.cli.console import ProgressLine
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods.cryoshift_data import KNOWN_SOURCE, read_once, simulate_known
from napari_cryoshift.core.progress import Progress, finish
from napari_cryoshift.core.simulate.source import simulate_source
from napari_cryoshift.core.types import OTHER

NAMES = ("TRiC/CCT chaperonin (yeast)", "ferritin (human)")
TINY = (
    "--source.imaging.box 16 --source.assemblies 1 --source.distractors 2 --source.per-class 12 "
    "--step-zero.width 4 --step-zero.epochs 2 --step-zero.batch 4 --warp.filters 2 "
    "--discriminator.pretraining 2 --iterations 3 --epochs 2 --batch 4"
)
STRUCTURES = ["--structures", "4v8r", "2fha"]


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(path, header, *lines):
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def home(simulated, tmp_path_factory):
    """A folder with a simulated tomogram of 12 particles, and picks without classes."""
    folder = tmp_path_factory.mktemp("adapt")
    shutil.copytree(simulated, folder, dirs_exist_ok=True)
    picks = [f"{row['x']},{row['y']},{row['z']}" for row in rows(folder / "tomo.csv")]
    table(folder / "picks.csv", "x,y,z", *picks)
    return folder


def adapt(home, out, *flags):
    return [
        "adapt",
        f"{home}/tomo.mrc",
        f"{home}/picks.csv",
        "--out",
        str(out),
        *TINY.split(),
        *flags,
    ]


@pytest.fixture(scope="module")
def adapted(home):
    """The checkpoint of an unbroken run, its predictions, and what was printed of it."""
    words = adapt(home, home / "a.safetensors", *STRUCTURES, "--predictions", f"{home}/p.csv")
    truth = ["--truth", f"{home}/tomo.csv", "--radius", "50"]
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("builtins.print", lambda *text, **_: said.append(" ".join(map(str, text))))
        assert main([*words, *truth, "--quiet"]) == 0
    return home / "a.safetensors", home / "p.csv", "\n".join(said)


def test_every_pick_gets_a_class_and_a_confidence_without_a_label(home, adapted):
    _, listed, said = adapted
    found, picks = rows(listed), rows(home / "picks.csv")
    assert [[row[axis] for axis in "xyz"] for row in found] == [
        [row[axis] for axis in "xyz"] for row in picks
    ]
    for row in found:
        chances = {name: float(row[f"p_{name}"]) for name in (*NAMES, OTHER)}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-6)
        assert row["class"] == max(chances, key=chances.get)
        assert float(row["confidence"]) == chances[row["class"]]
    assert "adapted to 12 particles of tomo" in said
    counted = [line.split(maxsplit=1) for line in said.splitlines() if line.startswith("     ")]
    assert sum(int(count) for count, _ in counted) == 12


def test_the_checkpoint_says_what_it_was_made_of(adapted):
    checkpoint = Checkpoint.load(adapted[0])
    assert checkpoint.method == "cryoshift"
    assert checkpoint.classes == (*NAMES, OTHER)
    assert (checkpoint.box, checkpoint.voxel_size) == (16, 16.0)
    assert checkpoint.card["source"]["structures"] == ["4v8r", "2fha"]


def test_the_criterion_is_that_of_the_start_and_of_the_best_epoch(adapted):
    figures = Checkpoint.load(adapted[0]).card["figures"]
    said = (
        f"criterion {figures['criterion before']:.3f} before adapting, "
        f"{figures['criterion after']:.3f} after; lower is better"
    )
    assert said in adapted[2]


def test_with_the_truth_the_table_is_that_of_evaluate(home, adapted, capsys):
    _, listed, said = adapted
    words = f"evaluate {listed} {home}/tomo.csv --radius 50 --voxel-size 12"
    assert main(words.split()) == 0
    wanted = capsys.readouterr().out.split("class accuracy")[1]
    assert said.split("class accuracy")[1].strip() == wanted.strip()
    for name in NAMES:
        (line,) = [line for line in wanted.splitlines() if line.startswith(name)]
        assert line.split()[-1] == "6"


def test_a_stored_set_takes_the_place_of_simulated_classes(home, tmp_path, capsys):
    words = f"simulate subtomograms --out {tmp_path}/set.zarr --structures 2fha 1qvr 4v8r"
    assert main([*words.split(), "--per-class", "6", "--imaging.box", "24", "--quiet"]) == 0
    flags = ["--source-set.path", f"{tmp_path}/set.zarr", "--predictions", f"{tmp_path}/p.csv"]
    assert main([*adapt(home, tmp_path / "a.safetensors", *flags), "--quiet"]) == 0
    checkpoint = Checkpoint.load(tmp_path / "a.safetensors")
    assert (checkpoint.box, checkpoint.voxel_size) == (24, 12.0)
    named = {name[2:] for name in rows(tmp_path / "p.csv")[0] if name.startswith("p_")}
    assert named == set(checkpoint.classes)
    assert len(named) == 3


def test_what_is_invented_is_one_class_as_large_as_any_other():
    params = KNOWN_SOURCE.model_copy(
        update={"structures": ("4v8r", "2fha"), "assemblies": 3, "distractors": 2, "per_class": 10}
    )
    known, every = simulate_known(params), simulate_source(params)
    assert known.classes == (*NAMES, OTHER)
    assert np.bincount(known.labels).tolist() == [10, 10, 10]
    assert (known[:20] == every[:20]).all()
    # Two of each of the five kinds of other, whose rows are 20 to 69.
    assert (known[20:] == every[20:70:5]).all()
    without = params.model_copy(update={"assemblies": 0, "distractors": 0})
    assert simulate_known(without).classes == NAMES


def test_volumes_that_are_read_once_are_the_same(adapted):
    params = KNOWN_SOURCE.model_copy(update={"structures": ("2fha",), "per_class": 3})
    volumes = simulate_source(params).take(np.arange(70))
    read = finish(read_once(volumes))
    assert (read[[69, 3]] == volumes[[69, 3]]).all()


# --- with a few labels ---

SMALL = (
    "--source.imaging.box 16 --source.assemblies 1 --source.distractors 2 --source.per-class 12 "
    "--learning.steps 4 --learning.batch 6 --tuning.steps 3 --tuning.batch 4"
)
STAGES = {
    "fsft": "--alignment.steps 2 --alignment.batch 6 --grouping.steps 2 --grouping.batch 8",
    "fada": "--grouping.steps 2 --grouping.batch 8",
    "finetune": "",
}
CALLED = {"TRiC/CCT chaperonin (yeast)": "TRiC", "ferritin (human)": "ferritin"}


@pytest.fixture(scope="module")
def labels(home):
    """Two labelled particles of either kind, called in short; the path of their list."""
    truth, kept = rows(home / "tomo.csv"), []
    for name in NAMES:
        kept += [row for row in truth if row["class"] == name][:2]
    lines = [f"{row['x']},{row['y']},{row['z']},{CALLED[row['class']]}" for row in kept]
    return table(home / "labels.csv", "x,y,z,class", *lines)


def by(method, home, out, *flags):
    small = f"{SMALL} {STAGES.get(method, '')}".split()
    start = ["adapt", f"{home}/tomo.mrc", f"{home}/picks.csv", "--method", method]
    return [*start, "--out", str(out), *STRUCTURES, *small, *flags, "--quiet"]


@pytest.mark.parametrize("method", STAGES)
def test_with_labelled_particles_its_classes_are_called_as_they_are(
    method, home, labels, tmp_path, capsys
):
    out, listed = tmp_path / "a.safetensors", tmp_path / "p.csv"
    named = table(
        tmp_path / "truth.csv",
        "x,y,z,class",
        *(
            f"{row['x']},{row['y']},{row['z']},{CALLED[row['class']]}"
            for row in rows(home / "tomo.csv")
        ),
    )
    flags = ["--support", labels, "--predictions", str(listed), "--truth", named, "--radius", "50"]
    assert main(by(method, home, out, *flags)) == 0
    said = capsys.readouterr().out
    checkpoint = Checkpoint.load(out)
    assert checkpoint.method == method
    assert checkpoint.classes == ("TRiC", "ferritin", OTHER)
    assert checkpoint.build().params.tuning.steps == 3
    assert checkpoint.card["called"] == {**CALLED, OTHER: OTHER}
    known = [[float(row[axis]) for axis in "zyx"] for row in rows(labels)]
    assert checkpoint.card["learnt_from"] == known
    assert len(rows(listed)) == 12
    # Of six of each, two were labelled; what is right there proves nothing.
    assert "labelled were 4; figures are without the picks beside them" in said
    for name in CALLED.values():
        (line,) = [line for line in said.splitlines() if line.startswith(name)]
        assert line.split()[-1] == "4"


@pytest.mark.parametrize("method", ["coral", "swd"])
def test_other_methods_that_learn_from_no_label(method, home, tmp_path):
    flags = [*SMALL.partition("--tuning")[0].split(), "--alignment.steps", "2"]
    start = ["adapt", f"{home}/tomo.mrc", f"{home}/picks.csv", f"--method={method}", *STRUCTURES]
    assert main([*start, "--out", f"{tmp_path}/a.safetensors", *flags, "--quiet"]) == 0
    assert Checkpoint.load(tmp_path / "a.safetensors").classes == (*NAMES, OTHER)


@pytest.mark.parametrize(
    ("method", "flags", "sentence"),
    [
        ("fsft", [], "fsft learns from labelled particles but there are 0; give --support"),
        ("fada", ["--support", "{here}/none.csv"], "none.csv"),
        ("fsft", ["--support", "{here}/carts.csv"], "labelled are cart, horse but the source has"),
        ("fsft", ["--support", "{here}/blank.csv"], "1 of the 2 rows of blank.csv have no class"),
        ("fsft", ["--support", "{here}/far.csv"], "1 of 1 particles of far.csv lie outside"),
        (
            "finetune",
            ["--predictions", "{here}/carts.csv", "--support", "{here}/carts.csv"],
            "lost",
        ),
        ("finetune", ["--support", "{here}/carts.csv", "--tuning.steps", "0"], "steps"),
    ],
)
def test_labels_that_do_not_do_are_one_sentence(method, flags, sentence, home, tmp_path, capsys):
    table(tmp_path / "carts.csv", "x,y,z,class", "9,9,9,cart", "12,12,12,horse")
    table(tmp_path / "blank.csv", "x,y,z,class", "9,9,9,TRiC", "12,12,12,")
    table(tmp_path / "far.csv", "x,y,z,class", "900,9,9,TRiC")
    filled = [flag.format(here=tmp_path) for flag in flags]
    assert main(by(method, home, tmp_path / "a.safetensors", *filled)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cryoshift adapt: ")
    assert sentence in line
    assert not (tmp_path / "a.safetensors").exists()


def test_labels_for_a_method_that_learns_from_none_are_refused(home, labels, tmp_path, capsys):
    words = [*adapt(home, tmp_path / "a.safetensors", *STRUCTURES), "--support", labels]
    assert main([*words, "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "cryoshift learns from no label but labels.csv has some; leave --support out" in said


def test_a_method_that_there_is_not_is_one_sentence(home, tmp_path, capsys):
    assert main(by("magic", home, tmp_path / "a.safetensors")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no method 'magic' to adapt by; choose from cryoshift, fsft" in line


def test_each_method_explains_its_own_flags(capsys):
    shown = {}
    for method in ("cryoshift", "fsft", "swd"):
        with pytest.raises(SystemExit):
            main(["adapt", "--method", method, "--help"])
        shown[method] = capsys.readouterr().out
    own = {
        "cryoshift": "--warp.filters",
        "fsft": "--tuning.confusion",
        "swd": "--alignment.projections",
    }
    for method, flag in own.items():
        assert [name for name, text in shown.items() if flag in text] == [method]


# --- stopping ---


@pytest.fixture
def press(monkeypatch):
    """Press Ctrl-C so many times amid adapting."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    show = ProgressLine.show

    def pressing(times):
        def show_and_press(self, progress):
            show(self, progress)
            if (progress.phase, progress.step) == ("adapting to the target", 4):
                for _ in range(times):
                    os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(ProgressLine, "show", show_and_press)

    yield pressing
    signal.signal(signal.SIGINT, usual)


def test_after_ctrl_c_the_same_command_goes_on_to_the_same_weights(
    home, adapted, press, tmp_path, capfd
):
    kept, out = tmp_path / "run.safetensors", tmp_path / "b.safetensors"
    words = adapt(home, out, *STRUCTURES, "--resume", str(kept))
    press(1)
    assert main(words) == 130
    said = capfd.readouterr().err
    assert "stopping after this step; Ctrl-C again stops at once" in said
    assert f"to go on, type the same with --resume {kept}" in said
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert main([*words, "--seed", "1", "--quiet"]) == 2
    assert "go on with the same settings or train anew" in capfd.readouterr().err
    assert main([*words, "--quiet"]) == 0
    assert not kept.exists()
    whole, resumed = load_file(adapted[0]), load_file(out)
    assert all((whole[name] == resumed[name]).all() for name in whole)
    cards = [Checkpoint.load(file).card for file in (adapted[0], out)]
    assert cards[0]["figures"] == cards[1]["figures"]


@pytest.mark.usefixtures("press")
@pytest.mark.parametrize(("times", "left"), [(1, ["step done", "closed"]), (2, ["closed"])])
def test_the_first_ctrl_c_waits_for_the_step_and_a_second_does_not(times, left, capfd):
    seen = []

    class Work(Command):
        def run(self):
            self.finish(self.job())

        def job(self):
            try:
                for _ in range(times):
                    os.kill(os.getpid(), signal.SIGINT)
                seen.append("step done")
                yield Progress("working", 1, 2)
                seen.append("next step")
            finally:
                seen.append("closed")

    with pytest.raises(KeyboardInterrupt):
        Work(quiet=True).run()
    assert seen == left
    assert capfd.readouterr().err.count("stopping after this step") == 1


def test_without_a_file_for_the_run_it_is_said_that_nothing_is_kept(home, press, tmp_path, capfd):
    press(1)
    assert main(adapt(home, tmp_path / "b.safetensors", *STRUCTURES)) == 130
    assert "nothing is kept; with --resume FILE it could go on" in capfd.readouterr().err


def test_a_command_also_runs_in_a_thread_which_has_no_signals(home, tmp_path):
    pick = f"pick {home}/tomo.mrc --diameter 180 --out {tmp_path}/p.csv --quiet"
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, pick.split()).result() == 0


# --- bad input ---

BROKEN = {
    "no structure": ([], "0 structures are named; give --structures"),
    "unknown structure": (["--structures", "0xyz", "2fha"], "0xyz"),
    "one class": (
        ["--structures", "2fha", "--source.distractors", "0", "--source.assemblies", "0"],
        "give two classes or more",
    ),
    "too wide": (["--structures", "4v6x", "2fha"], "Å wide but the box only 256 Å"),
    "truth without a radius": (
        [*STRUCTURES, "--truth", "{home}/tomo.csv"],
        "--truth comes without --radius; say within",
    ),
    "truth without classes": (
        [*STRUCTURES, "--truth", "{home}/picks.csv", "--radius", "50"],
        "class",
    ),
    "truth with other names": (
        [*STRUCTURES, "--truth", "{here}/named.csv", "--radius", "50"],
        "named.csv names none of the classes TRiC/CCT",
    ),
    "wrong ending": ([*STRUCTURES, "--predictions", "{here}/p.star"], "does not end in .csv"),
    "a picture of another kind": ([*STRUCTURES, "--warps", "{here}/w.pdf"], "not end in .png"),
    "over the picks": ([*STRUCTURES, "--predictions", "{home}/picks.csv"], "would be lost"),
    "one file for both": (
        [*STRUCTURES, "--resume", "{here}/new.safetensors"],
        "is read here and would be lost",
    ),
    "both aims": ([*STRUCTURES, "--warp.against", "task"], "set the weighting to none"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_one_sentence(case, home, tmp_path, capsys):
    table(tmp_path / "named.csv", "x,y,z,class", "9,9,9,cart")
    before = {file: file.read_bytes() for file in home.iterdir()}
    flags, sentence = BROKEN[case]
    filled = [flag.format(home=home, here=tmp_path) for flag in flags]
    assert main([*adapt(home, tmp_path / "new.safetensors", *filled), "--quiet"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("cryoshift adapt: ")
    assert sentence in line
    assert [file.name for file in tmp_path.iterdir()] == ["named.csv"]
    assert {file: file.read_bytes() for file in home.iterdir()} == before


def test_no_picks_is_one_sentence(home, tmp_path, capsys):
    empty = table(tmp_path / "empty.csv", "x,y,z")
    words = [
        "adapt",
        f"{home}/tomo.mrc",
        empty,
        "--out",
        f"{tmp_path}/a.safetensors",
        *TINY.split(),
    ]
    assert main([*words, *STRUCTURES]) == 2
    assert "; " in capsys.readouterr().err


# --- pictures, and lists that come with classes ---


def test_pictures_and_a_table_for_a_list_with_classes(home, adapted, tmp_path, capsys):
    pytest.importorskip("openTSNE")
    named = [f"{row['x']},{row['y']},{row['z']},{row['class']}" for row in rows(home / "tomo.csv")]
    listed = table(tmp_path / "named.csv", "x,y,z,class", *named)
    words = adapt(home, tmp_path / "a.safetensors", *STRUCTURES)
    words[2] = listed
    words += ["--warps", f"{tmp_path}/warps.png", "--tsne", f"{tmp_path}/map.png", "--quiet"]
    assert main([*words, "--predictions", f"{tmp_path}/p.csv"]) == 0
    said = capsys.readouterr().out

    found = {(row["x"], row["y"], row["z"]): row["class"] for row in rows(tmp_path / "p.csv")}
    true = [row["class"] for row in rows(home / "tomo.csv")]
    right = np.mean([name == given for name, given in zip(found.values(), true, strict=True)])
    assert "beside the classes of 12 picks in named.csv, of which nothing was learnt: " in said
    assert f"accuracy {right:.4f}" in said
    for name in NAMES:
        (line,) = [line for line in said.splitlines() if line.startswith(f"{name} ")]
        assert line.split()[-1] == "6"
    weighted = next(line for line in said.splitlines() if line.startswith("weighted mean"))
    assert float(weighted.split()[3]) == pytest.approx(right, abs=1e-4)  # recall, weighted

    for name in ("warps", "map"):
        picture = imread(tmp_path / f"{name}.png")
        assert min(picture.shape[:2]) > 200
        assert picture[..., :3].std() > 0.05  # something is in it
    assert said.count("mixing of simulated particles and picks") == 2
    files = {"named.csv", "p.csv", "a.safetensors", "warps.png", "map.png"}
    assert {file.name for file in tmp_path.iterdir()} == files
    without, given = load_file(adapted[0]), load_file(tmp_path / "a.safetensors")
    assert all((without[name] == given[name]).all() for name in without)  # nothing was learnt
