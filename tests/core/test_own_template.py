"""A template made of examples, in a small tomogram of which every particle is known."""

import numpy as np
import pytest
import torch

from napari_cryoshift.core.own_template import (
    OwnTemplateParams,
    joint_score,
    own_template,
)
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Particles, Tomogram
from napari_cryoshift.core.volumes import random_rotations, sample_rotated

VOXEL = 24.0
KIND, ANOTHER = library()["4v5d"], library()["3j9i"]
PARAMS = OwnTemplateParams(
    diameter=KIND.diameter, resolution=60.0, rotation_step=40.0, shift=48.0, envelope=0.0, rounds=1
)
CLICKS = np.arange(6)


@pytest.fixture(scope="module")
def scene():
    """Twenty particles, as many of another kind and as many places with nothing, off centre."""
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid([10], range(10, 130, 18), range(10, 170, 18), indexing="ij"), -1)
    places = generator.permutation(grid.reshape(-1, 3))[:60].astype(float)
    image = generator.standard_normal((20, 136, 176)).astype(np.float32)
    for kind, some in ((KIND, places[:20]), (ANOTHER, places[20:40])):
        turned = sample_rotated(
            torch.from_numpy(kind.density),
            random_rotations(20, generator),
            box=16,
            step=VOXEL / kind.voxel_size,
        ).numpy()
        for place, particle in zip(some.astype(int), turned, strict=True):
            z, y, x = place - 8
            image[z : z + 16, y : y + 16, x : x + 16] += particle * 2 / particle.max()
    picks = places + generator.uniform(-1, 1, places.shape)
    return Tomogram(-image, VOXEL, "planted"), Particles.at(picks), places


def test_what_is_like_the_examples_fits_their_template_best(scene):
    tomogram, particles, places = scene
    made = finish(own_template(tomogram, particles, CLICKS, [ANOTHER, KIND], PARAMS))
    assert made.start == KIND.id
    unseen = np.setdiff1d(np.arange(60), CLICKS)
    ranked = unseen[np.argsort(-made.fit.strength[unseen])]
    assert np.mean(ranked[:14] < 20) > 0.9
    # All examples are members, and what joined them is nearly all of their kind.
    assert np.isin(CLICKS, made.members).all()
    assert np.mean(made.members < 20) > 0.9
    # The picks were off their particles, and are no more so where these are found.
    before = (places - particles.positions)[:20] * VOXEL
    after = before - made.fit.shifts[:20]
    assert np.linalg.norm(after, axis=1).mean() < np.linalg.norm(before, axis=1).mean()


def test_grey_values_of_another_scale_give_the_same(scene):
    tomogram, particles, _ = scene
    few = particles.take(np.r_[:12, 40:50])
    one, other = (
        finish(own_template(image, few, CLICKS, [KIND], PARAMS))
        for image in (
            tomogram,
            Tomogram(100 - 7 * tomogram.data, VOXEL, "light", dark=False),
        )
    )
    np.testing.assert_allclose(one.fit.strength, other.fit.strength, rtol=1e-3)
    np.testing.assert_array_equal(one.members, other.members)


def test_one_example_is_enough(scene):
    tomogram, particles, _ = scene
    made = finish(own_template(tomogram, particles, [3], [KIND], PARAMS))
    unseen = np.delete(np.arange(60), 3)
    ranked = unseen[np.argsort(-made.fit.strength[unseen])]
    assert np.mean(ranked[:19] < 20) > 0.8


def test_no_examples_are_refused_in_a_sentence(scene):
    tomogram, particles, _ = scene
    with pytest.raises(ValueError, match="0 examples to make a template of; label one"):
        finish(own_template(tomogram, particles, [], [KIND], PARAMS))


def test_both_scores_count_alike_whatever_their_scale():
    generator = np.random.default_rng(0)
    score, strength = generator.normal(size=(2, 500))
    joint = joint_score(score, strength)
    np.testing.assert_allclose(joint_score(5 + 3 * score, strength - 7), joint, atol=1e-12)
    assert np.corrcoef(joint, score)[0, 1] == pytest.approx(
        np.corrcoef(joint, strength)[0, 1], abs=0.06
    )
    # One gold bead leaves the rest as it is, and counts no more than a strong particle.
    bead = score.copy()
    bead[0] = 1e6
    np.testing.assert_allclose(joint_score(bead, strength)[1:], joint[1:], atol=0.02)
    clicked = score.copy()
    clicked[-1] = np.nan
    assert np.isnan(joint_score(clicked, strength)[-1])
    alone = joint_score(np.full(500, np.nan), strength)
    assert (np.argsort(alone) == np.argsort(strength.clip(-3, 3), kind="stable")).mean() > 0.9
