import numpy as np
import pytest
import torch

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.embeddings import embed, fingerprint, predict
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.volumes import crop


def checkpoint_of(seed):
    method = METHODS["protonet"](METHODS["protonet"].params_type(width=8, seed=seed), 8)
    return Checkpoint.of(method, 12.0, {})


@pytest.fixture
def checkpoint():
    return checkpoint_of(seed=0)


@pytest.fixture
def particles():
    """150 particles: three batches."""
    return Particles.at(np.random.default_rng(0).uniform(2, 20, (150, 3)))


@pytest.fixture
def computed(monkeypatch):
    """How many volumes were embedded, batch by batch."""
    sizes = []
    plain = METHODS["protonet"].embed

    def counting(self, volumes):
        sizes.append(len(volumes))
        return plain(self, volumes)

    monkeypatch.setattr(METHODS["protonet"], "embed", counting)
    return sizes


def test_each_row_is_the_embedding_of_its_particle(tomogram, particles, checkpoint):
    vectors = finish(embed(tomogram, particles, checkpoint))
    volumes = crop(tomogram, particles, box=8, voxel_size=12.0)
    with torch.no_grad():
        expected = checkpoint.build().encoder(volumes[[0, 77, 149]]).numpy()
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[[0, 77, 149]], expected, atol=1e-5)


def test_only_positions_that_the_cache_does_not_hold_are_computed(
    tomogram, particles, checkpoint, computed, tmp_path
):
    first = finish(embed(tomogram, particles.take(np.arange(100)), checkpoint, tmp_path))
    assert sum(computed) == 100
    computed.clear()
    order = np.random.default_rng(1).permutation(150)
    second = finish(embed(tomogram, particles.take(order), checkpoint, tmp_path))
    assert sum(computed) == 50
    np.testing.assert_array_equal(second[np.argsort(order)][:100], first)
    computed.clear()
    finish(embed(tomogram, particles, checkpoint, tmp_path))
    assert computed == []


def test_a_cancelled_job_keeps_what_it_has_done(
    tomogram, particles, checkpoint, computed, tmp_path
):
    job = embed(tomogram, particles, checkpoint, tmp_path)
    assert (next(job).step, next(job).step) == (1, 2)
    job.close()
    done = sum(computed)
    finish(embed(tomogram, particles, checkpoint, tmp_path))
    assert done == 128
    assert sum(computed) == 150


def damage_by_truncation(file):
    file.write_bytes(file.read_bytes()[:-20])


def damage_by_garbage(file):
    file.write_bytes(b"garbage")


def damage_by_emptying(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_by_truncation, damage_by_garbage, damage_by_emptying])
def test_a_damaged_cache_is_made_anew(tomogram, particles, checkpoint, computed, tmp_path, damage):
    whole = finish(embed(tomogram, particles, checkpoint, tmp_path))
    (file,) = tmp_path.iterdir()
    damage(file)
    np.testing.assert_allclose(
        finish(embed(tomogram, particles, checkpoint, tmp_path)), whole, atol=1e-6
    )
    finish(embed(tomogram, particles, checkpoint, tmp_path))
    assert sum(computed) == 300


def test_another_tomogram_contrast_or_model_is_not_served_from_the_cache(
    tomogram, particles, checkpoint, tmp_path
):
    light = Tomogram(tomogram.data, 10.0, "noise", dark=False)
    other = Tomogram(tomogram.data + 1.0, 10.0, "noise")
    coarse = Tomogram(tomogram.data, 11.0, "noise")
    assert len({fingerprint(t) for t in (tomogram, light, other, coarse)}) == 4
    for seen in (tomogram, light, coarse):
        finish(embed(seen, particles, checkpoint, tmp_path))
    finish(embed(tomogram, particles, checkpoint_of(seed=1), tmp_path))
    assert len(list(tmp_path.iterdir())) == 4


def test_the_name_of_the_tomogram_does_not_matter(tomogram):
    assert fingerprint(tomogram) == fingerprint(Tomogram(tomogram.data, 10.0, "renamed"))


def test_no_particles_are_no_rows(tomogram, checkpoint, tmp_path):
    assert finish(embed(tomogram, Particles.at([]), checkpoint, tmp_path)).shape == (0, 8)


def test_a_position_outside_is_refused_before_anything_is_computed(tomogram, checkpoint, computed):
    with pytest.raises(ValueError, match="1 of 1 positions lie outside the tomogram"):
        finish(embed(tomogram, Particles.at([[99, 0, 0]]), checkpoint))
    assert computed == []


def test_stopping_in_the_first_batch_is_no_error_of_the_cache(
    tomogram, particles, checkpoint, monkeypatch, tmp_path
):
    def press(self, volumes):
        raise KeyboardInterrupt

    monkeypatch.setattr(METHODS["protonet"], "embed", press)
    with pytest.raises(KeyboardInterrupt):
        finish(embed(tomogram, particles, checkpoint, tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_model_with_classes_of_its_own_predicts_without_a_label(tomogram, particles, tmp_path):
    cryoshift = METHODS["cryoshift"]
    params = cryoshift.params_type(step_zero={"width": 4}, warp={"filters": 2})
    checkpoint = Checkpoint.of(cryoshift(params, 8, ("a", "b", "c")), 12.0, {})
    said = finish(predict(tomogram, particles, checkpoint, tmp_path))
    volumes = crop(tomogram, particles, box=8, voxel_size=12.0)
    rows = [0, 77, 149]
    np.testing.assert_allclose(said[rows], checkpoint.build().predict(volumes[rows]), atol=1e-5)
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)
    # Kept beside the embeddings, and not taken for them.
    vectors = finish(embed(tomogram, particles, checkpoint, tmp_path))
    assert vectors.shape[1] != said.shape[1]
    np.testing.assert_array_equal(
        finish(predict(tomogram, particles.take(rows), checkpoint, tmp_path)), said[rows]
    )
