import sqlite3
from dataclasses import astuple

import numpy as np
import pytest

from napari_cryoshift.core.colours import PALETTE
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import OTHER, Particles, Tomogram

TOMOGRAM = Tomogram(np.empty((50, 60, 70), np.int8), voxel_size=10.0, name="tomo")
N = 30


@pytest.fixture
def project(tmp_path):
    with Project.open(tmp_path / "project") as opened:
        opened.add_tomogram(TOMOGRAM)
        rng = np.random.default_rng(0)
        opened.set_picks("tomo", Particles.at(rng.uniform(0, 49, (N, 3))))
        yield opened


@pytest.fixture
def found(project):
    """Clusters of 15, 10 and 4 particles, and one particle in none."""
    ids = project.particles("tomo").id
    groups = np.repeat([7, 2, 3, -1], [4, 15, 10, 1])
    project.clusters.set("tomo", ids, groups)
    return project


def members(project):
    """Name of each cluster → ids of its members."""
    table = project.particles("tomo")
    return {
        one.name: table.id[table.cluster == one.id].tolist() for one in project.clusters.of("tomo")
    }


def sizes(project):
    return {name: len(ids) for name, ids in members(project).items()}


def state(project):
    table = project.particles("tomo")
    return (
        [astuple(one) for one in project.clusters.of("tomo")],
        [astuple(one) for one in project.classes()],
        list(zip(table.id.tolist(), table.cluster.tolist(), table.label.tolist(), strict=True)),
    )


def ids_of(project, *names):
    known = {one.name: one.id for one in project.clusters.of("tomo")}
    return [known[name] for name in names]


def test_clusters_are_numbered_by_size_and_told_apart_by_colour(found):
    assert sizes(found) == {"cluster 1": 15, "cluster 2": 10, "cluster 3": 4}
    assert [one.color for one in found.clusters.of("tomo")] == list(PALETTE[:3])
    ids = found.particles("tomo").id
    assert members(found)["cluster 1"] == ids[4:19].tolist()
    assert found.particles("tomo").cluster[-1] == -1


def test_new_clusters_replace_earlier_ones_of_that_tomogram_only(found):
    found.add_tomogram(Tomogram(np.empty((9, 9, 9), np.int8), voxel_size=10.0, name="second"))
    ids = found.add("second", [[1, 1, 1], [2, 2, 2]])
    found.clusters.set("second", ids, [0, 1])
    found.clusters.set("tomo", found.particles("tomo").id[:6], [0, 0, 0, 1, 1, 1])
    assert sizes(found) == {"cluster 1": 3, "cluster 2": 3}
    assert len(found.clusters.of("second")) == 2


def merge(project):
    project.clusters.merge(ids_of(project, "cluster 3", "cluster 1"))
    assert sizes(project) == {"cluster 1": 19, "cluster 2": 10}


def split(project):
    ids = np.array(members(project)["cluster 2"])
    project.clusters.split(*ids_of(project, "cluster 2"), ids, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert sizes(project)["cluster 2"] == 7
    assert ids[:3].tolist() in members(project).values()


def rename(project):
    before = members(project)["cluster 1"]
    project.clusters.rename(*ids_of(project, "cluster 1"), " ribosome ")
    assert members(project)["ribosome"] == before


def discard(project):
    project.clusters.discard(ids_of(project, "cluster 1", "cluster 2"))
    assert sizes(project) == {"cluster 3": 4}
    assert len(project.particles("tomo")) == N


def label(project):
    project.clusters.label(ids_of(project, "cluster 1"), "ribosome")
    assert (project.particles("tomo").label == "ribosome").sum() == 15


def find_again(project):
    ids = project.particles("tomo").id
    project.clusters.set("tomo", ids, np.arange(N) % 2)
    assert sizes(project) == {"cluster 1": 15, "cluster 2": 15}


def delete_members(project):
    project.delete(members(project)["cluster 3"])
    assert sizes(project) == {"cluster 1": 15, "cluster 2": 10}


def pick_again(project):
    project.set_picks("tomo", Particles.at([[5.0, 5, 5]]))
    assert sizes(project) == {}


STEPS = (merge, split, rename, discard, label, find_again, delete_members, pick_again)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_every_step_is_one_action_to_undo_and_redo(found, step):
    before, actions = state(found), len(found.history())
    step(found)
    after = state(found)
    assert after != before
    assert len(found.history()) == actions + 1
    found.undo()
    assert state(found) == before
    found.redo()
    assert state(found) == after
    found.undo()
    assert state(found) == before


def test_all_steps_are_undone_and_redone_in_turn_after_a_restart(found):
    seen = [state(found)]
    for step in (merge, split, rename):
        step(found)
        seen.append(state(found))
    with Project.open(found.folder) as other:
        for expected in seen[-2::-1]:
            other.undo()
            assert state(other) == expected
        for expected in seen[1:]:
            other.redo()
            assert state(other) == expected


def test_the_title_of_an_action_says_what_was_done(found):
    found.clusters.merge(ids_of(found, "cluster 1", "cluster 2"))
    assert found.undo_title == "merge cluster 1, cluster 2"
    found.clusters.label(ids_of(found, "cluster 1"), "ribosome")
    assert found.undo_title == "label cluster 1 as ribosome"


def test_labels_that_a_person_gave_stay(found):
    found.add_class("proteasome")
    theirs = members(found)["cluster 1"][:2]
    found.label(theirs, "proteasome")
    assert found.clusters.label(ids_of(found, "cluster 1"), "ribosome") == 13
    table = found.particles("tomo")
    assert set(table.label[np.isin(table.id, theirs)]) == {"proteasome"}


def test_a_class_made_of_a_cluster_has_its_colour_unless_it_is_taken(found):
    first, second, _ = found.clusters.of("tomo")
    found.clusters.label([first.id], "ribosome")
    assert found.classes()[0].color == first.color
    found.add_class("proteasome", second.color)
    found.clusters.label([second.id], "ferritin")
    colours = [one.color for one in found.classes()]
    assert len(set(colours)) == len(colours)


def test_members_may_be_no_particles(found):
    found.clusters.label(ids_of(found, "cluster 3"), OTHER)
    assert (found.particles("tomo").label == OTHER).sum() == 4


BAD = {
    "one to merge": (lambda p: p.clusters.merge(ids_of(p, "cluster 1")), "choose two or more"),
    "unknown": (lambda p: p.clusters.discard([99]), "0 of 1 clusters are in this project"),
    "name taken": (
        lambda p: p.clusters.rename(*ids_of(p, "cluster 1"), "cluster 2"),
        "there is a cluster 'cluster 2' already",
    ),
    "no name": (lambda p: p.clusters.rename(*ids_of(p, "cluster 1"), "  "), "is empty"),
    "one part": (
        lambda p: p.clusters.split(
            *ids_of(p, "cluster 1"), members(p)["cluster 1"], np.zeros(15, int)
        ),
        "cannot be split into one part",
    ),
    "foreign": (
        lambda p: p.clusters.split(*ids_of(p, "cluster 1"), members(p)["cluster 3"], [0, 0, 1, 1]),
        "4 of 4 particles are not in that cluster",
    ),
    "unknown particle": (lambda p: p.clusters.set("tomo", [12345], [0]), "no particle 12345"),
    "lengths": (lambda p: p.clusters.set("tomo", [1, 2], [0]), "2 ids but 1 groups"),
}


@pytest.mark.parametrize(("act", "words"), BAD.values(), ids=BAD)
def test_bad_input_changes_nothing(found, act, words):
    before, actions = state(found), len(found.history())
    with pytest.raises(ValueError, match=words):
        act(found)
    assert state(found) == before
    assert len(found.history()) == actions


def test_a_project_of_version_1_is_read_and_goes_on(found):
    folder = found.folder
    found.add_class("ribosome")
    found.label(found.particles("tomo").id[:3], "ribosome")
    found.close()
    with sqlite3.connect(folder / "project.sqlite") as connection:
        for table in ("member", "cluster", "member_log", "cluster_log"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
    with Project.open(folder) as opened:
        table = opened.particles("tomo")
        assert (table.label == "ribosome").sum() == 3
        assert (table.cluster == -1).all()
        find_again(opened)
        opened.undo()
        assert opened.undo() == "label 3 particles as ribosome"
