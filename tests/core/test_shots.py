"""Shots of a target, and their pairs with the source."""

import itertools

import numpy as np
import pytest
import torch

from napari_cryoshift.core.shots import Shots
from napari_cryoshift.core.types import OTHER, Subtomograms


def volumes(names, *, classes=None, box=4, voxel_size=10.0, labelled=True):
    """A volume for each name; its grey value is its row."""
    classes = classes or tuple(sorted(set(names)))
    data = torch.arange(len(names)).reshape(-1, 1, 1, 1).expand(-1, box, box, box)
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    return Subtomograms.from_memory(data, voxel_size, labels if labelled else None, classes)


SOURCE = volumes("a" * 9 + "b" * 5 + "c" * 7)


def drawn(support, steps=60, count=4, seed=0):
    shots = Shots.of(support, SOURCE)
    return shots, list(itertools.islice(shots.pairs(count, seed=(seed, 3)), steps))


def test_classes_are_matched_by_name_and_those_of_the_target_alone_come_last():
    support = volumes("xcaac", classes=("x", "c", "a", "never seen"))
    shots = Shots.of(support, SOURCE)
    assert shots.classes == ("a", "b", "c", "x")
    assert [shots.classes[label] for label in shots.labels] == list("xcaac")


def test_the_four_groups_are_what_they_are_called():
    """FADA's order: same class within the source, across domains; then different classes."""
    shots, draws = drawn(volumes("abcabc"))
    for draw in draws:
        of_first = shots.of_source[draw.first]
        for group, of_second in enumerate((shots.of_source, shots.labels) * 2):
            alike = of_first[group] == of_second[draw.second[group]]
            assert alike.all() if group < 2 else not alike.any()
        assert (draw.first[0] != draw.second[0]).all()  # no volume beside itself


def test_every_volume_has_its_turn():
    _, draws = drawn(volumes("abcabc"))
    first, second = (np.stack([getattr(d, m) for d in draws], 1) for m in ("first", "second"))
    for group in range(4):
        in_source = [first[group], second[group]] if group % 2 == 0 else [first[group]]
        for rows in in_source:
            assert set(rows.ravel()) == set(range(21))
    for group in (1, 3):
        assert (np.bincount(second[group].ravel()) == 40).all()
    assert len({draw.seed for draw in draws}) == len(draws)


def test_classes_come_equally_often_however_many_shots_they_have():
    shots, draws = drawn(volumes("aaaaaabbc"))
    for group in (1, 3):
        labels = shots.labels[np.concatenate([draw.second[group] for draw in draws])]
        np.testing.assert_allclose(np.bincount(labels) / len(labels), 1 / 3, atol=0.03)
    rows = np.concatenate([r for r, _ in itertools.islice(shots.draws(6, seed=(0, 3)), 60)])
    counts = np.bincount(shots.labels[rows])
    assert counts.max() - counts.min() <= 6
    assert set(rows) == set(range(9))


def test_a_class_of_the_source_without_shots_is_in_the_pairs_of_the_source():
    shots, draws = drawn(volumes("aabb"))
    of_first = shots.of_source[np.stack([draw.first for draw in draws], 1)]
    for group, has_it in enumerate((True, False, True, True)):
        assert (2 in of_first[group]) == has_it


def test_a_class_of_the_target_alone_is_in_pairs_of_different_classes():
    shots, draws = drawn(volumes("aabxx"))
    of_second = [shots.labels[np.stack([d.second[g] for d in draws])] for g in (1, 3)]
    assert [3 in labels for labels in of_second] == [False, True]


def test_one_shot_of_one_class_is_enough_for_pairs():
    shots, draws = drawn(volumes("b"))
    assert all((draw.second[[1, 3]] == 0).all() for draw in draws)
    assert all((shots.of_source[draw.first[1]] == 1).all() for draw in draws)


def test_draws_depend_on_the_seed_alone():
    def plain(seed):
        _, draws = drawn(volumes("abcabc"), steps=9, seed=seed)
        return [(draw.first.tolist(), draw.second.tolist(), draw.seed) for draw in draws]

    assert plain(0) == plain(0)
    assert plain(0) != plain(1)


@pytest.mark.parametrize(
    ("support", "sentence"),
    [
        (volumes("ab", labelled=False), "2 support volumes but no labels; give one label a volume"),
        (
            volumes("ab", box=6),
            "source volumes are 4³ voxels of 10 Å but labelled ones 6³ of 10 Å; give both the same",
        ),
        (volumes("ab", voxel_size=12), "of 10 Å but labelled ones 4³ of 12 Å; give both"),
        (
            volumes("xy"),
            "labelled are x, y but the source has a, b, c; name a labelled class as the same one",
        ),
    ],
)
def test_shots_that_do_not_fit_are_one_clear_sentence(support, sentence):
    with pytest.raises(ValueError, match=sentence):
        Shots.of(support, SOURCE)


def test_other_alone_is_no_class_in_common():
    source = volumes(["a", "b", OTHER] * 3)
    with pytest.raises(ValueError, match="labelled are other, ribosome but the source has a, b,"):
        Shots.of(volumes([OTHER, "ribosome"]), source)
    assert Shots.of(volumes([OTHER, "a"]), source).classes == ("a", "b", OTHER)
