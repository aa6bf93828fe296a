"""What a model predicts by itself, and what a person calls it."""

import dataclasses

import numpy as np
import pytest

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.domain_views import guess_kinds
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import OTHER, Particles, Tomogram
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import shipped_checkpoint
from napari_cryoshift.widgets.answers import Answers, answers_by_itself
from napari_cryoshift.widgets.session import Session

CLASSES = ("80S ribosome (human)", "70S ribosome (T. thermophilus)", "ferritin (human)", OTHER)
RNG = np.random.default_rng(0)
TABLE = Particles.at(RNG.uniform(0, 50, (30, 3)), id=np.arange(30) + 100)
PROBABILITIES = RNG.dirichlet(np.ones(4), 30).astype(np.float32)


def checkpoint(**card):
    params = METHODS["cryoshift"].params_type(step_zero={"width": 4}, warp={"filters": 2})
    return Checkpoint.of(METHODS["cryoshift"](params, 8, CLASSES), 12.0, card)


def test_kinds_are_recognised_by_their_words():
    kinds = ["ribosome", "some", "20S", OTHER, "70S ribosome", "ferr"]
    assert guess_kinds(CLASSES, kinds) == {
        "80S ribosome (human)": "ribosome",
        "70S ribosome (T. thermophilus)": "70S ribosome",  # the longer one
        "ferritin (human)": "ferritin (human)",  # "ferr" is no word of it
        OTHER: OTHER,
    }


def test_classes_of_one_kind_are_added_up():
    kinds = dict(zip(CLASSES, ("ribosome", "ribosome", "ferritin", OTHER), strict=True))
    answers = Answers(kinds).add(TABLE.take(np.arange(20)), PROBABILITIES[:20])
    said = answers.predicted(TABLE)
    assert said.classes == ("ribosome", "ferritin", OTHER)
    wanted = np.column_stack([PROBABILITIES[:, :2].sum(1), PROBABILITIES[:, 2:]])
    np.testing.assert_allclose(said.probabilities[:20], wanted[:20], rtol=1e-6)
    names = np.array(said.classes, dtype=object)
    np.testing.assert_array_equal(said.predicted[:20], names[wanted[:20].argmax(1)])
    np.testing.assert_allclose(said.confidence[:20], wanted[:20].max(1), rtol=1e-6)
    # What was not looked at yet has no prediction.
    assert (said.predicted[20:] == "").all()
    assert np.isnan(said.confidence[20:]).all()


def test_labels_that_were_learnt_from_do_not_judge():
    label = np.full(30, "", dtype=object)
    label[:6] = "ferritin"
    table = TABLE.replace(label=label)
    answers = Answers.of(
        checkpoint(learnt_from=table.positions[[1, 4]].tolist()), dict.fromkeys(CLASSES, "ferritin")
    ).add(table, PROBABILITIES)
    judged = finish(answers.judge(table))
    assert judged.ids.tolist() == [100, 102, 103, 105]
    assert judged.wrong.tolist() == []


def test_only_a_model_with_classes_that_follows_no_labels_answers_by_itself():
    assert answers_by_itself(checkpoint())
    assert not answers_by_itself(shipped_checkpoint())
    protonet = METHODS["protonet"](METHODS["protonet"].params_type(width=4), 8)
    protonet.classes = ("a", OTHER)
    assert not answers_by_itself(Checkpoint.of(protonet, 12.0, {}))


# --- in a session ---


@pytest.fixture
def session(qtbot, idle):
    """A session on noise with 30 particles, and nothing labelled."""
    made = Session()
    volume = RNG.normal(size=(30, 60, 60)).astype(np.float32)
    made.open_tomogram(Tomogram(volume, voxel_size=12.0, name="noise"))
    positions = RNG.uniform(5, 25, (30, 3))
    made.set_picks(Particles.at(positions, score=np.ones(30)))
    made.set_threshold(0)
    idle(made)
    yield made
    made.work.stop()
    idle(made)
    made.close()


def test_a_model_of_known_classes_predicts_without_any_label(session, idle):
    model = checkpoint()
    session.use(model)
    idle(session)
    table = session.particles
    volumes = crop(session.tomogram, table, box=8, voxel_size=12.0)
    wanted = model.build().predict(volumes[:]).numpy()
    np.testing.assert_allclose(table.probabilities, wanted, atol=1e-4)
    np.testing.assert_array_equal(table.predicted, np.array(CLASSES)[wanted.argmax(1)])
    assert session.embeddings.have(table).all()  # for what a person may want besides


def test_what_it_finds_becomes_a_kind_and_one_step_takes_that_back(session, idle):
    session.use(checkpoint())
    idle(session)
    found = set(session.particles.predicted)
    assert found <= {known.name for known in session.classes}
    session.label([int(session.particles.id[0])], str(session.particles.predicted[0]))
    session.undo()
    session.undo()
    assert {known.name for known in session.classes} == {OTHER}
    assert set(session.particles.predicted) == found  # and no kind comes back by itself


def test_a_person_chooses_between_its_kinds_and_labels(session, idle):
    session.add_class("odd")
    session.add_class("even")
    session.use(checkpoint())
    idle(session)
    for row in range(8):
        session.label([int(session.particles.id[row])], ("even", "odd")[row % 2])
    assert not set(session.particles.predicted) & {"odd", "even"}
    by_itself = session.particles.predicted.copy()
    session.answer_by_itself(False)
    idle(session)
    assert session.particles.classes == ("even", "odd", OTHER)
    session.answer_by_itself(True)
    idle(session)
    np.testing.assert_array_equal(session.particles.predicted, by_itself)


def test_what_a_kind_is_called_is_kept_and_follows_a_new_name(session, idle):
    session.add_class("ribosome")
    model = checkpoint()
    session.use(model)
    idle(session)
    assert session.answers.kinds["80S ribosome (human)"] == "ribosome"
    session.call({**session.answers.kinds, "ferritin (human)": "ribosome"})
    session.rename_class("ribosome", "big one")
    assert set(session.answers.kinds.values()) == {"big one", OTHER}
    assert set(session.particles.predicted) <= {"big one", OTHER}
    session.use(shipped_checkpoint())
    session.use(dataclasses.replace(model))
    idle(session)
    assert set(session.answers.kinds.values()) == {"big one", OTHER}


def test_the_shipped_model_and_a_moved_particle(session, idle):
    session.use(checkpoint())
    idle(session)
    moved = int(session.particles.id[3])
    session.move(moved, (20.0, 30.0, 30.0))
    idle(session)
    assert (session.particles.predicted != "").all()  # it was looked at again where it is
    session.use(shipped_checkpoint())
    idle(session)
    assert session.answers is None
    assert (session.particles.predicted == "").all()  # without labels it says nothing
