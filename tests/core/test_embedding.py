"""The figures of the shipped embedding, measured anew at small size."""

from itertools import combinations

import numpy as np
import pytest
import torch

from napari_cryoshift.core.losses import squared_distances
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.volumes import resampled
from napari_cryoshift.core.workflows import shipped_checkpoint

UNSEEN = ("3jb9", "1wcm", "4v6x", "3j9i", "4v8r")
EACH, SHOTS, DRAWS = 40, 5, 40


@pytest.fixture(scope="module")
def checkpoint():
    return shipped_checkpoint()


def test_no_relative_of_the_unseen_classes_taught_it(checkpoint):
    families = {library()[key].family for key in UNSEEN}
    assert families <= set(checkpoint.card["held_out"])


@pytest.mark.parametrize(("snr", "least"), [(100.0, 0.97), (0.1, 0.78)])
def test_five_labels_of_each_of_two_unseen_classes_tell_them_apart(checkpoint, snr, least):
    """The papers' volumes, centred, at their nominal ratio; the nearest class mean."""
    imaged = ImagingParams(snr=(snr, snr), defocus=(-5.0, -5.0), amplitude_contrast=0.0, shift=6.4)
    structures = [library()[key] for key in UNSEEN]
    made = simulate_subtomograms(structures, imaged, per_class=EACH, seed=11)
    volumes = resampled(made, box=checkpoint.box, voxel_size=checkpoint.voxel_size)
    vectors = checkpoint.build().embed(volumes[:]).reshape(len(UNSEEN), EACH, -1)
    generator = np.random.default_rng(0)
    right = []
    for pair in combinations(range(len(UNSEEN)), 2):
        for _ in range(DRAWS):
            both = torch.stack([vectors[i][generator.permutation(EACH)] for i in pair])
            nearest = squared_distances(both[:, SHOTS:].flatten(0, 1), both[:, :SHOTS].mean(1))
            truth = torch.arange(2).repeat_interleave(EACH - SHOTS)
            right.append((nearest.argmin(1) == truth).double().mean())
    assert np.mean(right) >= least
