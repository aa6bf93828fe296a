import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.coords import COORDS, read_coords, write_coords
from napari_cryoshift.core.types import Particles

ANY = ListContext()
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def particles_at(xyz, **columns):
    return Particles.at(np.asarray(xyz, dtype=float)[:, ::-1], **columns)


def coords(tmp_path, text):
    path = tmp_path / "list.coords"
    path.write_text(text)
    return path


@quick
@given(
    zyx=st.lists(st.tuples(*[st.floats(-1e5, 1e5)] * 3), min_size=1, max_size=6),
    scale=st.sampled_from([None, 2.5, 31.0]),
)
def test_round_trip(tmp_path, zyx, scale):
    context = ListContext(voxel_size=10.0, list_voxel_size=scale)
    assert write_coords(tmp_path / "a.coords", Particles.at(zyx), context) == []
    assert COORDS.recognises(Head("a", (tmp_path / "a.coords").read_bytes()))
    after = read_coords(tmp_path / "a.coords", context)
    np.testing.assert_allclose(after.positions, np.array(zyx), atol=1e-6)
    assert set(after.predicted) == {""}


def test_written_as_tomotwin_reads_it(tmp_path):
    write_coords(tmp_path / "a.coords", particles_at([[1.5, 2, 3], [4, 5, 6]]), ANY)
    table = pd.read_csv(
        tmp_path / "a.coords", sep=r"\s+", header=None, names=["x", "y", "z"], dtype=float
    )
    assert table.to_numpy().tolist() == [[1.5, 2, 3], [4, 5, 6]]


def test_a_file_for_each_class(tmp_path):
    before = particles_at(
        [[1, 2, 3], [4, 5, 6], [7, 8, 9]], label=["../../80S ribosome", "b", ""], predicted="b"
    )
    said = write_particles(tmp_path / "picks.coords", before, "coords", context=ANY)
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["picks_80S_ribosome.coords", "picks_b.coords"]
    assert f"Written as 2 files: {', '.join(files)}." in said
    after = read_coords(tmp_path / "picks_b.coords", ANY)
    np.testing.assert_array_equal(after.positions, [[6, 5, 4], [9, 8, 7]])


def test_no_particles_make_no_file(tmp_path):
    with pytest.raises(ValueError, match="there are 0 particles"):
        write_coords(tmp_path / "a.coords", particles_at(np.zeros((0, 3))), ANY)
    assert not list(tmp_path.iterdir())


def test_deepetpicker_puts_the_class_first(tmp_path):
    path = coords(tmp_path, "1\t10\t20\t30\n12\t1\t2\t3\n0\t4\t5\t6\n")
    particles = read_coords(path, ANY)
    np.testing.assert_array_equal(particles.positions, [[30, 20, 10], [3, 2, 1], [6, 5, 4]])
    assert list(particles.predicted) == ["class 1", "class 12", ""]


def test_pytom_puts_comments_before(tmp_path):
    path = coords(tmp_path, "#\n#TOMONAME \ta.mrc\n#MARKERINDEX \t8\n#\n   68   60   232\n")
    assert COORDS.recognises(Head("list.txt", path.read_bytes()))
    np.testing.assert_array_equal(read_coords(path, ANY).positions, [[232, 60, 68]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no list of coordinates"),
        ("# nothing\n", "is no list of coordinates"),
        ("1 2\n", r"has 2 columns; .* has x y z, or class x y z"),
        ("1 2 3 4 5\n", "has 5 columns"),
        ("1 2 3\n1 2 3 4\n", "is no list of coordinates"),
        ("1 2 3\n1 2\n", "row 2 has no number in column z"),
        ("1 2 3\n1 two 3\n", "row 2 has 'two' in column y"),
        ("1 2 inf\n", "row 1 has no number in column z"),
        ("x y z\n1 2 3\n", "row 1 has 'x' in column x"),
    ],
)
def test_broken_lists_are_refused_in_one_sentence(tmp_path, text, says):
    with pytest.raises(ValueError, match=says) as caught:
        read_coords(coords(tmp_path, text), ANY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "is_list"),
    [
        (b"1 2 3", True),
        (b"\xef\xbb\xbf1 2 3\r\n4 5 6\r\n", True),
        (b"1 2 3\n" * 1000 + b"4 5", True),
        (b"7 1.5 2.5 3.5\n", True),
        (b"7.5 1.5 2.5 3.5\n", False),
        (b"1 2\n", False),
        (b"1 2 3\n1 2 3 4\n", False),
        (b"x y z\n1 2 3\n", False),
        (b"1,2,3\n", False),
        (b"\x93\x00\xff\xfe", False),
        (b"# only a comment\n", False),
    ],
)
def test_recognised_by_counting_numbers(data, is_list):
    assert COORDS.recognises(Head("list.coords", data)) == is_list
