import itertools

import numpy as np
import pytest
import torch

from napari_cryoshift.core.domains import Domains
from napari_cryoshift.core.types import Subtomograms, TrainingData

CPU = torch.device("cpu")


def volumes(labels, *, box=4, voxel_size=10.0, classes=("a", "b", "c"), labelled=True):
    labels = np.asarray(labels)
    data = torch.arange(len(labels)).reshape(-1, 1, 1, 1).expand(-1, box, box, box)
    return Subtomograms.from_memory(data, voxel_size, labels if labelled else None, classes)


def domains(seed=0):
    source = volumes(np.repeat([0, 1, 2], [100, 50, 30]))
    target = volumes(np.zeros(37, int), labelled=False)
    return Domains.of(TrainingData(source=source, target=target), seed=seed, device=CPU)


def test_one_in_ten_of_each_class_is_held_out():
    d = domains()
    assert sorted([*d.learnt, *d.held_out]) == list(range(180))
    np.testing.assert_array_equal(np.bincount(d.labels[d.held_out]), [10, 5, 3])
    assert list(d.held_out) != list(domains(seed=1).held_out)


def test_a_stage_draws_every_volume_of_both_domains():
    d = domains()
    draws = list(itertools.islice(d.draws(8, stage=1, first=0), 100))
    source, target = (
        np.concatenate([getattr(draw, n) for draw in draws]) for n in ("source", "target")
    )
    assert set(source) == set(d.learnt)
    counts = np.bincount(target, minlength=37)
    assert counts.max() - counts.min() <= 1  # all come once before any comes again
    assert len({draw.seed for draw in draws}) == 100


def test_a_resumed_stage_draws_what_would_have_come():
    def plain(draws, n):
        return [(*draw.source, *draw.target, draw.seed) for draw in itertools.islice(draws, n)]

    d = domains()
    whole = plain(d.draws(8, stage=2, first=0), 30)
    assert plain(d.draws(8, stage=2, first=11), 19) == whole[11:]
    assert plain(d.draws(8, stage=1, first=0), 30) != whole
    assert plain(domains(seed=1).draws(8, stage=2, first=0), 30) != whole


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (volumes([0, 1] * 5, labelled=False), volumes([0]), "10 source volumes but no labels; "),
        (volumes([0, 0, 1, 1, 1]), volumes([0]), "the source has 2, 3, 0 volumes a class; give"),
        (volumes([0] * 5, classes=("a",)), volumes([0]), "the source has 5 volumes a class; give"),
        (
            volumes([0, 1, 2] * 5),
            volumes([0], box=6),
            "source volumes are 4³ voxels of 10 Å but target volumes 6³ of 10 Å; give both the",
        ),
        (volumes([0, 1, 2] * 5), volumes([0], voxel_size=12), "of 10 Å but target .* 12 Å; give"),
        (volumes([0, 1, 2] * 5), volumes([]), "the target set is empty; pick particles"),
    ],
)
def test_sets_that_do_not_fit_are_one_clear_sentence(source, target, sentence):
    with pytest.raises(ValueError, match=sentence):
        Domains.of(TrainingData(source=source, target=target), seed=0, device=CPU)
