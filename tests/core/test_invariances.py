"""What must not matter to a prediction does not: grey values, contrast, threads, half turns."""

import numpy as np
import pytest
import torch

from napari_cryoshift.core.embeddings import embed
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import OTHER, Particles, Tomogram
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import classify, shipped_checkpoint

KEYS = ("5uz4", "1mnf", "4zxb")
EACH = 8


@pytest.fixture(scope="module")
def checkpoint():
    return shipped_checkpoint()


@pytest.fixture(scope="module")
def volumes(checkpoint):
    """Eight clear particles of each of three structures."""
    params = ImagingParams(
        box=checkpoint.box,
        voxel_size=checkpoint.voxel_size,
        snr=(2.0, 2.0),
        snr_convention="power",
        shift=0.0,
    )
    return simulate_subtomograms([library()[key] for key in KEYS], params, per_class=EACH, seed=3)


@pytest.fixture(scope="module")
def scene(volumes):
    """A tomogram of those volumes side by side, dark, and where they are."""
    box = volumes.box
    blocks = volumes[:].reshape(3, EACH, box, box, box).permute(2, 0, 3, 1, 4)
    data = -blocks.reshape(box, 3 * box, EACH * box).numpy()
    middle = box // 2
    places = [(middle, middle + box * k, middle + box * i) for k in range(3) for i in range(EACH)]
    particles = Particles.at(places, score=np.linspace(5, 1, len(places)))
    return Tomogram(data, volumes.voxel_size, "scene"), particles


def predicted(tomogram, particles, checkpoint):
    label = np.full(len(particles), "", dtype=object)
    for k, name in enumerate((*KEYS[:2], OTHER)):
        label[[k * EACH, k * EACH + 1]] = name
    vectors = finish(embed(tomogram, particles, checkpoint))
    return vectors, classify(vectors, particles.replace(label=label))


@pytest.mark.parametrize(("scale", "offset"), [(250.0, 0.0), (1.0, 30.0), (0.01, -7.0)])
def test_scale_and_offset_of_grey_values_leave_predictions_alone(scene, checkpoint, scale, offset):
    tomogram, particles = scene
    _, plain = predicted(tomogram, particles, checkpoint)
    again = Tomogram(scale * tomogram.data + offset, tomogram.voxel_size, "scene")
    _, other = predicted(again, particles, checkpoint)
    assert (other.predicted == plain.predicted).all()
    np.testing.assert_allclose(other.probabilities, plain.probabilities, atol=0.01)


def test_inverted_contrast_is_handled_by_saying_so(scene, checkpoint):
    tomogram, particles = scene
    plain, said = predicted(tomogram, particles, checkpoint)
    inverted = -np.asarray(tomogram.data)
    size = tomogram.voxel_size
    light, same = predicted(Tomogram(inverted, size, "l", dark=False), particles, checkpoint)
    np.testing.assert_array_equal(light, plain)
    np.testing.assert_array_equal(same.probabilities, said.probabilities)
    wrong, _ = predicted(Tomogram(inverted, size, "d", dark=True), particles, checkpoint)
    assert np.abs(wrong - plain).max() > 0.1 * np.abs(plain).max()  # it is not for nothing


def half_turned(volumes, axes):
    """Turned by 180° about the centre, index d // 2 of an even box."""
    return torch.roll(volumes.flip(axes), (1, 1), axes)


@pytest.mark.parametrize("axes", [(2, 3), (1, 3), (1, 2)])
def test_half_turns_that_keep_the_wedge_change_little(volumes, checkpoint, axes):
    method = checkpoint.build()
    whole = volumes[:]
    plain, turned = method.embed(whole), method.embed(half_turned(whole, axes))
    change = (turned - plain).square().sum(1).mean()
    means = torch.stack([plain[k * EACH : (k + 1) * EACH].mean(0) for k in range(3)])
    between = torch.cdist(means, means)[~torch.eye(3, dtype=torch.bool)].square().min()
    assert change < 0.5 * between
    nearest = torch.cdist(turned, means).argmin(1)
    assert (nearest == torch.arange(3).repeat_interleave(EACH)).float().mean() > 0.9


def test_one_thread_and_two_give_the_same_embedding(volumes, checkpoint):
    method, few = checkpoint.build(), volumes[:6]
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(method.embed(few))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)


def test_particles_that_are_read_alone_look_the_same(scene, checkpoint):
    tomogram, particles = scene
    together = finish(embed(tomogram, particles, checkpoint))
    alone = finish(embed(tomogram, particles.take([11]), checkpoint))
    np.testing.assert_allclose(alone[0], together[11], atol=1e-4)
    assert crop(tomogram, particles, box=24, voxel_size=16.0)[:].isfinite().all()
