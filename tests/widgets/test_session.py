"""The state of one viewer: every step is in the project, and undo takes it back."""

import dataclasses
import multiprocessing
import time

import numpy as np
import pytest

from napari_cryoshift.core import workflows
from napari_cryoshift.core.progress import Progress
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.widgets.session import Session
from napari_cryoshift.widgets.work import Work

POSITIONS = np.array([[5, 6, 7], [8, 20, 30], [12, 16, 20]], dtype=float)


@pytest.fixture
def session(tomogram):
    made = Session()
    made.embed = lambda: None  # nothing here is about embeddings
    made.open_tomogram(tomogram)
    made.set_picks(Particles.at(POSITIONS, score=[3.0, 2.0, 1.0]))
    made.set_threshold(0)
    made.add_class("ribosome")
    yield made
    made.close()


def on_disk(session):
    """What another reader finds in the project."""
    with Project.open(session.project.folder) as project:
        return project.particles(session.tomogram.name)


def test_a_label_is_on_the_disk_when_the_call_returns(session):
    particle = int(session.particles.id[1])
    session.label([particle], "ribosome")
    assert session.particles.label.tolist() == ["", "ribosome", ""]
    assert on_disk(session).label.tolist() == ["", "ribosome", ""]


def import_list(session, particles):
    session.project.import_lists({session.tomogram.name: particles})
    session.read_classes()
    session.take(session.project.particles(session.tomogram.name))


def test_each_step_can_be_undone_and_done_again(session):
    particle = int(session.particles.id[0])
    steps = [
        lambda: session.label([particle], "ribosome"),
        lambda: session.move(particle, [4, 4, 4]),
        lambda: session.add([10, 10, 10], "ribosome"),
        lambda: session.delete([particle]),
        lambda: session.add_class("proteasome"),
        lambda: session.rename_class("ribosome", "80S"),
        lambda: session.remove_class("80S"),
        lambda: import_list(session, Particles.at([[1, 2, 3]], label="membrane")),
    ]

    def state():
        table = session.particles
        return (
            [known.name for known in session.classes],
            table.id.tolist(),
            table.label.tolist(),
            table.positions.tolist(),
        )

    before = []
    for step in steps:
        before.append(state())
        step()
    after = state()
    for expected in reversed(before):
        while state() != expected:  # an import that brings a new class is two steps
            assert session.project.undo_title is not None
            session.undo()
    while session.project.redo_title is not None:
        session.redo()
    assert state() == after


def test_a_threshold_hides_picks_but_never_what_a_person_made(session):
    session.label([int(session.particles.id[2])], "ribosome")
    session.add([10, 10, 10])
    session.set_threshold(2.5)
    assert session.shown.tolist() == [True, False, True, True]


def test_threshold_and_diameter_come_back_with_the_project(session, tomogram):
    session.set_threshold(1.5)
    session.set_diameter(180)
    later = Session()
    later.embed = lambda: None
    later.open_project(Project.open(session.project.folder))
    later.open_tomogram(tomogram)
    assert (later.threshold, later.diameter) == (1.5, 180)
    later.close()


def test_each_tomogram_has_its_own_threshold(session, tomogram):
    session.set_threshold(1.5)
    session.open_tomogram(dataclasses.replace(tomogram, name="other"))
    session.set_threshold(0.5)
    session.open_tomogram(tomogram)
    assert session.threshold == 1.5


@pytest.fixture
def embedded(monkeypatch):
    """Which particles were embedded, call by call; the vectors are their positions."""
    calls = []

    def embed(tomogram, particles, checkpoint, cache=None):
        calls.append(particles.id.tolist())
        yield Progress("embedding", 1, 1)
        return particles.positions.astype(np.float32)

    monkeypatch.setattr(workflows, "embed", embed)
    monkeypatch.setattr(workflows, "shipped_checkpoint", lambda: "shipped")
    return calls


def test_only_what_is_shown_and_new_is_embedded(qtbot, idle, embedded, tomogram):
    session = Session()
    session.open_tomogram(tomogram)
    session.set_picks(Particles.at(POSITIONS, score=[3.0, 2.0, 1.0]))
    idle(session)
    session.set_threshold(1.5)
    idle(session)
    one, two, three = session.particles.id.tolist()
    seen = [particle for call in embedded for particle in call]
    assert len(seen) == len(set(seen))
    assert {one, two} <= set(seen)
    embedded.clear()
    session.set_threshold(0.0)
    idle(session)
    added = session.add([10, 10, 10])
    idle(session)
    session.move(two, [9, 9, 9])
    idle(session)
    assert embedded[-2:] == [[added], [two]]
    assert three in session.embeddings.ids
    session.undo()  # the particle is back where it was, and so must be what the model sees
    idle(session)
    row = session.particles.take(session.particles.id == two)
    np.testing.assert_array_equal(session.embeddings.of(row), row.positions)
    session.close()


def test_what_a_person_starts_goes_before_the_background(qtbot, idle):
    work, done = Work(), []

    def long():
        for step in range(1000):
            time.sleep(0.01)
            yield Progress("long", step, 1000)

    def short():
        yield Progress("short", 1, 1)
        return "short"

    work.run(long(), "Long", done=done.append, background=True)
    work.run(short(), "Short", done=done.append)
    with pytest.raises(ValueError, match="Short is still running"):
        work.run(short(), "Short", done=done.append)
    qtbot.waitUntil(lambda: work.job is None, timeout=5000)
    assert done == ["short"]


def test_next_skips_what_is_labelled_hidden_or_current(session):
    session.set_threshold(1.5)
    session.next("highest score")
    assert session.row == 0
    session.label([session.current], "ribosome")
    session.next("highest score")
    assert session.row == 1
    session.next("highest score")  # nothing is left
    assert session.row == 1
    session.previous()
    assert session.row == 0


def test_deleting_the_current_particle_leaves_none_current(session):
    session.select(int(session.particles.id[0]))
    session.delete([session.current])
    assert session.current is None


def test_another_window_on_the_project_is_noticed(session):
    with Project.open(session.project.folder) as other:
        other.label(int(session.particles.id[0]), OTHER)
    assert session.particles.label[0] == ""
    session.look_for_changes()
    assert session.particles.label[0] == OTHER


def test_without_a_tomogram_it_says_what_to_do():
    with pytest.raises(ValueError, match=r"no tomogram is open; open one"):
        Session().add_class("ribosome")


def test_a_step_that_fails_says_why_and_changes_nothing(session):
    heard = []
    session.failed.connect(heard.append)
    with session.attempt():
        session.label([int(session.particles.id[0])], "no such class")
    assert "no such class" in heard[-1]
    assert on_disk(session).label.tolist() == ["", "", ""]


def _label_for_ever(tomogram, pipe):
    session = Session()
    session.embed = lambda: None
    session.open_tomogram(tomogram)
    session.set_picks(Particles.at(np.random.default_rng(0).uniform(1, 20, (500, 3)), score=1.0))
    session.add_class("ribosome")
    for particle in session.particles.id:
        session.label([int(particle)], "ribosome")
        pipe.send(int(particle))  # the window shows it as labelled


def test_after_kill_9_every_label_that_was_shown_is_back(tomogram):
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_label_for_ever, args=(tomogram, there)
    )
    process.start()
    shown = [here.recv() for _ in range(30)]
    process.kill()
    process.join()
    while here.poll():
        shown.append(here.recv())
    project = Project.last_scratch()
    table = project.particles(tomogram.name)
    project.close()
    assert set(shown) <= set(table.id[table.label == "ribosome"].tolist())
