"""What the panels do beside the whole way: keys, brush, stopping, review."""

import dataclasses
import itertools
import time

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.domains import Domains
from napari_cryoshift.core.methods import METHODS, cryoshift
from napari_cryoshift.core.methods.cryoshift_params import CryoShiftParams
from napari_cryoshift.core.progress import Progress, finish
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import SourceParams
from napari_cryoshift.widgets.curves import Curves
from napari_cryoshift.widgets.histogram import Histogram
from napari_cryoshift.widgets.panel import Folded
from napari_cryoshift.widgets.predictions import Embeddings, Judged
from napari_cryoshift.widgets.review import estimate


@pytest.fixture
def panels(tabs_on_blobs, blobs):
    """All panels on the blobs, with perfect embeddings of the 25 of them."""
    session, truth = tabs_on_blobs.session, blobs[1]
    kinds = sorted(set(truth.label))
    for kind in kinds:
        session.add_class(kind)
    vectors = 5 * np.eye(8)[[kinds.index(kind) for kind in truth.label]]
    noise = np.random.default_rng(0).normal(0, 0.2, vectors.shape)
    session.embeddings = Embeddings().add(session.particles, (vectors + noise).astype(np.float32))
    return tabs_on_blobs


def label_two_each(panels, truth):
    for kind in set(truth.label):
        rows = np.flatnonzero(truth.label == kind)[:2]
        panels.session.label(panels.session.particles.id[rows].tolist(), kind)


def world(panels, voxel):
    return np.asarray(voxel) * panels.session.tomogram.voxel_size


# --- gestures ---


def test_with_a_brush_a_click_labels_and_where_nothing_is_adds(panels, blobs, show):
    label = show(panels, "Label")
    gestures, session, truth = label.gestures, panels.session, blobs[1]
    label._table.setCurrentItem(label._table.topLevelItem(1))
    label._brush.setChecked(True)
    name = label._table.current_name()
    gestures.click(world(panels, truth.positions[0]))
    assert session.particles.label[0] == name
    before = len(session.particles)
    gestures.click(world(panels, (5, 2, 2)))
    assert len(session.particles) == before + 1
    assert session.particles.label[-1] == name
    np.testing.assert_allclose(session.particles.positions[-1], (5, 2, 2))
    show(panels, "Review")
    gestures.click(world(panels, truth.positions[1]))
    assert session.particles.label[1] == ""  # the brush rests while its panel is hidden


def test_keys_add_move_delete_and_undo(panels, monkeypatch, show):
    label = show(panels, "Label")
    gestures, session = label.gestures, panels.session
    before = session.particles.positions.copy()
    monkeypatch.setattr(gestures, "_cursor", lambda: np.array([4.0, 5.0, 6.0]))
    gestures.add_here()
    assert session.particles.positions[-1].tolist() == [4, 5, 6]
    monkeypatch.setattr(gestures, "_cursor", lambda: np.array([7.0, 8.0, 9.0]))
    gestures.move_here()
    assert session.particles.positions[-1].tolist() == [7, 8, 9]
    gestures.delete()
    np.testing.assert_array_equal(session.particles.positions, before)
    for _ in range(3):
        gestures.undo()
    np.testing.assert_array_equal(session.particles.positions, before)
    gestures.redo()
    assert len(session.particles) == len(before) + 1


def test_zero_says_not_a_particle_and_backspace_takes_it_back(panels, show):
    gestures, session = show(panels, "Label").gestures, panels.session
    session.select(int(session.particles.id[0]))
    gestures.digit("0")
    assert session.particles.label[0] == OTHER
    gestures.unlabel()
    assert session.particles.label[0] == ""


# --- label ---


def test_the_status_line_leads_through_labelling(panels, blobs, show):
    label, session, truth = show(panels, "Label"), panels.session, blobs[1]
    assert label.advice() == "Click a ball in the volume and press 1."
    label_two_each(panels, truth)
    assert label.advice() == "Predictions are live. 3 more of ball and they get steadier."
    for kind in set(truth.label):
        rows = np.flatnonzero(truth.label == kind)[:5]
        session.label(session.particles.id[rows].tolist(), kind)
    assert label.advice().startswith("Predictions are live. Next: Review")


def test_a_class_that_is_named_twice_is_said(panels, qtbot, show):
    label = show(panels, "Label")
    label._name.setText("ball")
    qtbot.keyClick(label._name, Qt.Key.Key_Return)
    assert "already" in label._error.text()
    assert [known.name for known in panels.session.classes].count("ball") == 1


def test_renaming_in_the_table_renames_the_labels(panels, blobs, show):
    label = show(panels, "Label")
    label_two_each(panels, blobs[1])
    item = label._table.topLevelItem(0)
    item.setText(0, "bead")
    assert panels.session.classes[0].name == "bead"
    assert (panels.session.particles.label == "bead").sum() == 2
    assert (panels.session.particles.predicted == "bead").any()


# --- train ---

TINY_SOURCE = SourceParams(
    chimeras=0,
    assemblies=1,
    distractors=1,
    per_class=12,
    imaging=SourceParams().imaging.model_copy(update={"box": 16, "voxel_size": 20.0}),
)
TINY_SHIFT = CryoShiftParams(
    step_zero={"width": 4, "epochs": 1, "batch": 4},
    warp={"filters": 2},
    discriminator={"pretraining": 2},
    iterations=3,
    epochs=2,
    batch=4,
)


def checkpoints(session, pattern):
    return sorted((session.project.folder / "checkpoints").glob(pattern))


def prepare_cryoshift(panels, show):
    """Choose the card by a click, two structures and very short settings."""
    train = show(panels, "Train")
    QTest.mouseClick(train._cards["cryoshift"], Qt.MouseButton.LeftButton)
    assert train.method == "cryoshift"
    train._sources.tick(("4v8r", "2fha"))
    train._simulation.set_params(TINY_SOURCE)
    train._forms["cryoshift"].set_params(TINY_SHIFT)
    return train


def test_training_stops_within_a_step_and_leaves_the_model_as_it_was(panels, qtbot, idle, show):
    train, session = show(panels, "Train"), panels.session
    train.start()
    job = session.work.job
    qtbot.waitUntil(lambda: job.latest is not None, timeout=20_000)
    checkpoint = session.checkpoint
    train._bar._stop.click()
    idle(session, seconds=120)  # the present step is to simulate what all structures are made of
    assert session.checkpoint is checkpoint
    assert not checkpoints(session, "*.safetensors")


def test_cryo_shift_learns_from_structures_and_picks_and_predictions_follow(
    panels, blobs, idle, show
):
    label_two_each(panels, blobs[1])
    train, session = prepare_cryoshift(panels, show), panels.session
    card = train._cards["cryoshift"]
    assert card._needs.text().splitlines() == ["✓ 2 known structures", "✓ 25 picked particles"]
    del session.embed  # the fixture has none
    QTest.mouseClick(train._start, Qt.MouseButton.LeftButton)
    idle(session, seconds=60)
    assert train._error.text() == ""
    assert session.checkpoint.method == "cryoshift"
    assert session.checkpoint.classes == (
        "TRiC/CCT chaperonin (yeast)",
        "ferritin (human)",
        OTHER,
    )
    assert session.embeddings.vectors.shape[0] == 25
    assert (session.particles.predicted != "").all()
    assert {"criterion before", "criterion after"} <= set(session.checkpoint.card["figures"])
    assert not checkpoints(session, "*.run")
    assert len(checkpoints(session, "*.safetensors")) == 1


def test_after_cryo_shift_all_is_predicted_without_a_label_and_can_be_looked_at(
    panels, qtbot, idle, show
):
    pytest.importorskip("openTSNE")
    train, session = prepare_cryoshift(panels, show), panels.session
    del session.embed
    train.start()
    idle(session, seconds=60)
    predicting, judging = train._predicting, train._judging
    assert set(session.particles.predicted) <= set(session.checkpoint.classes)
    assert (session.particles.label == "").all()
    assert predicting._own.isChecked()
    assert "names 2 kinds by itself" in predicting._how.text()
    adapted = session.answers.known.all_of(session.particles)

    # Labels judge it, kind by kind, once a class of its own is called as the person calls it.
    ferritin = "ferritin (human)"
    session.call({**session.answers.kinds, ferritin: "ball"})
    assert predicting._names.rowCount() == 3
    rows = [int(i) for i in session.particles.id[:4]]
    session.label(rows, "ball")
    for fold in judging.findChildren(Folded):
        fold.toggle()
    right = int((session.particles.predicted[:4] == "ball").sum())
    said = judging._evaluation._summary
    qtbot.waitUntil(
        lambda: f"Of 4 labels that it did not learn from, {right / 4:.2f}" in said.text()
    )

    # What it was before it adapted is in the list, and predicts, too.
    runs = predicting._runs
    titles = [runs.item(row).text() for row in range(runs.count())]
    assert [title.endswith("before adapting to the target") for title in titles] == [0, 0, 1]
    runs.itemClicked.emit(runs.item(2))
    idle(session)
    assert session.checkpoint.card["stage"] == "before adapting to the target"
    assert (session.particles.predicted != "").all()
    runs.itemClicked.emit(runs.item(1))
    idle(session)
    np.testing.assert_allclose(session.answers.known.all_of(session.particles), adapted, atol=1e-6)

    judging.show_examples()
    idle(session)
    assert train._error.text() == ""
    assert judging._examples._grid.itemAtPosition(0, 1).widget().text() == "warped"
    judging.draw_map()
    idle(session)
    assert train._error.text() == ""
    lines = [label.text() for label in judging._maps.findChildren(QLabel)]
    assert [line.split(":")[0] for line in lines] == ["before adapting", "after"]
    before, after = (points for _, points in judging._maps._maps)
    assert len(before) == len(after) == 36 + 25  # three simulated classes of 12
    judging._colour.setCurrentIndex(1)
    assert "not a particle" in judging._legend.text()
    session.use(dataclasses.replace(session.checkpoint))
    assert not judging._maps._maps  # of another model
    idle(session)


def test_a_method_with_a_few_labels_learns_them_as_the_structures_of_that_name(
    panels, qtbot, idle, show
):
    session, train = panels.session, show(panels, "Train")
    session.add_class("ferritin")
    ids = session.particles.id.tolist()
    session.label(ids[:3], "ferritin")
    session.label(ids[3:6], OTHER)
    train._cards["finetune"].radio.setChecked(True)
    train._sources.tick(("4v8r", "2fha"))
    train._simulation.set_params(TINY_SOURCE)
    short = {"steps": 2, "batch": 4}
    params = METHODS["finetune"].params_type(learning=short, tuning=short)
    train._forms["finetune"].set_params(params)
    del session.embed
    train.start()
    idle(session, seconds=60)
    assert train._error.text() == ""
    checkpoint = session.checkpoint
    assert checkpoint.classes == ("TRiC/CCT chaperonin (yeast)", "ferritin", OTHER)
    learnt = session.particles.positions[:6].tolist()
    assert checkpoint.card["learnt_from"] == learnt
    # Only what it has not seen says how right it is.
    session.label(ids[6:8], "ferritin")
    judged = finish(session.judge())
    assert judged.ids.tolist() == ids[6:8]
    train._judging.show_examples()
    idle(session)
    assert train._error.text() == ""


def test_a_loss_that_diverges_is_said_and_the_last_good_models_stay(
    panels, idle, monkeypatch, show
):
    train, session = prepare_cryoshift(panels, show), panels.session
    used, usual, steps = session.checkpoint, cryoshift.adaptation_losses, itertools.count(1)

    def diverging(*things, **more):
        terms = usual(*things, **more)
        return {name: term * (np.nan if next(steps) > 20 else 1) for name, term in terms.items()}

    monkeypatch.setattr(cryoshift, "adaptation_losses", diverging)
    train.start()
    idle(session, seconds=60)
    said = train._error.text()
    assert "the loss became nan at step" in said
    assert "lower the learning rate" in said
    assert "as it was before adapting, it is in the list" in said
    assert session.checkpoint is used
    (kept,) = checkpoints(session, "*.safetensors")
    assert Checkpoint.load(kept).card["stage"] == "before adapting to the target"
    assert all(torch.isfinite(t).all() for t in Checkpoint.load(kept).weights.values())
    assert train._predicting._runs.count() == 2
    train._predicting._runs.itemClicked.emit(train._predicting._runs.item(1))
    idle(session)
    assert train._error.text() == ""
    assert session.checkpoint.method == "cryoshift"


def test_a_training_that_was_stopped_goes_on_with_the_same_settings(
    panels, blobs, idle, monkeypatch, show
):
    session, made = panels.session, []
    train = prepare_cryoshift(panels, show)
    monkeypatch.setattr(session, "use", made.append)

    def run(stop):
        """Train; return the phases that were seen."""
        seen = []

        def follow(batch):
            seen.extend(progress.phase for progress in batch)
            if stop and "adapting to the target" in seen:
                session.work.stop()

        monkeypatch.setattr(train._curves, "add", follow)
        train.start()
        assert "with the same settings and data, it goes on" in train.advice()
        idle(session, seconds=60)
        return seen

    def slow(draws, seconds=0.2):
        """Give the window time to press the button between two steps."""
        for draw in draws:
            time.sleep(seconds)
            yield draw

    run(stop=False)
    usual = Domains.draws
    monkeypatch.setattr(Domains, "draws", lambda *a, **k: slow(usual(*a, **k)))
    run(stop=True)
    assert len(made) == 1
    (kept,) = checkpoints(session, "*.run")
    label_two_each(panels, blobs[1])  # of no matter to what learns without labels
    assert "learning the source" not in run(stop=False)
    assert not kept.exists()
    whole, resumed = (checkpoint.weights for checkpoint in made)
    assert all((whole[name] == resumed[name]).all() for name in whole)


def test_of_stopped_trainings_one_is_kept(panels, idle, show):
    session, train = panels.session, prepare_cryoshift(panels, show)
    folder = session.project.folder / "checkpoints"
    folder.mkdir()
    (folder / "of_other_settings.run").touch()
    train.start()
    idle(session, seconds=60)
    assert not checkpoints(session, "*.run")


def test_nothing_ticked_is_said(panels, show):
    train = show(panels, "Train")
    train._sources.tick(())
    train.start()
    assert "0 known structures are ticked; tick what" in train._error.text()


def test_eight_curves_are_told_apart_and_steps_count_on(qtbot):
    curves = Curves()
    qtbot.addWidget(curves)
    names = ["task loss", "discriminator loss", "feature loss", "loss"]
    names += ["discriminator accuracy", "feature discriminator accuracy"]
    curves.add(Progress("one", step, 100, {"loss": 3.0, "accuracy": 0.5}) for step in range(100))
    curves.add(Progress("judging", 1, 2) for _ in range(3))
    curves.add(Progress("two", s, 80, dict.fromkeys(names, s / 80)) for s in range(1, 81))
    curves.add([Progress("two", 80, 80, {"criterion after": -1.0})])
    lines = curves._lines
    assert set(lines) == {*names, "accuracy"}  # a single figure is no curve
    assert len({line.opts["pen"].color().name() for line in lines.values()}) == 7
    assert all(name.replace(" ", "&nbsp;") in curves._legend.text() for name in lines)
    steps, values = lines["task loss"].getData()
    assert steps.tolist() == list(range(100, 180))
    # Thirty steps are averaged, and the sum of the losses is left out where its parts are.
    assert values[-1] == pytest.approx(np.mean(np.arange(51, 81)) / 80)
    assert lines["loss"].getData()[0].max() == 99
    assert curves.latest == {"criterion after": -1.0}


def test_figures_of_an_epoch_are_not_averaged(qtbot):
    curves = Curves()
    qtbot.addWidget(curves)
    curves.add(Progress("one", step, 300, {"criterion": step}) for step in (60, 120, 180))
    assert curves._lines["criterion"].getData()[1].tolist() == [60, 120, 180]


def test_a_second_job_of_a_person_is_refused_in_words(panels, idle, show):
    train = show(panels, "Train")
    train.start()
    train.start()
    assert "Training is still running" in train._error.text()
    panels.session.work.stop()
    idle(panels.session)


def test_a_checkpoint_of_another_version_is_listed_with_the_reason(panels, show):
    session = panels.session
    folder = session.project.folder / "checkpoints"
    folder.mkdir()
    (folder / "old.safetensors").write_bytes(b"not a checkpoint")
    train = show(panels, "Train")
    train._predicting._show_runs()
    item = train._predicting._runs.item(1)
    assert item.text() == "old.safetensors: cannot be used"
    assert "train anew" in item.toolTip()


# --- review ---


def test_review_shows_the_least_certain_and_accepts_a_range(panels, blobs, show):
    label_two_each(panels, blobs[1])
    review = show(panels, "Review")
    table = panels.session.particles
    assert review._gallery.count() == int((table.label == "").sum())
    review._gallery.selectAll()
    review.accept()
    np.testing.assert_array_equal(panels.session.particles.label, blobs[1].label)
    assert panels.tabText(panels.currentIndex()) == "Review ✓"


def test_disagreements_are_labels_that_the_others_contradict(panels, blobs, qtbot, show):
    label_two_each(panels, blobs[1])
    session = panels.session
    row = int(np.flatnonzero(session.particles.label == "")[0])
    wrong = "ring" if blobs[1].label[row] != "ring" else "ball"
    session.label([int(session.particles.id[row])], wrong)
    review = show(panels, "Review")
    review._what.setCurrentText("disagreements")
    review.refill()
    wrong = [int(session.particles.id[row])]
    qtbot.waitUntil(lambda: review._gallery.ids == wrong)


def test_the_estimate_is_that_of_the_left_out_labels():
    labels = np.array(["a", "a", "a", "b", OTHER], dtype=object)
    answers = np.array(["a", "a", "b", "b", "a"], dtype=object)
    # Found: a a b b a, of which a a b are right; real: a a a b, of which a a b are right.
    assert estimate(Judged(np.arange(5), labels, answers, "left out in turn")) == (
        "Estimated precision 0.60 (0.23 to 0.88) and recall 0.75 (0.30 to 0.95), "
        "from 5 labels left out in turn."
    )


# --- what is easily overlooked ---


def test_a_question_mark_shows_the_keys(panels, qtbot, show):
    label = show(panels, "Label")
    window = panels.window()
    with qtbot.waitActive(window):
        window.activateWindow()
    canvas = window._qt_viewer.canvas.native
    canvas.setFocus()
    QTest.keyClick(canvas, "?")
    keys = label._keys.findChild(QLabel)
    qtbot.waitUntil(keys.isVisible, timeout=2000)
    assert "undo" in keys.text()
    QTest.keyClick(canvas, "?")
    qtbot.waitUntil(lambda: not keys.isVisible(), timeout=2000)


def test_a_few_gold_beads_do_not_stretch_the_histogram(qtbot):
    scores = np.concatenate([np.linspace(0, 4, 996), np.full(4, 60.0)])
    histogram = Histogram()
    qtbot.addWidget(histogram)
    histogram.show_scores(scores)
    (_, right), _ = histogram.viewRange()
    assert 4 < right < 10
    bars = histogram._bars.opts
    assert bars["x1"][-1] < right
    np.testing.assert_allclose((10 ** bars["height"] - 1).sum(), len(scores))  # none is lost
    assert 10 ** bars["height"][-1] - 1 == pytest.approx(4)
