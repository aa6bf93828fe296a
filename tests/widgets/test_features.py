"""Known structures beside the looks, and recentring, in a real window."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_cryoshift.core import workflows
from napari_cryoshift.core.progress import Progress
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.widgets.panel import Folded


@pytest.fixture
def compared(monkeypatch):
    """How many were compared, call by call; each fits the structure of its own kind."""
    calls = []

    def compare(tomogram, particles, cache=None):
        calls.append(len(particles))
        yield Progress("comparing with the structures", 1, 1)
        return np.stack([particles.positions[:, 1] % 22, particles.score], 1).astype(np.float32)

    monkeypatch.setattr(workflows, "compare", compare)
    return calls


@pytest.fixture
def panels(tabs, blobs, monkeypatch, idle):
    """All panels on the blobs, 2 voxels off their centres; what the model sees is noise."""
    noise = np.random.default_rng(0)

    def embed(tomogram, particles, checkpoint, cache=None):
        yield Progress("looking", 1, 1)
        return noise.normal(size=(len(particles), 8)).astype(np.float32)

    monkeypatch.setattr(workflows, "embed", embed)
    session = tabs.session
    tomogram, truth = blobs
    session.open_tomogram(tomogram)
    away = 2 * noise.choice([-1, 1], (len(truth), 3))
    away[:, 1] = 0
    kinds = [sorted(set(truth.label)).index(kind) for kind in truth.label]
    session.set_picks(truth.replace(positions=truth.positions + away, score=10.0 + np.array(kinds)))
    session.set_diameter(160)
    session.set_threshold(0)
    idle(session)
    for kind in sorted(set(truth.label)):
        session.add_class(kind)
    return tabs


def label_some(panels, truth, each=2):
    session = panels.session
    for kind in sorted(set(truth.label)):
        rows = np.flatnonzero(truth.label == kind)[:each]
        session.label(session.particles.id[rows].tolist(), kind)


# --- known structures ---


def test_a_tick_compares_in_the_background_and_predictions_follow(
    panels, blobs, compared, idle, qtbot, show
):
    label, session = show(panels, "Label"), panels.session
    label_some(panels, blobs[1])
    idle(session)
    assert compared == []  # nobody asked for it
    before = session.particles.probabilities.copy()
    qtbot.mouseClick(label._compare, Qt.MouseButton.LeftButton)
    idle(session)
    assert sum(compared) == len(session.particles)
    assert not np.allclose(session.particles.probabilities, before)
    session.add([5, 5, 5])
    idle(session)
    assert sum(compared) == len(session.particles)  # only the new one
    qtbot.mouseClick(label._compare, Qt.MouseButton.LeftButton)
    rest = slice(0, len(before))
    np.testing.assert_allclose(session.particles.probabilities[rest].sum(1), 1, atol=1e-6)
    assert not label._compare.isChecked()


def test_the_tick_comes_back_with_the_project(panels, compared, idle, qtbot, show):
    label, session = show(panels, "Label"), panels.session
    qtbot.mouseClick(label._compare, Qt.MouseButton.LeftButton)
    idle(session)
    with Project.open(session.project.folder) as other:
        assert other.get("compare with structures") is True
    label._compare.setChecked(False)
    label._show_classes()
    assert label._compare.isChecked()


def test_what_was_compared_is_void_in_the_other_contrast(panels, compared, idle, qtbot, show):
    label, session = show(panels, "Label"), panels.session
    qtbot.mouseClick(label._compare, Qt.MouseButton.LeftButton)
    idle(session)
    once = sum(compared)
    session.change_tomogram(dark=False)
    idle(session)
    assert sum(compared) == 2 * once


def test_comparing_that_fails_is_said(panels, monkeypatch, idle, qtbot, show):
    def broken(tomogram, particles, cache=None):
        yield Progress("comparing with the structures", 0, 1)
        raise ValueError("0 structures to compare with; give at least one")

    monkeypatch.setattr(workflows, "compare", broken)
    label, session = show(panels, "Label"), panels.session
    qtbot.mouseClick(label._compare, Qt.MouseButton.LeftButton)
    idle(session)
    assert "0 structures to compare with" in label._error.text()


# --- recentring ---


def press(panel, text, qtbot):
    found = [one for one in panel.findChildren(QPushButton) if one.text() == text]
    (fold,) = [one for one in panel.findChildren(Folded) if one.isAncestorOf(found[0])]
    if not found[0].isVisible():
        fold.toggle()
    qtbot.mouseClick(found[0], Qt.MouseButton.LeftButton)


def off(session, truth, kind=None):
    """Mean distance from the true centres, voxels."""
    rows = slice(None) if kind is None else truth.label == kind
    return np.linalg.norm((session.particles.positions - truth.positions)[rows], axis=1).mean()


def test_particles_of_a_kind_are_recentred_in_one_step_of_undo(panels, blobs, idle, qtbot, show):
    pick, session, truth = show(panels, "Pick"), panels.session, blobs[1]
    label_some(panels, truth, each=5)
    for row in np.flatnonzero(truth.label == "ball")[5:]:
        session.label([int(session.particles.id[row])], "ball")
    idle(session)
    before = session.particles
    pick._kinds.setCurrentIndex(pick._kinds.findData("ball"))
    press(pick, "Recentre particles", qtbot)
    idle(session)
    after = session.particles
    assert off(session, truth, "ball") < 0.7 * np.sqrt(8)
    for column in ("id", "label", "score", "source"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    others = (truth.label != "ball") & (before.label != "")
    np.testing.assert_array_equal(after.positions[others], before.positions[others])
    assert session.embeddings.have(after).all()  # those that moved were looked at again
    assert session.project.undo_title.startswith("move ")
    session.undo()
    np.testing.assert_array_equal(session.particles.positions, before.positions)


def test_all_that_are_shown_are_recentred_without_a_label(panels, blobs, idle, qtbot, show):
    pick, session, truth = show(panels, "Pick"), panels.session, blobs[1]
    assert pick._kinds.currentText() == "all that are shown"
    before = off(session, truth)
    press(pick, "Recentre particles", qtbot)
    idle(session)
    assert off(session, truth) < 0.8 * before


def test_a_kind_without_a_label_is_said(panels, qtbot, show):
    pick, session = show(panels, "Pick"), panels.session
    pick._kinds.setCurrentIndex(pick._kinds.findData("rod"))
    press(pick, "Recentre particles", qtbot)
    assert "0 particles are labelled rod; label some first" in pick._error.text()
    assert session.work.job is None
    assert pick._kinds.findData(OTHER) < 0
