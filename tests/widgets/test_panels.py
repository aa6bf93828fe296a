"""What the panels do beside the whole way: keys, brush, stopping, review, export."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel

from napari_cryoshift.core.formats import FORMATS, read_particles
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.widgets.annotate import AnnotatePanels
from napari_cryoshift.widgets.histogram import Histogram
from napari_cryoshift.widgets.predictions import Embeddings
from napari_cryoshift.widgets.review import estimate


@pytest.fixture
def panels(make_napari_viewer, blobs):
    """All panels on the blobs, with perfect embeddings of the 25 of them."""
    viewer = make_napari_viewer(show=True)
    made = AnnotatePanels(viewer)
    viewer.window.add_dock_widget(made, name="Annotate", area="right")
    session = made.session
    tomogram, truth = blobs
    session.embed = lambda: None
    session.open_tomogram(tomogram)
    session.set_picks(truth.replace(score=np.ones(len(truth))))
    session.set_threshold(0)
    session.set_diameter(160)
    kinds = sorted(set(truth.label))
    for kind in kinds:
        session.add_class(kind)
    vectors = 5 * np.eye(8)[[kinds.index(kind) for kind in truth.label]]
    noise = np.random.default_rng(0).normal(0, 0.2, vectors.shape)
    session.embeddings = Embeddings().add(session.particles, (vectors + noise).astype(np.float32))
    return made


def show(panels, title):
    titles = [panels.widget(index).title for index in range(panels.count())]
    panels.setCurrentIndex(titles.index(title))
    return panels.currentWidget()


def label_two_each(panels, truth):
    for kind in set(truth.label):
        rows = np.flatnonzero(truth.label == kind)[:2]
        panels.session.label(panels.session.particles.id[rows].tolist(), kind)


def world(panels, voxel):
    return np.asarray(voxel) * panels.session.tomogram.voxel_size


# --- gestures ---


def test_with_a_brush_a_click_labels_and_where_nothing_is_adds(panels, blobs):
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


def test_keys_add_move_delete_and_undo(panels, monkeypatch):
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


def test_zero_says_not_a_particle_and_backspace_takes_it_back(panels):
    gestures, session = show(panels, "Label").gestures, panels.session
    session.select(int(session.particles.id[0]))
    gestures.digit("0")
    assert session.particles.label[0] == OTHER
    gestures.unlabel()
    assert session.particles.label[0] == ""


# --- label ---


def test_the_status_line_leads_through_labelling(panels, blobs):
    label, session, truth = show(panels, "Label"), panels.session, blobs[1]
    assert label.advice() == "Click a ball in the volume and press 1."
    label_two_each(panels, truth)
    assert label.advice() == "Predictions are live. 3 more of ball and they get steadier."
    for kind in set(truth.label):
        rows = np.flatnonzero(truth.label == kind)[:5]
        session.label(session.particles.id[rows].tolist(), kind)
    assert label.advice().startswith("Predictions are live. Next: Review")


def test_a_class_that_is_named_twice_is_said(panels, qtbot):
    label = show(panels, "Label")
    label._name.setText("ball")
    qtbot.keyClick(label._name, Qt.Key.Key_Return)
    assert "already" in label._error.text()
    assert [known.name for known in panels.session.classes].count("ball") == 1


def test_renaming_in_the_table_renames_the_labels(panels, blobs):
    label = show(panels, "Label")
    label_two_each(panels, blobs[1])
    item = label._table.topLevelItem(0)
    item.setText(0, "bead")
    assert panels.session.classes[0].name == "bead"
    assert (panels.session.particles.label == "bead").sum() == 2
    assert (panels.session.particles.predicted == "bead").any()


# --- train ---


def test_training_stops_within_a_step_and_leaves_the_model_as_it_was(panels, qtbot, idle):
    train, session = show(panels, "Train"), panels.session
    train.start()
    job = session.work.job
    qtbot.waitUntil(lambda: job.latest is not None, timeout=20_000)
    checkpoint = session.checkpoint
    train._bar._stop.click()
    idle(session)
    assert session.checkpoint is checkpoint
    assert not (session.project.folder / "checkpoints").exists()


def test_a_second_job_of_a_person_is_refused_in_words(panels, idle):
    train = show(panels, "Train")
    train.start()
    train.start()
    assert "Training is still running" in train._error.text()
    panels.session.work.stop()
    idle(panels.session)


def test_a_checkpoint_of_another_version_is_listed_with_the_reason(panels):
    session = panels.session
    folder = session.project.folder / "checkpoints"
    folder.mkdir()
    (folder / "old.safetensors").write_bytes(b"not a checkpoint")
    train = show(panels, "Train")
    train._show_runs()
    item = train._runs.item(1)
    assert item.text() == "old.safetensors: cannot be used"
    assert "train anew" in item.toolTip()


# --- review ---


def test_review_shows_the_least_certain_and_accepts_a_range(panels, blobs):
    label_two_each(panels, blobs[1])
    review = show(panels, "Review")
    table = panels.session.particles
    assert review._gallery.count() == int((table.label == "").sum())
    review._gallery.selectAll()
    review.accept()
    np.testing.assert_array_equal(panels.session.particles.label, blobs[1].label)
    assert panels.tabText(panels.currentIndex()) == "Review ✓"


def test_disagreements_are_labels_that_the_others_contradict(panels, blobs):
    label_two_each(panels, blobs[1])
    session = panels.session
    row = int(np.flatnonzero(session.particles.label == "")[0])
    wrong = "ring" if blobs[1].label[row] != "ring" else "ball"
    session.label([int(session.particles.id[row])], wrong)
    review = show(panels, "Review")
    review._what.setCurrentText("disagreements")
    review.refill()
    assert review._gallery.ids == [int(session.particles.id[row])]


def test_the_estimate_is_that_of_the_left_out_labels():
    labels = np.array(["a", "a", "a", "b", OTHER, "a"], dtype=object)
    answers = np.array(["a", "a", "b", "b", "a", ""], dtype=object)
    # Found: a a b b a, of which a a b are right; real: a a a b, of which a a b are right.
    assert estimate(labels, answers) == (
        "Estimated precision 0.60 (0.23 to 0.88) and recall 0.75 (0.30 to 0.95), "
        "from 5 labels left out in turn."
    )


# --- export ---


def test_only_ticked_and_sure_particles_are_written(panels, blobs, tmp_path):
    label_two_each(panels, blobs[1])
    export = show(panels, "Export")
    export._format.setCurrentIndex(export._format.findData("csv"))
    export._items()[0].setCheckState(Qt.CheckState.Unchecked)  # no balls
    export.write(tmp_path / "list.csv")
    written = read_particles(tmp_path / "list.csv")
    assert set(written.predicted) == {"ring", "rod"}
    table = panels.session.particles
    confidence = np.linspace(0, 1, len(table))
    panels.session.particles = table.replace(confidence=confidence)
    export._cut.setValue(50)
    export.write(tmp_path / "sure.csv")
    # A person's own labels always count.
    wanted = ((confidence >= 0.5) | (table.label != "")) & (blobs[1].label != "ball")
    assert read_particles(tmp_path / "sure.csv").id.tolist() == table.id[wanted].tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_the_preview_is_what_will_be_written(panels, blobs, tmp_path, name):
    label_two_each(panels, blobs[1])
    export = show(panels, "Export")
    export._format.setCurrentIndex(export._format.findData(name))
    path = tmp_path / f"list{FORMATS[name].suffix}"
    export.write(path)
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    preview = export._preview.toPlainText().splitlines()
    assert export._error.text() == ""
    assert len(preview) >= 6
    assert preview[-1] in lines
    export.show_written()
    back = export.layers.viewer.layers[f"read back: {path.name}"].data
    np.testing.assert_allclose(back, export.chosen().positions, atol=1e-3)


def test_an_imported_list_brings_its_classes_as_labels(panels, blobs, tmp_path):
    export = show(panels, "Export")
    extra = Particles.at([[9, 9, 9]], predicted="membrane", tomogram="blobs")
    FORMATS["csv"].writer(tmp_path / "list.csv", extra, export._context())
    export._as_labels.setChecked(True)
    export.read(tmp_path / "list.csv")
    session = panels.session
    assert session.particles.label[-1] == "membrane"
    assert "membrane" in [known.name for known in session.classes]


def test_a_list_that_is_none_is_said(panels, tmp_path):
    export = show(panels, "Export")
    (tmp_path / "list.csv").write_text("colour,taste\nred,sweet\n")
    export.read(tmp_path / "list.csv")
    assert "list.csv" in export._error.text()
    assert len(panels.session.particles) == 25


# --- what is easily overlooked ---


def test_a_question_mark_shows_the_keys(panels, qtbot):
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
