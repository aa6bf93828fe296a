"""Unknown in the window: a threshold to move, its effect, and the unknown first."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_cryoshift.core.open_set import is_unknown
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.widgets.answers import Answers
from napari_cryoshift.widgets.predictions import Embeddings, Judged
from napari_cryoshift.widgets.review import estimate
from napari_cryoshift.widgets.style import GREY, prediction
from napari_cryoshift.widgets.unknown import SureEnough


def table():
    probabilities = np.array([[0.95, 0.05, 0], [0.55, 0.4, 0.05], [0.3, 0.6, 0.1], [0.2, 0.1, 0.7]])
    classes = ("a", "b", OTHER)
    return Particles.at(
        np.zeros((4, 3)),
        predicted=np.array(classes, dtype=object)[probabilities.argmax(1)],
        confidence=probabilities.max(1),
        probabilities=probabilities,
        classes=classes,
    )


def judged():
    labels = np.array(["a", "a", "b", "b", OTHER], dtype=object)
    answers = np.array(["a", "b", "b", "b", "a"], dtype=object)
    return Judged(np.arange(5), labels, answers, "left out in turn", np.linspace(0.5, 0.9, 5))


@pytest.fixture
def sure_enough(qtbot):
    made = SureEnough()
    qtbot.addWidget(made)
    made.show_particles(table(), 0.0)
    made.show_judged(judged())
    return made


def test_it_says_what_a_threshold_does_before_it_is_chosen(sure_enough, qtbot):
    assert "3 of 3 particles keep their kind" in sure_enough._effect.text()
    # Right among a b b b a are the first, third and fourth.
    assert "0.60 (0.23 to 0.88) should be right" in sure_enough._effect.text()
    sure_enough._slider.setSliderDown(True)
    with qtbot.assertNotEmitted(sure_enough.moved):
        sure_enough._slider.setValue(60)
    assert "2 of 3 particles keep their kind" in sure_enough._effect.text()
    assert "4 of 5 labels left out in turn keep theirs" in sure_enough._effect.text()
    assert "0.50 (0.15 to 0.85) should be right" in sure_enough._effect.text()
    with qtbot.waitSignal(sure_enough.moved) as moved:
        sure_enough._slider.setSliderDown(False)
    assert moved.args == [0.6]


def test_the_curves_are_precision_and_share_kept(sure_enough):
    for line, wanted in ((sure_enough._precision, 2 / 3), (sure_enough._share, 3 / 5)):
        x, y = line.getData()
        assert y[list(x).index(65)] == pytest.approx(wanted)


def test_without_labels_it_promises_nothing(qtbot):
    made = SureEnough()
    qtbot.addWidget(made)
    made.show_particles(table(), 0.5)
    assert made.threshold == 0.5
    assert "comes with more labels" in made._effect.text()


def test_the_estimate_is_of_what_is_kept():
    assert estimate(judged(), 0.65).startswith("Estimated precision 0.67")
    assert "recall 0.50" in estimate(judged(), 0.65)


def test_a_model_that_is_too_sure_is_calibrated_by_labels_that_it_has_not_seen():
    rng = np.random.default_rng(0)
    n = 200
    said = np.where(rng.random(n)[:, None] < 0.5, [[0.99, 0.01]], [[0.01, 0.99]])
    right = rng.random(n) < 0.75  # of ten answers at 99 %, seven or eight
    best = said.argmax(1)
    label = np.array(["a", "b"], dtype=object)[np.where(right, best, 1 - best)]
    table = Particles.at(rng.uniform(0, 50, (n, 3)))
    told = table.replace(label=np.where(np.arange(n) < 100, label, "").astype(object))
    answers = Answers({"a": "a", "b": "b"}).add(table, said.astype(np.float32))

    assert answers.predicted(table).confidence.min() == pytest.approx(0.99)
    after = answers.predicted(told)
    assert 0.68 < after.confidence.mean() < 0.85
    assert (after.predicted == np.array(["a", "b"], dtype=object)[best]).all()
    # Labels that it has learnt from say nothing.
    seen = Answers(answers.kinds, learnt_from=table.positions[:100], known=answers.known)
    assert seen.predicted(told).confidence.min() == pytest.approx(0.99)
    judged = finish(answers.judge(told))
    np.testing.assert_allclose(judged.sure, after.confidence[:100])


@pytest.fixture
def panels(tabs_on_blobs, blobs):
    """All panels on the blobs; two kinds are labelled, the rings are not."""
    session, truth = tabs_on_blobs.session, blobs[1]
    for kind in ("ball", "rod"):
        session.add_class(kind)
    vectors = {"ball": (2.0, 0.0), "rod": (-2.0, 0.0), "ring": (0.3, 1.5)}
    rows = np.array([vectors[kind] for kind in truth.label])
    rows += np.random.default_rng(0).normal(0, 1.2, rows.shape)
    session.embeddings = Embeddings().add(session.particles, rows.astype(np.float32))
    for kind in ("ball", "rod"):
        chosen = np.flatnonzero(truth.label == kind)[:5]
        session.label(session.particles.id[chosen].tolist(), kind)
    return tabs_on_blobs


def test_a_person_moves_the_threshold_and_meets_the_unknown_first(panels, blobs, qtbot, show):
    session, truth = panels.session, blobs[1]
    review = show(panels, "Review")
    qtbot.waitUntil(lambda: "should be right" in review._sure_enough._effect.text())
    assert not is_unknown(session.particles).any()
    free = session.particles.label == ""
    threshold = int(100 * np.median(session.particles.confidence[free])) + 1
    review._sure_enough._slider.setValue(threshold)

    unknown = is_unknown(session.particles)
    np.testing.assert_array_equal(unknown, session.particles.confidence < threshold / 100)
    count = int((unknown & free).sum())
    assert 0 < count < free.sum()
    first = review._gallery.ids[:count]
    assert set(first) == set(session.particles.id[unknown & free].tolist())
    assert f"{count:,} unknown" in review.advice()
    # Grey in the volume, as what nobody has spoken about.
    row = int(np.flatnonzero(unknown & free)[0])
    border = panels.widget(0).layers.points.border_color[row]
    np.testing.assert_allclose(border[:3], int(GREY[1:3], 16) / 255, atol=0.01)
    assert prediction(session.particles, row).startswith("unknown: ")

    # Only the unknown; nothing is there to accept, and a digit says what they are.
    review._what.setCurrentText("unknown")
    review.refill()
    assert set(review._gallery.ids) == set(first)
    review._gallery.advance()
    review.accept()
    assert "press the digit" in review._error.text()
    assert (session.particles.label[unknown & free] == "").all()
    review._correct("1")
    assert (session.particles.label != "").sum() == (~free).sum() + 1
    assert len(truth)


def test_the_project_remembers_the_threshold(panels, blobs):
    session = panels.session
    session.predict_from(0.7)
    session.sure_enough = 0.0
    session.open_tomogram(blobs[0])
    assert session.sure_enough == 0.7


def test_what_is_unknown_is_clustered_alone(panels, qtbot, idle, show):
    session = panels.session
    clusters = show(panels, "Clusters")
    box = clusters._search._unknown
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(10, box.height() // 2))
    assert box.isChecked()
    clusters.find()
    assert "0 particles on show are unknown; set a threshold" in clusters._error.text()

    free = session.particles.label == ""
    qtbot.waitUntil(lambda: np.isfinite(session.particles.confidence[free]).all())
    session.predict_from(float(np.median(session.particles.confidence[free])))
    qtbot.waitUntil(lambda: is_unknown(session.particles).any())
    unknown = session.particles.id[is_unknown(session.particles)]
    clusters._search.forms["quick"].editor("clusters").set_value((2,))
    clusters.find()
    idle(session, seconds=90)
    assert clusters._error.text() == ""
    members = [notes.id for notes in map(clusters.notes.members, (1, 2))]
    assert sorted(np.concatenate(members).tolist()) == sorted(unknown.tolist())
