"""`cryoshift tune`: an embedding, a tomogram, and one that is trained on for it."""

import pytest

from napari_cryoshift.cli import main
from napari_cryoshift.core.checkpoint import Checkpoint

TINY = (
    "--source.imaging.box 16 --source.imaging.voxel-size 20 --source.structures 2fha 1bxn "
    "--source.chimeras 0 --source.assemblies 1 --source.distractors 1 --source.per-class 12 "
    "--ways 3 --shots 2 --queries 2 --tasks 2 --width 8 --distillation 0 --quiet"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a simulated tomogram, a list of its particles and a small embedding."""
    folder = tmp_path_factory.mktemp("tune")
    simulate = (
        f"simulate tomogram --out {folder}/tomo.mrc --shape 40 80 80 --classes 2fha "
        "--particles-per-class 6 --membranes 0 --beads 0 --snr 3 --quiet"
    )
    assert main(simulate.split()) == 0
    assert main(f"train --out {folder}/base.safetensors {TINY}".split()) == 0
    return folder


def tune(home, *flags):
    words = f"tune {home}/tomo.mrc --checkpoint {home}/base.safetensors --diameter 130 --tasks 2"
    return main([*words.split(), "--quiet", "--out", f"{home}/tuned.safetensors", *flags])


@pytest.mark.parametrize("listed", [False, True])
def test_the_estimate_is_printed_and_the_embedding_written(home, capsys, listed):
    picks = ["--picks", f"{home}/tomo.csv"] if listed else []
    assert tune(home, *picks, "--defocus", "-4") == 0
    said = capsys.readouterr().out
    assert "tilt axis               y" in said
    assert "missing wedge of ±" in said
    assert "signal-to-noise ratio" in said
    assert f"embedding for tomo in {home}/tuned.safetensors" in said
    card = Checkpoint.load(home / "tuned.safetensors").card
    assert card["tuned"]["source"]["imaging"]["defocus"] == [-4.5, -3.5]
    assert card["tuned"]["from"] == Checkpoint.load(home / "base.safetensors").digest


def test_bad_input_is_one_sentence(home, capsys):
    assert tune(home, "--diameter", "3000", "--picks", f"{home}/tomo.csv") == 2
    assert "give fewer picks or a smaller diameter" in capsys.readouterr().err
