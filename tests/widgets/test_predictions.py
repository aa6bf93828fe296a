"""Embeddings kept by particle, and what is predicted from them."""

import numpy as np

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.core.workflows import classify
from napari_cryoshift.widgets.predictions import Embeddings, left_out, predicted, ready

RNG = np.random.default_rng(0)
N = 40
KINDS = np.array(["a", "b"] * (N // 2), dtype=object)
VECTORS = (np.where(KINDS == "a", -3.0, 3.0)[:, None] + RNG.normal(0, 0.3, (N, 4))).astype("f4")
TABLE = Particles.at(RNG.uniform(0, 50, (N, 3)), id=np.arange(N) + 100)
ALL = Embeddings().add(TABLE, VECTORS)


def labelled(*rows):
    label = np.full(N, "", dtype=object)
    label[list(rows)] = KINDS[list(rows)]
    return TABLE.replace(label=label)


def test_vectors_are_found_again_in_any_order():
    order = RNG.permutation(N)
    known = Embeddings().add(TABLE.take(order), VECTORS[order])
    some = TABLE.take([7, 3, 31])
    np.testing.assert_array_equal(known.of(some), VECTORS[[7, 3, 31]])


def test_a_particle_that_moved_has_no_vector_any_more():
    moved = TABLE.positions.copy()
    moved[5] += 1
    have = ALL.have(TABLE.replace(positions=moved))
    assert not have[5]
    assert have.sum() == N - 1


def test_a_newer_vector_replaces_the_older():
    newer = ALL.add(TABLE.take([2]), np.ones((1, 4), np.float32))
    np.testing.assert_array_equal(newer.all_of(TABLE)[2], 1)
    np.testing.assert_array_equal(newer.all_of(TABLE)[3], VECTORS[3])


def test_nothing_is_predicted_before_two_classes_have_labels():
    assert not ready(labelled(0, 2), ALL)
    assert not ready(TABLE.replace(label=np.full(N, OTHER, dtype=object)), ALL)
    assert (predicted(labelled(0), ALL, classify).predicted == "").all()


def test_two_labels_tell_all_others():
    found = predicted(labelled(0, 1), ALL, classify)
    np.testing.assert_array_equal(found.predicted, KINDS)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


def test_what_has_no_embedding_yet_has_no_prediction_and_keeps_its_row():
    half = Embeddings().add(TABLE.take(np.arange(20)), VECTORS[:20])
    found = predicted(labelled(0, 1), half, classify)
    assert (found.predicted[20:] == "").all()
    assert np.isnan(found.probabilities[20:]).all()
    np.testing.assert_array_equal(found.predicted[:20], KINDS[:20])


def test_a_label_left_out_is_predicted_from_the_others():
    wrong = labelled(0, 1, 2, 3, 4)
    wrong.label[4] = "b"  # row 4 is an "a"
    judged = finish(left_out(wrong, ALL, classify))
    assert judged.ids.tolist() == [100, 101, 102, 103, 104]
    np.testing.assert_array_equal(judged.labels, wrong.label[:5])
    np.testing.assert_array_equal(judged.answers, KINDS[:5])
    assert judged.wrong.tolist() == [104]


def test_the_only_label_of_its_class_cannot_be_left_out():
    assert finish(left_out(labelled(0, 1, 3), ALL, classify)).ids.tolist() == [101, 103]
