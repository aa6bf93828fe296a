import json
import pickle
import struct

import numpy as np
import pytest
import safetensors.torch
import torch

from napari_cryoshift.core.checkpoint import VERSION, Checkpoint
from napari_cryoshift.core.methods import METHODS

KEY = "napari-cryoshift"


@pytest.fixture
def checkpoint():
    method = METHODS["protonet"](
        METHODS["protonet"].params_type(width=8, seed=5), 16, ("a", "other")
    )
    return Checkpoint.of(method, 13.5, {"snr": [0.1, 0.05], "note": "Å"})


@pytest.fixture
def file(checkpoint, tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path)
    return path


def header_of(path):
    with safetensors.safe_open(path, "pt") as file:
        return json.loads(file.metadata()[KEY])


def rewrite(path, **changes):
    """Write the file again with another header."""
    header = header_of(path) | changes
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights, path, {KEY: json.dumps(header)})


def test_everything_comes_back(checkpoint, file):
    loaded = Checkpoint.load(file)
    for name in ("method", "params", "classes", "box", "voxel_size", "card", "digest"):
        assert getattr(loaded, name) == getattr(checkpoint, name), name
    assert loaded.weights.keys() == checkpoint.weights.keys()
    volumes = torch.randn(3, 16, 16, 16)
    assert torch.equal(loaded.build().embed(volumes), checkpoint.build().embed(volumes))
    assert not loaded.build().training


def test_a_checkpoint_is_a_copy_that_later_training_does_not_change():
    method = METHODS["protonet"](METHODS["protonet"].params_type(width=8), 16)
    checkpoint = Checkpoint.of(method, 10.0, {})
    before = checkpoint.digest
    with torch.no_grad():
        for weight in method.parameters():
            weight += 1
    assert checkpoint.digest == before
    assert Checkpoint.of(method, 10.0, {}).digest != before


def test_the_file_is_plain_safetensors_and_holds_no_pickle(file):
    content = file.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])  # as the safetensors specification has it
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    assert sum(b - a for a, b in (t["data_offsets"] for t in tensors)) == len(content) - 8 - size
    assert header_of(file)["preprocessing"] == "protein positive, mean 0, standard deviation 1"


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "model.pt"

    class Bomb:
        def __reduce__(self):
            return (path.with_suffix(".ran").write_text, ("boom",))

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"model\.pt is no whole safetensors file .*copy it again"):
        Checkpoint.load(path)
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="no whole safetensors file"):
        Checkpoint.load(path)
    assert not path.with_suffix(".ran").exists()


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model\.safetensors is no whole safetensors file"):
        Checkpoint.load(file)


def test_weights_of_another_program_are_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(3)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match="holds weights but not how to use them; choose a check"):
        Checkpoint.load(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": VERSION + 1}, f"of version {VERSION + 1} and this program reads version"),
        ({"version": None}, "of version None"),
        ({"method": "telepathy"}, "of method 'telepathy', which is not one of .*protonet"),
        ({"params": {"width": 8, "aura": 1}}, "has 1 parameters that this program does not know"),
    ],
)
def test_a_checkpoint_of_another_version_is_one_clear_sentence(file, changes, sentence):
    rewrite(file, **changes)
    with pytest.raises(ValueError, match=sentence) as caught:
        Checkpoint.load(file)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_one_clear_sentence(file):
    loaded = Checkpoint.load(file)
    wider = loaded.params.model_copy(update={"width": loaded.params.width + 1})
    with pytest.raises(ValueError, match=r"weights .* do not fit its network; update") as caught:
        Checkpoint(**{**vars(loaded), "params": wider}).build()
    assert "\n" not in str(caught.value)


def test_a_missing_checkpoint_is_one_clear_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.safetensors"):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*; check the name"):
            Checkpoint.load(path)


def test_a_full_disk_keeps_the_older_file(checkpoint, file, monkeypatch):
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*unchanged; free some space"):
        checkpoint.save(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_the_digest_names_the_weights(checkpoint, file):
    loaded = Checkpoint.load(file)
    weights = dict(loaded.weights)
    name = next(name for name in weights if weights[name].is_floating_point())
    weights[name] = weights[name] + np.float32(1e-3)
    changed = Checkpoint(**{**vars(loaded), "weights": weights})
    assert changed.digest != loaded.digest == checkpoint.digest
