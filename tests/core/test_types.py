import numpy as np
import pytest
import torch

from napari_cryoshift.core.types import Particles, Subtomograms, TrainingData


def test_a_table_from_positions_is_empty_where_nothing_is_said():
    particles = Particles.at([[1, 2, 3], [4, 5, 6]], score=[0.5, 0.25], tomogram="t1")
    assert len(particles) == 2
    assert particles.positions.dtype == np.float64
    assert particles.score.tolist() == [0.5, 0.25]
    assert particles.tomogram.tolist() == ["t1", "t1"]
    assert particles.label.tolist() == ["", ""]
    assert np.isnan(particles.confidence).all()
    assert particles.cluster.tolist() == [-1, -1]
    assert len(Particles.at([])) == 0


@pytest.mark.parametrize("rows", [[2, 0], [True, False, True], np.array([], dtype=int)])
def test_taking_rows_takes_them_of_every_column(rows):
    particles = Particles.at(
        np.arange(9).reshape(3, 3),
        label=["a", "b", "c"],
        orientations=np.stack([np.eye(3)] * 3),
        probabilities=np.arange(6.0).reshape(3, 2),
        classes=("a", "other"),
    )
    taken = particles.take(rows)
    index = np.arange(3)[np.asarray(rows)]
    np.testing.assert_array_equal(taken.id, index)
    np.testing.assert_array_equal(taken.positions, particles.positions[index])
    np.testing.assert_array_equal(taken.probabilities, particles.probabilities[index])
    assert taken.label.tolist() == [("a", "b", "c")[i] for i in index]
    assert taken.orientations.shape == (len(index), 3, 3)
    assert taken.classes == ("a", "other")


def test_a_table_is_never_changed():
    particles = Particles.at([[1, 2, 3]])
    labelled = particles.replace(label=np.array(["a"], dtype=object))
    assert (particles.label[0], labelled.label[0]) == ("", "a")
    with pytest.raises(AttributeError):
        particles.label = labelled.label


def test_columns_of_different_length_are_one_clear_sentence():
    with pytest.raises(ValueError, match="2 particle ids but 3 values of score; give one value a"):
        Particles.at([[1, 2, 3], [4, 5, 6]], score=[1, 2, 3])


def test_subtomograms_read_what_is_asked_for_and_nothing_else():
    asked = []

    def read(rows):
        asked.append(rows.tolist())
        return torch.zeros(len(rows), 4, 4, 4)

    volumes = Subtomograms(read=read, count=10**9, box=4, voxel_size=10.0)
    assert volumes[[3, 10**9 - 1]].shape == (2, 4, 4, 4)
    assert volumes.take([7, 8, 9]).take([2, 0])[:].shape[0] == 2
    assert asked == [[3, 10**9 - 1], [9, 7]]


def test_a_view_keeps_labels_with_their_volumes():
    volumes = Subtomograms.from_memory(
        torch.arange(5.0).reshape(5, 1, 1, 1), 10.0, np.array([0, 1, 0, 1, 2]), ("a", "b", "c")
    )
    view = volumes.take(volumes.labels == 1)
    assert view[:].flatten().tolist() == [1, 3]
    assert view.labels.tolist() == [1, 1]
    assert view.classes == ("a", "b", "c")
    assert view[1:][0].item() == 3


def test_a_mask_chooses_rows():
    volumes = Subtomograms.from_memory(torch.arange(4.0).reshape(4, 1, 1, 1), 10.0)
    assert volumes[np.array([False, True, False, True])].flatten().tolist() == [1, 3]
    assert volumes[-2:].flatten().tolist() == [2, 3]


def test_labels_of_another_number_are_one_clear_sentence():
    with pytest.raises(ValueError, match="64 volumes but 60 labels; give one label a volume"):
        Subtomograms.from_memory(torch.zeros(64, 2, 2, 2), 10.0, np.zeros(60, dtype=np.int64))


@pytest.mark.parametrize("name", ["source", "target", "support"])
def test_missing_data_say_what_to_do(name):
    empty = Subtomograms.from_memory(torch.zeros(0, 2, 2, 2), 10.0)
    for data in (TrainingData(), TrainingData(**{name: empty})):
        with pytest.raises(ValueError, match=f"the {name} set is empty; (choose|pick|label) "):
            data.need(name)
    one = Subtomograms.from_memory(torch.zeros(1, 2, 2, 2), 10.0)
    assert TrainingData(**{name: one}).need(name) is one
