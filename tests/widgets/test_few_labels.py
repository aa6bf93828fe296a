"""FSFT and fine-tuning from clicked labels: training, its stages, and which one is better."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from sklearn.metrics import accuracy_score, f1_score

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.progress import Progress, finish
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import SourceParams, predict
from napari_cryoshift.widgets.curves import Curves
from napari_cryoshift.widgets.panel import Folded
from napari_cryoshift.widgets.rivals import BY_LABELS

SOURCE = SourceParams(
    chimeras=0,
    assemblies=1,
    distractors=1,
    per_class=12,
    imaging=SourceParams().imaging.model_copy(update={"box": 16, "voxel_size": 20.0}),
)
CALLED = {"ball": "ferritin", "rod": "TRiC", "ring": OTHER}
SHOTS = 3
SHORT = {"steps": 4, "batch": 8}


@pytest.fixture
def train(tabs_on_blobs, blobs, show):
    """The panel that trains, all 25 blobs labelled, and two structures ticked."""
    session, truth = tabs_on_blobs.session, blobs[1]
    for name in ("ferritin", "TRiC"):
        session.add_class(name)
    for blob, name in CALLED.items():
        session.label(session.particles.id[truth.label == blob].tolist(), name)
    del session.embed
    made = show(tabs_on_blobs, "Train")
    made._sources.tick(("4v8r", "2fha"))
    made._per_kind.setValue(SHOTS)
    return made


def choose(train, method):
    """Click the card of a method, which may have to be unfolded."""
    if not train._cards[method].isVisible():
        train._others.toggle()
    QTest.mouseClick(train._cards[method], Qt.MouseButton.LeftButton)
    assert train.method == method


def run(train, method, idle):
    """Choose a card, train briefly; return the checkpoint."""
    choose(train, method)
    kind = METHODS[method].params_type
    stages = ("learning", "alignment", "projections", "grouping", "tuning")
    train._simulation.set_params(SOURCE)
    train._forms[method].set_params(kind(**{s: SHORT for s in stages if s in kind.model_fields}))
    QTest.mouseClick(train._start, Qt.MouseButton.LeftButton)
    idle(train.session, seconds=60)
    assert train._error.text() == ""
    assert train.session.checkpoint.method == method
    return train.session.checkpoint


def unseen(session, checkpoints):
    """The labelled particles that no checkpoint has learnt from."""
    learnt = {tuple(place) for c in checkpoints for place in c.card["learnt_from"]}
    rows = [tuple(p) not in learnt for p in session.particles.positions.tolist()]
    return session.particles.take(np.array(rows))


def said(session, checkpoint, particles):
    """What a checkpoint says of particles, by itself."""
    odds = finish(predict(session.tomogram, particles, checkpoint))
    return np.array(checkpoint.classes, dtype=object)[odds.argmax(1)]


def cells(table):
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
    ]


def test_two_methods_learn_from_clicks_and_are_compared_on_the_labels_left(train, qtbot, idle):
    session, judging = train.session, train._judging
    fsft = run(train, "fsft", idle)
    assert fsft.classes == ("TRiC", "ferritin", OTHER)
    # Three of each kind were learnt from, and not always the best picks.
    assert len(fsft.card["learnt_from"]) == 3 * SHOTS
    held = unseen(session, [fsft])
    assert len(held) == 25 - 3 * SHOTS
    assert {name: int((held.label == name).sum()) for name in CALLED.values()} == {
        "ferritin": 9 - SHOTS,
        "TRiC": 8 - SHOTS,
        OTHER: 8 - SHOTS,
    }
    assert train._curves._stages.text() == (
        "1 learning the source · 2 aligning the target · 3 learning which pairs are alike · "
        "4 learning from the labelled particles"
    )

    # The confusion matrix is of what it did not learn from.
    right, rivals, *_ = judging.findChildren(Folded)
    right.toggle()
    summary = judging._evaluation._summary
    qtbot.waitUntil(lambda: "Of 16 labels that it did not learn from" in summary.text())
    shown = np.array([row[1:] for row in cells(judging._evaluation._confusion)])
    answers = said(session, fsft, held)
    names = [*sorted({*held.label, *answers} - {OTHER}), OTHER]
    for row, true in zip(shown, names, strict=True):
        counts = [((held.label == true) & (answers == name)).sum() for name in names]
        assert [int(cell or 0) for cell in row] == counts

    # Another method, on the same labels.
    finetune = run(train, "finetune", idle)
    assert finetune.card["learnt_from"] == fsft.card["learnt_from"]
    rivals.toggle()
    judging.compare()
    idle(session)
    assert train._error.text() == ""
    assert "On 16 labels that none has learnt from" in judging._runs._summary.text()
    rows = {row[0]: row for row in cells(judging._runs._table)}
    assert len(rows) == 3
    for checkpoint in (fsft, finetune):
        answers = said(session, checkpoint, held)
        title = f"{METHODS[checkpoint.method].title}, "
        (row,) = [figures for name, figures in rows.items() if name.startswith(title)]
        f1 = f1_score(held.label, answers, average="macro", labels=sorted(set(held.label)))
        assert row[1:] == [f"{accuracy_score(held.label, answers):.2f}", f"{f1:.2f}"]
    # These blobs differ much, so that the few-shot rule tells them apart from nine labels.
    assert float(rows[BY_LABELS][1]) > 0.8
    accuracies = [float(row[1]) for row in cells(judging._runs._table)]
    assert accuracies == sorted(accuracies, reverse=True)


def test_where_all_labels_were_learnt_from_nothing_can_be_compared(train, idle):
    train._per_kind.setValue(0)
    train.session.embed = lambda: None
    idle(train.session)
    train._judging.compare()
    assert "nothing is picked yet" in train._error.text()
    checkpoint = run(train, "finetune", idle)
    assert len(checkpoint.card["learnt_from"]) == 25
    train._judging.compare()
    idle(train.session)
    assert "there are 25 labels but 0 that no training learnt from" in train._error.text()


def test_stages_are_numbered_once_each(qtbot):
    curves = Curves()
    qtbot.addWidget(curves)
    for phase in ("one", "two", "one", "two"):
        curves.add(Progress(phase, step, 10, {"loss": 1.0}) for step in range(1, 11))
    assert curves._stages.text() == "1 one · 2 two"
    lines = [item for item in curves._losses.plotItem.items if hasattr(item, "label")]
    assert [(line.value(), line.label.format) for line in lines] == [(0, "1"), (10, "2")]
    curves.reset()
    assert not [item for item in curves._losses.plotItem.items if hasattr(item, "label")]
    curves.add([Progress("one", 1, 10, {"loss": 1.0})])
    assert curves._stages.isHidden()  # a single stage needs no number


@pytest.mark.parametrize("method", ["coral", "cryoshift"])
def test_methods_that_need_no_labels_ask_for_no_number_of_them(train, method):
    choose(train, "fsft")
    assert train._shots.isVisible()
    choose(train, method)
    assert not train._shots.isVisible()


def test_a_run_that_is_kept_can_be_read_again(train, idle):
    checkpoint = run(train, "finetune", idle)
    (file,) = (train.session.project.folder / "checkpoints").glob("*.safetensors")
    assert Checkpoint.load(file).digest == checkpoint.digest
