"""What holds for every format: there and back, bad input, and nothing lost in silence."""

import errno
import os
import struct

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import (
    FORMATS,
    ListContext,
    guess_format,
    read_particles,
    write_particles,
    written_files,
)
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.types import Particles

NUMBERED = {"dynamo", "em_motl"}
"""Formats whose classes are numbers; which is which is said when a list is written."""
ONE_FILE = ["relion5", "relion4", "relion3", "warp", "pytom_star", "stopgap", "dynamo", "em_motl"]
ONE_FILE += ["pytom", "deepfinder", "csv"]
"""Formats that hold several tomograms and classes in one file."""

STATED = {"relion5", "relion4", "warp", "pytom_star", "eman2", "copick"}
"""Formats that do not count in voxels, or say how large theirs are."""

NEVER_EMPTY = {"relion5", "relion4", "relion3", "warp", "pytom_star", "stopgap"}
NEVER_EMPTY |= {"dynamo", "em_motl", "coords"}
"""Formats whose programs stop at a list of none."""

TOMOGRAMS = ("TS 01", "002", "b.rec_3", "20211007_t4")
CLASSES = ("80S ribosome", "007", "a.b", "β-gal")

quick = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def context(**changes):
    usual = {"voxel_size": 10.0, "shape": (48, 60, 72), "tomogram": "TS_01", "binning": 4.0}
    return ListContext(**(usual | changes))


def some_particles(n=5, seed=0, **columns):
    rng = np.random.default_rng(seed)
    return Particles.at(rng.uniform(0, 47, size=(n, 3)), id=np.arange(n) + 1, **columns)


def everything(n=12):
    """Particles with all that a list could hold."""
    rng = np.random.default_rng(0)
    chances = rng.dirichlet([1, 1], n)
    return some_particles(
        n,
        predicted=[CLASSES[k % 3] for k in range(n)],
        score=rng.uniform(0.1, 1, n),
        confidence=chances.max(axis=1),
        cluster=np.arange(n) % 4,
        tomogram=[TOMOGRAMS[k % 2] for k in range(n)],
        orientations=Rotation.random(n, random_state=0).as_matrix(),
        probabilities=chances,
        classes=("a", "b"),
    )


def written(folder, particles, name, **given):
    """Write a list; return its file, or those that were written instead."""
    path = folder / f"list{FORMATS[name].suffix}"
    said = write_particles(path, particles, name, **given)
    return ([path] if path.is_file() else sorted(folder.glob(f"list_*{path.suffix}"))), said


def in_order(particles):
    """Sort by whole voxels, which no two particles share."""
    return particles.take(np.lexsort(np.rint(particles.positions).T))


def join(lists):
    columns = ("id", "positions", "predicted", "score", "tomogram")
    joined = {name: np.concatenate([getattr(one, name) for one in lists]) for name in columns}
    # A list that turns none of its particles is read as one that says nothing of it.
    joined["orientations"] = np.concatenate(
        [
            np.stack([np.eye(3)] * len(one)) if one.orientations is None else one.orientations
            for one in lists
        ]
    )
    return Particles.at(joined.pop("positions"), **joined)


def same_groups(one, other):
    """Tell whether two namings of classes part the particles alike."""
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


# --- there and back --------------------------------------------------------------------------


@st.composite
def lists(draw):
    """Draw particles, and the context that they are written and read in."""
    shape = draw(st.tuples(*[st.integers(8, 1500)] * 3))
    n = draw(st.integers(1, 6))
    tomograms = draw(st.lists(st.sampled_from(TOMOGRAMS), min_size=1, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # In no voxel are two of them, so that a list can be compared whatever its order.
    voxels = np.stack([rng.permutation(np.arange(1, side - 1))[:n] for side in shape], axis=1)
    turns = Rotation.random(n, random_state=rng).as_matrix()
    turns[1::2] = np.eye(3)
    particles = Particles.at(
        voxels + rng.uniform(-0.4, 0.4, (n, 3)),
        id=rng.permutation(100)[:n] + 1,
        predicted=rng.choice([*CLASSES, ""], n),
        score=rng.choice([np.nan, 0.25, 3e-7, -1234.5], n),
        tomogram=rng.choice(tomograms, n),
        orientations=turns,
    )
    unbinned = st.none() | st.tuples(*[st.integers(100, 9999)] * 3)
    known = ListContext(
        voxel_size=draw(st.floats(0.5, 60)),
        shape=shape,
        binning=draw(st.floats(1, 16)),
        unbinned_shape=draw(unbinned),
        centre=draw(st.sampled_from(["relion", "picker"])),
        tomograms=TOMOGRAMS,
        diameter=draw(st.none() | st.floats(20, 900)),
    )
    return particles, known


@pytest.mark.parametrize("name", FORMATS)
@quick
@given(drawn=lists())
def test_round_trip(tmp_path_factory, name, drawn):
    before, known = drawn
    holds = FORMATS[name].holds
    files, said = written(tmp_path_factory.mktemp("lists"), before, name, context=known)
    assert {guess_format(file) for file in files} == {name}
    before = in_order(before)
    after = in_order(join([read_particles(file, context=known) for file in files]))
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    if "orientation" in holds:
        np.testing.assert_allclose(after.orientations, before.orientations, atol=1e-5)
    if "score" in holds and "scores were left out" not in " ".join(said):
        # Where each row needs a number, 0 stands for none.
        np.testing.assert_allclose(np.nan_to_num(after.score), np.nan_to_num(before.score), 1e-5)
    if "tomogram" in holds and (name != "csv" or len(set(before.tomogram)) > 1):
        np.testing.assert_array_equal(after.tomogram, before.tomogram)
    if "id" in holds:
        np.testing.assert_array_equal(after.id, before.id)
    if "class" in holds and name in NUMBERED:
        assert same_groups(after.predicted, before.predicted)
    elif "class" in holds:
        np.testing.assert_array_equal(after.predicted, before.predicted)


@pytest.mark.parametrize("name", FORMATS)
def test_the_header_of_a_tomogram_gives_its_voxel_size_and_nothing_else(tmp_path, name):
    with mrcfile.new(tmp_path / "TS_01.mrc") as file:
        file.set_data(np.zeros((48, 60, 72), np.float32))
        file.voxel_size = (10.0, 10.0, 10.4)
        file.header.origin = (-512.0, 20.5, -128.0)
        file.nstart = (3, -4, 50)
    tomogram = open_tomogram(tmp_path / "TS_01.mrc")
    before = some_particles()
    known = ListContext.of(tomogram, binning=4.0)
    files, _ = written(tmp_path, before, name, context=known)
    for plain in (known, context(voxel_size=tomogram.voxel_size)):
        after = read_particles(files[0], context=plain)
        np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)


@pytest.mark.parametrize("name", ONE_FILE)
def test_one_file_is_enough_for_several_classes_and_tomograms(tmp_path, name):
    files, _ = written(tmp_path, everything(), name, context=context())
    assert [file.name for file in files] == [f"list{FORMATS[name].suffix}"]


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(ONE_FILE)))
def test_formats_of_one_class_or_tomogram_write_several_files_and_say_so(tmp_path, name):
    before = everything()
    files, said = written(tmp_path, before, name, context=context())
    assert len(files) == (6 if "class" not in FORMATS[name].holds or name == "copick" else 2)
    assert any(f"Written as {len(files)} files" in sentence for sentence in said)
    parts = written_files(tmp_path / f"list{FORMATS[name].suffix}", before, name)
    assert sorted(parts) == files
    assert sum(map(len, parts.values())) == len(before)
    after = join([read_particles(file, context=context()) for file in files])
    assert len(after) == len(before)
    assert sorted(np.rint(after.positions[:, 0])) == sorted(np.rint(before.positions[:, 0]))


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_cannot_hold_is_said(tmp_path, name):
    _, said = written(tmp_path, everything(), name, context=context())
    lost = " ".join(sentence for sentence in said if "no place for" in sentence)
    every = {"class", "score", "confidence", "probabilities", "orientation", "tomogram", "cluster"}
    for what in every:
        assert (what in lost) == (what not in FORMATS[name].holds), what


@pytest.mark.parametrize("name", sorted(NUMBERED))
def test_which_number_is_which_class_is_said(tmp_path, name):
    _, said = written(tmp_path, everything(), name, context=context())
    for kind in CLASSES[:3]:
        assert any(kind in sentence for sentence in said)


@pytest.mark.parametrize("name", FORMATS)
def test_written_lists_are_recognised_whatever_their_suffix(tmp_path, name):
    files, _ = written(tmp_path, some_particles(), name, context=context())
    assert guess_format(files[0].rename(tmp_path / "list.txt")) == name


@pytest.mark.parametrize("name", FORMATS)
def test_a_list_on_another_binning(tmp_path, name):
    files, _ = written(tmp_path, some_particles(), name, context=context())
    wide = {"voxel_size": 20.0, "shape": (24, 30, 36), "binning": 8.0}
    if name not in STATED:
        wide["list_voxel_size"] = 10.0
    after = read_particles(files[0], name, context=context(**wide))
    np.testing.assert_allclose(
        in_order(after).positions, in_order(some_particles()).positions / 2, atol=1e-3
    )


# --- bad input -------------------------------------------------------------------------------


def sentence(caught):
    """Return what was said, once it is sure that it is one sentence in two parts."""
    said = str(caught.value)
    assert type(caught.value) in (ValueError, FileNotFoundError), type(caught.value)
    assert "; " in said, said
    assert "\n" not in said, said
    return said


def tried(path, name):
    """Return the particles and nothing, or None and what was said against them."""
    try:
        return read_particles(path, name, context=context()), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("content", [b"", b"  \n\n"])
@pytest.mark.parametrize("name", FORMATS)
def test_empty_files_are_refused(tmp_path, name, content):
    path = tmp_path / f"list{FORMATS[name].suffix}"
    path.write_bytes(content)
    for given_name in (name, None):
        with pytest.raises(ValueError, match="is empty") as caught:
            read_particles(path, given_name)
        sentence(caught)


@pytest.mark.parametrize("name", FORMATS)
def test_files_that_are_not_there_are_refused(tmp_path, name):
    with pytest.raises(FileNotFoundError) as caught:
        read_particles(tmp_path / "none", name)
    assert "there is no file" in sentence(caught)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_lists_are_refused_or_read_in_one_sentence(tmp_path, name):
    files, _ = written(tmp_path, some_particles(20, score=1.0), name, context=context())
    whole = files[0].read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged"
    refused = 0
    for trial in range(16):
        content = bytearray(whole)
        start = int(rng.integers(len(whole)))
        if trial % 4 == 0:
            del content[start:]
        elif trial % 4 == 1:
            content[start : start + 3] = rng.bytes(3)
        elif trial % 4 == 2:
            del content[start : start + 9]
        else:
            content[start : start + 6] = b"x ,\n\0;"
        path.write_bytes(content)
        particles, said = tried(path, name)
        refused += particles is None
        if particles is None:
            assert "; " in said
            assert "\n" not in said
        else:
            assert np.isfinite(particles.positions).all()
    assert refused


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory):
    """A list of every format, by its name."""
    lists = {}
    for name in FORMATS:
        folder = tmp_path_factory.mktemp(name)
        (lists[name],), _ = written(folder, some_particles(), name, context=context())
    return lists


@pytest.mark.parametrize("name", FORMATS)
def test_lists_of_other_formats_are_refused_or_read_in_one_sentence(one_of_each, name):
    for other, path in one_of_each.items():
        particles, said = tried(path, name)
        if particles is None:
            assert "; " in said, other
            assert "\n" not in said, other
        else:
            # RELION's relatives are alike.
            assert other == name or (FORMATS[other].suffix == FORMATS[name].suffix == ".star")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("hostile", ["../../x", "/etc/x", "..", "C:\\x"])
def test_hostile_names_write_nothing_outside_the_folder(tmp_path, name, hostile):
    folder = tmp_path / "deep" / "deeper" / "chosen"
    folder.mkdir(parents=True)
    before = some_particles(
        4, predicted=[hostile, "b", hostile, "b"], tomogram=[hostile, hostile, "T", "T"]
    )
    files, _ = written(folder, before, name, context=context())
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder]
    assert not outside
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert sum(len(read_particles(file, context=context())) for file in files) == 4


@pytest.mark.parametrize("name", FORMATS)
def test_a_list_in_other_units_is_refused(tmp_path, name):
    far = some_particles().replace(positions=some_particles().positions * 100 + 100)
    files, _ = written(tmp_path, far, name, context=context())
    with pytest.raises(ValueError, match=r"5 of 5 particles .* lie outside the tomogram") as caught:
        read_particles(files[0], context=context())
    sentence(caught)


@pytest.mark.parametrize("name", FORMATS)
def test_no_particles_are_refused_or_leave_a_list_of_none(tmp_path, name):
    if name in NEVER_EMPTY:
        with pytest.raises(ValueError, match=r"0 particles") as caught:
            written(tmp_path, some_particles(0), name, context=context())
        assert sentence(caught)
        assert not list(tmp_path.iterdir())
        return
    files, _ = written(tmp_path, some_particles(0), name, context=context())
    with pytest.raises(ValueError, match=r"lists 0 particles|is empty") as caught:
        read_particles(files[0], name, context=context())
    sentence(caught)


@pytest.mark.parametrize("name", ["em_motl", "imod"])
def test_a_header_that_promises_a_billion_rows_is_refused_at_once(tmp_path, name):
    (path,), _ = written(tmp_path, some_particles(), name, context=context())
    content = bytearray(path.read_bytes())
    if name == "em_motl":
        content[8:12] = struct.pack("<i", 10**9)
    else:
        points = content.index(b"CONT") + 4
        content[points : points + 4] = struct.pack(">i", 10**9)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"promise|cut short|10{9}") as caught:
        read_particles(path, context=context())
    sentence(caught)


@pytest.mark.parametrize("name", ["deepfinder", "pytom"])
def test_xml_bombs_are_refused(tmp_path, name):
    (path,), _ = written(tmp_path, some_particles(), name, context=context())
    laughs = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "ha">{laughs}]>'
    text = path.read_text()
    body = text[text.index("?>") + 2 :] if text.startswith("<?xml") else text
    path.write_text(bomb + body)
    with pytest.raises(ValueError, match=r"entit|DOCTYPE|DTD") as caught:
        read_particles(path, name, context=context())
    sentence(caught)


def test_pickles_are_refused_unread(tmp_path):
    (tmp_path / "valid.tloc").write_bytes(b"\x80\x05\x95cos\nsystem\n")
    with pytest.raises(ValueError, match="pickle, which may hold a harmful program") as caught:
        read_particles(tmp_path / "valid.tloc")
    sentence(caught)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("name", FORMATS)
def test_full_disk_leaves_the_old_list(tmp_path, monkeypatch, name, step):
    path = tmp_path / f"list{FORMATS[name].suffix}"
    write_particles(path, some_particles(seed=1), name, context=context())
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r"No space left on device.* unchanged; free some space"):
        write_particles(path, some_particles(seed=2), name, context=context())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
