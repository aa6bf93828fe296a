"""An embedding that is trained on for one tomogram."""

import numpy as np
import pytest
import torch

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.fine_tuning import (
    TuneParams,
    look_at,
    simulate_like,
    source_like,
    tune,
)
from napari_cryoshift.core.methods.protonet import ProtoNet, ProtoNetParams
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.source import SourceParams
from napari_cryoshift.core.simulate.spectrum import TiltRange
from napari_cryoshift.core.types import Particles, Tomogram

BOX, SIZE = 16, 20.0
TUNE = TuneParams(diameter=150.0, shift=10.0, tasks=3, learning_rate=1e-3)
HELD_OUT = ("ribosome", "chaperonin")


def embedding(**card):
    """A small embedding as it comes out of a training, and its card."""
    general = SourceParams().imaging.model_copy(update={"box": BOX, "voxel_size": SIZE})
    source = SourceParams(
        structures=("2fha", "1bxn", "4v8r"),
        hold_out=HELD_OUT,
        chimeras=1,
        assemblies=1,
        distractors=1,
        per_class=8,
        imaging=general,
    )
    learning = ProtoNetParams(width=8, ways=3, shots=2, queries=2)
    card = {"held_out": list(HELD_OUT), "source": source.model_dump(mode="json"), **card}
    return Checkpoint.of(ProtoNet(learning, BOX), SIZE, card)


@pytest.fixture(scope="module")
def opened():
    """A tomogram of noise with a tilt range of −50° to 66° about x, and picks in it."""
    tilts = TiltRange("x", -50, 66)
    shape = (40, 64, 64)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mask = imaging.missing_wedge(shape, tilts.missing_wedge, tilt_centre=tilts.centre)
    volume = torch.fft.irfftn(torch.fft.rfftn(noise) * mask, s=shape)
    tomogram = Tomogram(tilts.from_y(volume).numpy(), 20.0, "noise")
    places = [(20, y, x) for y in (12, 32, 52) for x in (12, 32, 52)]
    return tomogram, Particles.at(places, score=np.arange(9.0))


@pytest.fixture(scope="module")
def found(opened):
    return finish(look_at(*opened, embedding(), TUNE))


def tuned(opened, found, base, params=TUNE, **how):
    return finish(tune(opened[0], found, base, params, **how))


def test_what_is_simulated_has_the_wedge_of_the_tomogram_about_its_own_axis(found):
    params = source_like(found, embedding(), TUNE)
    assert found.tilts.axis == "x"
    volumes = simulate_like(found, params)[np.arange(0, 40, 4)]
    power = torch.fft.fftn(volumes, dim=(1, 2, 3)).abs().square().mean(0)
    k = torch.fft.fftfreq(BOX) * BOX
    angle = torch.rad2deg(torch.atan2(k[:, None].abs(), k.abs()))
    of_beam = (angle > 75) & (torch.hypot(k[:, None], k) > 3)
    about_x = power.sum(2)[of_beam].mean() / power.sum(2).mean()
    about_y = power.sum(1)[of_beam].mean() / power.sum(1).mean()
    assert about_x < 0.1
    assert about_y > 3 * about_x


def test_families_that_the_embedding_was_not_to_see_stay_held_out(found):
    params = source_like(found, embedding(), TUNE)
    assert params.hold_out == HELD_OUT
    assert not any("TRiC" in name for name in simulate_like(found, params).classes)


def test_tuning_goes_on_from_the_embedding_and_the_card_says_to_what(opened, found):
    base = embedding()
    still = tuned(opened, found, base, TUNE.model_copy(update={"learning_rate": 1e-12}))
    for name, weights in base.encoder.items():
        if "running" not in name and "batches" not in name:
            torch.testing.assert_close(still.encoder[name], weights, atol=1e-8, rtol=0)
    new = tuned(opened, found, base)
    assert new.digest != base.digest
    assert new.card["held_out"] == list(HELD_OUT)
    about = new.card["tuned"]
    assert about["tomogram"] == "noise"
    assert about["from"] == base.digest
    assert about["estimate"]["tilt axis"] == "x"
    assert about["source"]["imaging"]["shift"] == TUNE.shift
    assert "loss" in new.card["figures"]
    volumes = torch.randn(2, BOX, BOX, BOX)
    assert new.build().embed(volumes).shape == (2, 8)


def test_the_same_seed_gives_the_same_weights(opened, found):
    first, second = (tuned(opened, found, embedding()) for _ in range(2))
    assert first.digest == second.digest


def test_a_tuning_that_was_stopped_goes_on_to_the_same_weights(opened, found, tmp_path):
    kept = tmp_path / "run.safetensors"
    job = tune(opened[0], found, embedding(), TUNE, kept)
    while next(job).step != 2:
        pass
    job.close()
    assert kept.exists()
    resumed = tuned(opened, found, embedding(), resume=kept)
    assert resumed.digest == tuned(opened, found, embedding()).digest
    assert not kept.exists()


def test_a_person_knows_the_defocus_better(found):
    params = TUNE.model_copy(update={"defocus": -3.0})
    assert source_like(found, embedding(), params).imaging.defocus == (-3.5, -2.5)
    assert source_like(found, embedding(), TUNE).imaging.defocus == SourceParams().imaging.defocus


def test_what_is_no_embedding_for_any_class_is_refused(opened, found):
    named = Checkpoint.of(ProtoNet(ProtoNetParams(width=8), BOX, ("ribosome", "other")), SIZE, {})
    with pytest.raises(
        ValueError, match="'protonet' with 2 classes of its own cannot be tuned; give"
    ):
        finish(look_at(*opened, named, TUNE))
    with pytest.raises(ValueError, match="cannot be tuned"):
        tuned(opened, found, named)
