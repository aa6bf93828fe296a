import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.project import Project, ProjectError
from napari_cryoshift.core.types import OTHER, Particles, Tomogram

SHAPE = (200, 300, 400)


def tomogram(name="tomo_1", **changes):
    values = {"data": np.empty(SHAPE, np.int8), "voxel_size": 7.84, "name": name} | changes
    return Tomogram(**values)


def picks(n, seed=0):
    rng = np.random.default_rng(seed)
    zyx = rng.uniform(0, np.array(SHAPE) - 1, (n, 3))
    return Particles.at(zyx, score=rng.normal(size=n))


def state(project):
    """Everything that a person can see, as plain values."""
    tables = []
    for record in project.tomograms():
        p = project.particles(record.name)
        columns = (p.id, p.positions, np.nan_to_num(p.score, nan=-9), p.label, p.edge, p.source)
        turned = None if p.orientations is None else p.orientations.tolist()
        tables.append([column.tolist() for column in columns] + [turned])
    return [[astuple(kind) for kind in project.classes()], tables]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "project"


@pytest.fixture
def project(folder):
    with Project.open(folder) as opened:
        opened.add_tomogram(tomogram())
        opened.add_class("ribosome")
        opened.add_class("proteasome")
        yield opened


@pytest.fixture(autouse=True)
def scratch_root(tmp_path, monkeypatch):
    root = tmp_path / "scratch"
    monkeypatch.setenv("CRYOSHIFT_SCRATCH", str(root))
    return root


# --- tomograms, classes, memory ---


def test_a_tomogram_is_remembered_and_updated_by_its_name(project, folder):
    project.add_tomogram(tomogram("tomo_2", path=folder / "b.mrc", dark=False))
    project.add_tomogram(tomogram(voxel_size=np.float32(10.5)))
    project.close()

    with Project.open(folder) as again:
        first, second = again.tomograms()
    assert (first.name, first.voxel_size, first.path, first.dark) == ("tomo_1", 10.5, None, True)
    assert (second.path, second.dark, second.shape) == (folder / "b.mrc", False, SHAPE)


def test_undo_does_not_take_an_open_tomogram_away(folder):
    with Project.open(folder) as project:
        project.add_tomogram(tomogram())
        assert project.undo() is None
        assert len(project.tomograms()) == 1


def test_classes_have_distinct_colours_and_the_keys_of_the_number_row(folder):
    with Project.open(folder) as project:
        made = [project.add_class(f"class {i}") for i in range(1, 13)]
        assert len({kind.color for kind in made}) == 12
        assert [kind.key for kind in made] == [*"123456789", "", "", ""]
        assert project.classes()[:-1] == tuple(made)
        other = project.classes()[-1]
    assert (other.name, other.key) == (OTHER, "0")
    # grey: as much red as green as blue
    assert other.color[1:3] == other.color[3:5] == other.color[5:7]


def test_a_class_keeps_its_colour_and_key_while_others_come_and_go(project):
    proteasome = project.classes()[1]
    project.remove_class("ribosome")
    fresh = project.add_class("spliceosome")
    assert proteasome in project.classes()
    assert fresh.key == "1"
    assert fresh.color != proteasome.color
    assert project.add_class("membrane", "#ABCDEF").color == "#abcdef"


def test_several_classes_are_made_in_one_step_or_none_at_all(project):
    before = state(project)
    project.add_classes(["TRiC", "ferritin"])
    assert [known.name for known in project.classes()][2:4] == ["TRiC", "ferritin"]
    assert project.undo() == "add classes TRiC, ferritin"
    assert state(project) == before
    with pytest.raises(ValueError, match="there is a class 'ribosome' already"):
        project.add_classes(["TRiC", "ribosome"])
    assert state(project) == before


def test_renaming_a_class_renames_its_labels(project):
    (particle,) = project.add("tomo_1", [1, 2, 3], label="ribosome")
    before = project.classes()[0]
    project.rename_class("ribosome", "80S")
    assert project.particles("tomo_1").label.tolist() == ["80S"]
    assert (project.classes()[0].color, project.classes()[0].key) == (before.color, before.key)
    assert particle == 1


def test_removing_a_class_unlabels_its_particles_until_undo(project):
    project.add("tomo_1", [[1, 2, 3], [4, 5, 6], [7, 8, 9]], label=["ribosome", "", "proteasome"])
    before = state(project)
    project.remove_class("ribosome")
    assert project.particles("tomo_1").label.tolist() == ["", "", "proteasome"]
    assert project.undo() == "remove class ribosome"
    assert state(project) == before


def test_memory_outlives_the_session_and_is_beyond_undo(project, folder):
    project.set("pick", {"diameter": 250.0, "mask": None, "tiles": [1, 2]})
    project.undo()
    project.close()
    with Project.open(folder) as again:
        assert again.get("pick") == {"diameter": 250.0, "mask": None, "tiles": [1, 2]}
        assert again.get("nothing", 5) == 5


# --- particles ---


def test_particles_come_back_to_the_last_bit(project, folder):
    rng = np.random.default_rng(1)
    zyx = rng.uniform(0, 199, (50, 3))
    turned = Rotation.random(50, random_state=1).as_matrix()
    score = rng.normal(size=50)
    score[7] = np.nan
    ids = project.add("tomo_1", zyx, score=score, orientations=turned, source="import")
    project.close()

    with Project.open(folder) as again:
        read = again.particles("tomo_1")
    np.testing.assert_array_equal(read.id, ids)
    np.testing.assert_array_equal(read.positions, zyx)
    np.testing.assert_array_equal(read.score, score)
    np.testing.assert_array_equal(read.orientations, turned)
    assert set(read.tomogram) == {"tomo_1"}
    assert set(read.source) == {"import"}


def test_a_particle_without_orientation_among_oriented_ones_is_not_turned(project):
    project.add("tomo_1", [1, 1, 1])
    assert project.particles("tomo_1").orientations is None
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    project.add("tomo_1", [2, 2, 2], orientations=turn[None])
    np.testing.assert_array_equal(project.particles("tomo_1").orientations, [np.eye(3), turn])


def test_each_tomogram_has_its_own_particles(project):
    project.add_tomogram(tomogram("tomo_2"))
    project.set_picks("tomo_1", picks(5))
    project.set_picks("tomo_2", picks(7))
    project.set_picks("tomo_1", picks(3))
    assert [len(project.particles(name)) for name in ("tomo_1", "tomo_2")] == [3, 7]


def test_new_picks_replace_only_what_nobody_touched(project):
    project.set_picks("tomo_1", Particles.at([[10, 10, 10], [50, 50, 50]], edge=[True, False]))
    labelled, untouched = project.particles("tomo_1").id
    project.label(labelled, "ribosome")
    (clicked,) = project.add("tomo_1", [90, 90, 90])

    near_labelled, near_clicked, new = [10, 10, 10.9], [90, 90.9, 90], [10, 10, 11.1]
    project.set_picks("tomo_1", Particles.at([near_labelled, near_clicked, new], score=[3, 2, 1]))

    after = project.particles("tomo_1")
    assert after.id.tolist() == [labelled, clicked, clicked + 1]
    assert after.label.tolist() == ["ribosome", "", ""]
    assert after.positions[2].tolist() == new
    assert after.score[2] == 1
    assert after.edge.tolist() == [True, False, False]
    assert project.undo() == "pick 1 particle"
    assert project.particles("tomo_1").id.tolist() == [labelled, untouched, clicked]


def test_an_id_is_never_given_to_another_particle(project, folder):
    seen = project.add("tomo_1", [[1, 1, 1], [2, 2, 2]]).tolist()
    project.delete(seen[-1])
    seen += project.add("tomo_1", [3, 3, 3]).tolist()
    project.undo()
    seen += project.add("tomo_1", [4, 4, 4]).tolist()
    project.close()
    with Project.open(folder) as again:
        seen += again.add("tomo_1", [5, 5, 5]).tolist()
    assert len(set(seen)) == len(seen) == 5


def test_the_titles_are_what_a_person_would_say(project):
    (one,) = project.add("tomo_1", [1, 2, 3])
    project.import_lists({"tomo_1": picks(1482)})
    many = project.particles("tomo_1").id[1:]
    project.label(one, "ribosome")
    project.label(many[:12], "ribosome")
    project.label(one, "")
    project.move(one, [3, 2, 1])
    project.delete(many[:3])
    project.set_picks("tomo_1", picks(1500, seed=1))
    assert [action.title for action in project.history()][2:] == [
        "add particle 1",
        "import 1,482 particles",
        "label 1 as ribosome",
        "label 12 particles as ribosome",
        "unlabel 1",
        "move particle 1",
        "delete 3 particles",
        "pick 1,500 particles",
    ]


# --- history ---


def test_history_says_who_and_when(project, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    project.add("tomo_1", [1, 2, 3])
    last = project.history()[-1]
    assert last.who == "ada"
    assert abs(datetime.fromisoformat(last.when) - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_account_without_a_name_may_work_too(project, monkeypatch):
    def nameless():
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nameless)
    project.add("tomo_1", [1, 2, 3])
    assert project.history()[-1].who == "unknown"


def test_undo_walks_back_through_every_state_and_redo_forward_again(folder):
    rng = np.random.default_rng(3)
    project = Project.open(folder)
    project.add_tomogram(tomogram())
    states, titles = [state(project)], []

    def some():
        ids = project.particles("tomo_1").id
        return rng.choice(ids, size=min(len(ids), rng.integers(1, 6)), replace=False)

    def a_class():
        return str(rng.choice([kind.name for kind in project.classes()]))

    deeds = [
        lambda: project.set_picks("tomo_1", picks(8, seed=rng.integers(1000))),
        lambda: project.add(
            "tomo_1",
            rng.uniform(0, 199, (2, 3)),
            label=a_class(),
            orientations=Rotation.random(2, random_state=0).as_matrix(),
        ),
        lambda: project.label(some(), a_class()),
        lambda: project.label(some(), ""),
        lambda: (ids := some(), project.move(ids, rng.uniform(0, 199, (len(ids), 3)))),
        lambda: project.move([some()[0]] * 2, rng.uniform(0, 199, (2, 3))),
        lambda: project.delete(some()),
        lambda: project.add_class(f"class {len(states)}"),
        lambda: project.rename_class(project.classes()[0].name, f"name {len(states)}"),
        lambda: project.remove_class(project.classes()[0].name),
    ]
    while len(titles) < 60:
        actions = len(project.history())
        try:
            deeds[rng.integers(len(deeds))]()
        except (ValueError, IndexError):
            continue  # nothing there to do this with; the state below must not have changed
        if len(project.history()) > actions:
            states.append(state(project))
            titles.append(project.undo_title)
        assert state(project) == states[-1]

    for title, before in zip(reversed(titles), reversed(states[:-1]), strict=True):
        assert project.undo() == title
        assert state(project) == before
    assert project.undo() is None
    project.close()

    project = Project.open(folder)  # undone work can be done again after a restart
    for title, after in zip(titles, states[1:], strict=True):
        assert project.redo_title == title
        assert project.redo() == title
        assert state(project) == after
    assert project.redo() is None
    project.close()


def test_a_new_action_ends_redo_and_one_that_changes_nothing_does_not(project):
    ids = project.add("tomo_1", [[1, 1, 1], [2, 2, 2]])
    project.label(ids[0], "ribosome")
    project.undo()

    project.label(ids[0], "")  # it has no label already
    project.delete([])
    assert project.redo_title == "label 1 as ribosome"
    assert [action.undone for action in project.history()] == [False, False, False, True]

    project.label(ids[1], "proteasome")
    assert project.redo_title is None
    assert project.redo() is None
    assert project.history()[-1].title == "label 2 as proteasome"


def test_the_log_forgets_whole_actions_once_it_is_long(project, monkeypatch):
    monkeypatch.setattr("napari_cryoshift.core.project.action_log._REACH", 20)
    for seed in range(5):
        project.set_picks("tomo_1", picks(10, seed=seed))
    taken_back = []
    while (title := project.undo()) is not None:
        taken_back.append(title)
        assert len(project.particles("tomo_1")) == 10
    assert 1 < len(taken_back) < 5
    assert len(project.history()) == 7


# --- what cannot be done ---

BAD = {
    "unknown tomogram": (lambda p: p.add("tomo_9", [1, 2, 3]), "no tomogram 'tomo_9'"),
    "read unknown": (lambda p: p.particles("tomo_9"), "no tomogram 'tomo_9'"),
    "unknown class": (lambda p: p.label(1, "virus"), "no class 'virus' among ribosome, proteasome"),
    "unknown particle": (lambda p: p.label([1, 7, 8], "ribosome"), r"no particle 7 .*2 of 3 ids"),
    "delete unknown": (lambda p: p.delete(7), "no particle 7"),
    "outside": (lambda p: p.add("tomo_1", [[0, 0, 0], [0, 0, 400]]), "1 of 2 positions lie outs"),
    "not a number": (lambda p: p.move(1, [0, np.nan, 0]), "1 of 1 positions lie outside"),
    "picks outside": (lambda p: p.set_picks("tomo_1", Particles.at([[-1, 0, 0]])), "lie outside"),
    "two axes": (lambda p: p.add("tomo_1", [[1, 2]]), r"shape \(1, 2\); give \(n, 3\)"),
    "unlike lengths": (lambda p: p.move([1, 2], [0, 0, 0]), "2 ids but 1 positions"),
    "infinite score": (lambda p: p.add("tomo_1", [1, 1, 1], score=np.inf), "1 of 1 scores"),
    "one rotation": (
        lambda p: p.add("tomo_1", [1, 1, 1], orientations=np.eye(3)[:1]),
        r"orientations have shape \(1, 3\); give \(1, 3, 3\)",
    ),
    "taken name": (lambda p: p.add_class("ribosome"), "is a class 'ribosome' already"),
    "taken new name": (lambda p: p.rename_class("ribosome", "proteasome"), "already"),
    "no name": (lambda p: p.add_class(" "), "name of a class is empty"),
    "no colour": (lambda p: p.add_class("virus", "red"), "'red' is no colour; give it as #rrggbb"),
    "remove other": (lambda p: p.remove_class(OTHER), "always stays"),
    "rename other": (lambda p: p.rename_class(OTHER, "junk"), "always stays"),
    "voxel size": (lambda p: p.add_tomogram(tomogram(voxel_size=np.nan)), "voxel size of tomo_1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_said_and_changes_nothing(project, case):
    project.add("tomo_1", [[1, 2, 3], [4, 5, 6]], label="ribosome")
    project.add("tomo_1", [7, 8, 9])
    project.undo()
    before, history = state(project), project.history()
    deed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        deed(project)
    assert state(project) == before
    assert project.history() == history


# --- two windows, threads ---


def test_two_windows_share_particles_and_history(project, folder):
    with Project.open(folder) as other:
        ids = project.add("tomo_1", picks(4).positions)
        seen = other.data_version
        other.label(ids[0], "ribosome")
        assert other.data_version == seen  # its own work is no news
        project.label(ids[1], "proteasome")
        assert other.data_version != seen
        other.label(ids[2], OTHER)

        assert state(project) == state(other)
        expected = ["ribosome", "proteasome", OTHER, ""]
        assert project.particles("tomo_1").label.tolist() == expected
        assert project.undo() == f"label {ids[2]} as {OTHER}"  # made in the other window
        assert other.undo() == f"label {ids[1]} as proteasome"
        assert project.redo() == f"label {ids[1]} as proteasome"
        assert state(project) == state(other)


def test_windows_that_write_at_once_wait_for_each_other(project, folder):
    others = [Project.open(folder) for _ in range(3)]
    made = []

    def work(window):
        for _ in range(20):
            (particle,) = window.add("tomo_1", [1, 2, 3])
            window.label(particle, "ribosome")
            made.append(particle)

    threads = [threading.Thread(target=work, args=(window,)) for window in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for window in others:
        window.close()
    particles = project.particles("tomo_1")
    assert particles.id.tolist() == sorted(made) == list(range(1, 61))
    assert set(particles.label) == {"ribosome"}
    assert len(project.history()) == 2 + 60 + 60


def test_a_thread_reads_whole_actions_only(project):
    ids = project.add("tomo_1", picks(500).positions)
    seen, done = set(), threading.Event()

    def read():
        while not done.is_set():
            seen.add(tuple(sorted(set(project.particles("tomo_1").label))))

    reader = threading.Thread(target=read)
    reader.start()
    for name in ["ribosome", "proteasome"] * 10:
        project.label(ids, name)
    done.set()
    reader.join()
    assert seen <= {("",), ("ribosome",), ("proteasome",)}


# --- crashes, full disks, files that are no projects ---

_LABEL_UNTIL_KILLED = """
import sys
from napari_cryoshift.core.project import Project

project = Project.open(sys.argv[1])
for particle in project.particles("tomo_1").id:
    project.label(particle, "ribosome")
    print(particle, flush=True)
sys.stdin.read()
"""


def test_every_label_that_was_shown_as_made_outlives_kill_9(project, folder):
    project.set_picks("tomo_1", picks(5000))
    project.close()
    with subprocess.Popen(
        [sys.executable, "-c", _LABEL_UNTIL_KILLED, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as window:
        shown = [int(window.stdout.readline()) for _ in range(25)]
        window.kill()
        shown += [int(line) for line in window.stdout.read().split()]

    with Project.open(folder) as again:
        particles = again.particles("tomo_1")
        labelled = particles.id[particles.label == "ribosome"].tolist()
        assert labelled[: len(shown)] == shown
        assert len(labelled) <= len(shown) + 1  # one may have been made and not yet shown
        assert again.undo() == f"label {labelled[-1]} as ribosome"


def test_a_full_disk_is_said_in_a_sentence_and_loses_nothing(project):
    project.add("tomo_1", picks(50).positions, label="ribosome")
    project.label(1, "")
    project.undo()
    before, history = state(project), project.history()
    connection = project._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 3}")

    with pytest.raises(ProjectError, match=r"disk .* is full, so this last step was not saved"):
        project.set_picks("tomo_1", picks(5000, seed=1))
    assert state(project) == before
    assert project.history() == history
    assert project.redo_title == "unlabel 1"

    connection.execute("PRAGMA max_page_count = 100000")  # room was made
    project.set_picks("tomo_1", picks(5000, seed=1))
    assert len(project.particles("tomo_1")) == 5050


def test_a_write_that_the_system_refuses_loses_nothing(project, folder):
    resource = pytest.importorskip("resource")
    project.add("tomo_1", picks(2000).positions)
    before = state(project)
    log = folder / "project.sqlite-wal"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 4096, limits[1]))
    try:
        with pytest.raises(ProjectError, match="last step was not saved"):
            project.set_picks("tomo_1", picks(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert state(project) == before
    project.label(1, "ribosome")
    project.close()
    with Project.open(folder) as again:
        assert again.particles("tomo_1").label[0] == "ribosome"


def _garbage(file):
    file.write_bytes(b"micrograph " * 5000)


def _cut(file):
    file.write_bytes(file.read_bytes()[:-20000])


def _overwrite(file):
    content = bytearray(file.read_bytes())
    content[8192:40000] = bytes(40000 - 8192)
    file.write_bytes(content)


def _foreign(file):
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE photograph (id)")
    connection.close()


def _newer(file):
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_garbage, "damaged or no project"),
        (_cut, "damaged"),
        (_overwrite, "damaged"),
        (_foreign, "a database but no project"),
        (_newer, "version 99 and this program reads up to 2; install a newer"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_as_it_is(project, folder, damage, message):
    project.set_picks("tomo_1", picks(2000))
    project.close()
    file = folder / "project.sqlite"
    damage(file)
    content = file.read_bytes()
    with pytest.raises(ValueError, match=message):
        Project.open(folder)
    assert file.read_bytes() == content


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "tomo.mrc"
    file.write_bytes(b"volume")
    with pytest.raises(ValueError, match=r"tomo\.mrc is a file; choose a folder"):
        Project.open(file)
    assert file.read_bytes() == b"volume"


def test_a_crash_before_the_first_table_leaves_a_folder_that_opens(folder):
    folder.mkdir()
    (folder / "project.sqlite").touch()
    with Project.open(folder) as project:
        assert [kind.name for kind in project.classes()] == [OTHER]


def test_the_file_tells_other_programs_what_it_is(project, folder):
    project.close()
    with sqlite3.connect(folder / "project.sqlite") as connection:
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    assert mark.to_bytes(4, "big") == b"CRYS"
    assert version == 2


# --- scratch projects and moving on ---

_CRASH_IN_SCRATCH = """
import os, signal
import numpy as np
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import Tomogram

project = Project.scratch()
project.add_tomogram(Tomogram(data=np.empty((9, 9, 9)), voxel_size=10.0, name="tomo_1"))
project.add("tomo_1", [1, 2, 3], label="other")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_the_scratch_project_of_a_crash_is_found_again(scratch_root):
    assert Project.last_scratch() is None
    for _ in range(2):
        subprocess.run([sys.executable, "-c", _CRASH_IN_SCRATCH], check=False)
    older, newer = sorted(scratch_root.iterdir(), key=lambda made: made.stat().st_mtime_ns)
    with Project.scratch():  # nothing is done here, so it is not what a person looks for
        found = Project.last_scratch()
    assert found.folder == newer
    assert found.particles("tomo_1").label.tolist() == [OTHER]
    found.close()
    assert {older, newer} == set(scratch_root.iterdir())


def test_a_scratch_project_in_use_is_left_to_its_window():
    with Project.scratch() as live:
        live.add_class("ribosome")
        assert Project.last_scratch() is None
        assert len(live.classes()) == 2
    with Project.last_scratch() as found:
        assert found.folder == live.folder


def test_an_unused_scratch_project_leaves_nothing_behind(scratch_root):
    project = Project.scratch()
    assert project.folder.parent == scratch_root
    project.add_tomogram(tomogram())
    project.close()
    project.close()
    assert list(scratch_root.iterdir()) == []


def test_saving_a_scratch_project_takes_everything_along(tmp_path, scratch_root):
    with Project.scratch() as project:
        project.add_tomogram(tomogram())
        project.set_picks("tomo_1", picks(100))
        project.label(5, OTHER)
        project.undo()
        project.set("threshold", 0.5)
        (project.folder / "embeddings").mkdir()
        (project.folder / "embeddings" / "a.npy").write_bytes(b"vectors")
        before, history = state(project), project.history()

        project.save_as(tmp_path / "named" / "mine")
        assert project.folder == tmp_path / "named" / "mine"
        assert list(scratch_root.iterdir()) == []
        assert (state(project), project.history()) == (before, history)
        assert (project.folder / "embeddings" / "a.npy").read_bytes() == b"vectors"
        assert project.redo() == f"label 5 as {OTHER}"  # work goes on in the new folder

    with Project.open(tmp_path / "named" / "mine") as again:
        assert again.particles("tomo_1").label[4] == OTHER
        assert again.get("threshold") == 0.5


def test_saving_a_scratch_project_leaves_it_to_another_window(tmp_path):
    with Project.scratch() as project:
        project.add_class("ribosome")
        with Project.open(project.folder) as other:
            project.save_as(tmp_path / "mine")
            other.add_class("proteasome")
        with Project.last_scratch() as found:
            assert [kind.name for kind in found.classes()] == ["ribosome", "proteasome", OTHER]


def test_saving_a_named_project_leaves_the_old_one_as_it_was(project, folder, tmp_path):
    before = state(project)
    project.save_as(tmp_path / "copy")
    project.add_class("virus")
    with Project.open(folder) as old:
        assert state(old) == before


def test_saving_where_it_cannot_be_keeps_the_project_where_it_is(project, folder, tmp_path):
    with Project.open(tmp_path / "taken") as taken:
        taken.add_class("virus")
    (tmp_path / "file").write_text("text")
    with pytest.raises(ValueError, match="holds a project already"):
        project.save_as(tmp_path / "taken")
    with pytest.raises(ValueError, match="inside the project itself"):
        project.save_as(folder / "deeper")
    with pytest.raises(ValueError, match="is a file; choose a folder"):
        project.save_as(tmp_path / "file")
    assert project.folder == folder
    project.add("tomo_1", [1, 2, 3])
    with Project.open(tmp_path / "taken") as taken:
        assert taken.classes()[0].name == "virus"


def test_a_full_disk_while_saving_leaves_the_project_where_it_was(project, folder, tmp_path):
    resource = pytest.importorskip("resource")
    project.set_picks("tomo_1", picks(5000))
    before = state(project)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(ProjectError, match="not saved"):
            project.save_as(tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "full" / "project.sqlite").exists()
    assert project.folder == folder
    assert state(project) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_folder_that_may_not_be_written_to_is_said(tmp_path):
    closed: Path = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    person = os.geteuid()
    if person == 0:
        os.seteuid(65534)  # root may write anywhere, nobody may not
    try:
        with pytest.raises(ProjectError, match="cannot be written to"):
            Project.open(closed / "project")
    finally:
        os.seteuid(person)


def test_lists_of_several_tomograms_are_one_step_of_undo(project):
    names = [record.name for record in project.tomograms()]
    first = names[0]
    second = Tomogram(np.zeros((20, 30, 40), dtype=np.int8), 10.0, "second")
    project.add_tomogram(second)
    before = len(project.particles(first)), [one.name for one in project.classes()]
    project.import_lists(
        {
            first: Particles.at([[1, 2, 3], [4, 5, 6]], label=["new kind", ""], score=[2.0, 1.0]),
            "second": Particles.at([[7, 8, 9]], label="another"),
        }
    )
    rows = project.particles("second")
    assert rows.label.tolist() == ["another"]
    assert rows.source.tolist() == ["import"]
    assert project.particles(first).label.tolist()[-2:] == ["new kind", ""]
    assert len(set(project.particles(first).id) | set(rows.id)) == before[0] + 3
    assert project.undo_title == "import 3 particles"
    project.undo()
    after = len(project.particles(first)), [one.name for one in project.classes()]
    assert after == before
    assert len(project.particles("second")) == 0


def test_a_list_that_cannot_be_imported_changes_nothing(project):
    first = project.tomograms()[0].name
    before = [one.name for one in project.classes()]
    lists = {
        first: Particles.at([[1, 2, 3]], label="new kind"),
        "nowhere": Particles.at([[1, 1, 1]]),
    }
    with pytest.raises(ValueError, match="nowhere"):
        project.import_lists(lists)
    assert [one.name for one in project.classes()] == before
    assert project.undo_title != "import 2 particles"
