import dynamotable
import numpy as np
import pandas as pd
import pytest
from eulerangles import convert_eulers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.dynamo import DYNAMO, read_dynamo, write_dynamo
from napari_cryoshift.core.types import Particles

ANY = ListContext()
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text(
    st.characters(categories=("L", "N"), include_characters=" ._-+/#'\""), min_size=1, max_size=12
).filter(lambda name: name == name.strip())
places = st.lists(st.tuples(*[st.floats(-50, 9000)] * 3), min_size=1, max_size=6)


def particles_at(xyz, **columns):
    return Particles.at(np.asarray(xyz, dtype=float)[:, ::-1], **columns)


def table_file(tmp_path, name="a.tbl", **columns):
    path = tmp_path / name
    dynamotable.write(pd.DataFrame(columns), path)
    return path


@quick
@given(data=st.data())
def test_round_trip(tmp_path, data):
    draw = data.draw
    zyx = draw(places)
    n = len(zyx)
    before = Particles.at(
        zyx,
        id=draw(st.lists(st.integers(1, 10**12), min_size=n, max_size=n, unique=True)),
        predicted=[draw(st.sampled_from(["", "class 1", "class 7"])) for _ in range(n)],
        score=[draw(st.sampled_from([0.25, 3e-7, -1234.5])) for _ in range(n)],
        tomogram=[draw(names) for _ in range(n)],
        orientations=Rotation.random(n, random_state=draw(st.integers(0, 99))).as_matrix(),
    )
    given = ListContext(voxel_size=10.0, list_voxel_size=draw(st.sampled_from([None, 2.5, 31.0])))
    path = tmp_path / "a.tbl"
    write_dynamo(path, before, given)
    after = read_dynamo(path, given)
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    np.testing.assert_allclose(after.orientations, before.orientations, atol=1e-6)
    np.testing.assert_allclose(after.score, before.score)
    for column in ("id", "predicted", "tomogram"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    for file in tmp_path.iterdir():
        file.unlink()


def test_columns_as_dynamotable_reads_them(tmp_path):
    before = particles_at(
        [[1.5, 2, 3], [4, 5, 6.25]],
        id=[7, 9],
        label=["ribosome", ""],
        score=[0.5, 0.75],
        tomogram=["TS_03", "TS_12"],
    )
    said = write_dynamo(tmp_path / "a.tbl", before, ListContext(voxel_size=13.5))
    table = dynamotable.read(tmp_path / "a.tbl", tmp_path / "a.doc")
    assert table[["x", "y", "z"]].to_numpy().tolist() == [[1.5, 2, 3], [4, 5, 6.25]]
    assert not table[["dx", "dy", "dz"]].to_numpy().any()
    assert list(table.tag) == [7, 9]
    assert list(table["class"]) == [1, 0]
    assert list(table.cc) == [0.5, 0.75]
    assert list(table.tomo) == [3, 12]
    assert list(table.tomo_file) == ["TS_03", "TS_12"]
    assert set(table.apix) == {13.5}
    assert "Classes are numbers in this list: 1 is ribosome." in said
    assert any("put the path of its volume" in sentence for sentence in said)


def test_angles_mean_what_dynamo_means_by_them(tmp_path, relion_matrix):
    before = particles_at(
        np.ones((5, 3)), orientations=Rotation.random(5, random_state=0).as_matrix()
    )
    write_dynamo(tmp_path / "a.tbl", before, ListContext())
    angles = dynamotable.read(tmp_path / "a.tbl")[["tdrot", "tilt", "narot"]].to_numpy()
    as_relion = convert_eulers(angles, source_meta="dynamo", target_meta="relion")
    for row, rotation in zip(as_relion, before.orientations, strict=True):
        np.testing.assert_allclose(relion_matrix(*row), rotation, atol=1e-7)


def test_particles_that_are_not_turned(tmp_path):
    unturned = particles_at([[1, 2, 3]], orientations=np.eye(3)[None])
    assert not any("angles" in said for said in write_dynamo(tmp_path / "a.tbl", unturned, ANY))
    said = write_dynamo(tmp_path / "a.tbl", particles_at([[1, 2, 3]]), ANY)
    assert "No particle has an orientation: all angles are 0." in said
    assert read_dynamo(tmp_path / "a.tbl", ANY).orientations is None


def test_shifts_are_added(tmp_path):
    path = table_file(tmp_path, x=[10.0], y=[20.0], z=[30.0], dx=[0.5], dy=[-1.0], dz=[2.0])
    np.testing.assert_allclose(read_dynamo(path, ANY).positions, [[32, 19, 10.5]])
    coarser = ListContext(voxel_size=10.0, list_voxel_size=5.0)
    np.testing.assert_allclose(read_dynamo(path, coarser).positions, [[16, 9.5, 5.25]])


def test_missing_scores_and_ids_that_begin_with_0_are_said(tmp_path):
    before = particles_at([[1, 2, 3], [4, 5, 6]], score=[np.nan, 2.0])
    said = write_dynamo(tmp_path / "a.tbl", before, ANY)
    assert "1 particles without a score have the score 0." in said
    assert "Tags are ids + 1, because tags count from 1." in said
    after = read_dynamo(tmp_path / "a.tbl", ANY)
    assert list(after.score) == [0, 2]
    assert list(after.id) == [1, 2]
    write_dynamo(tmp_path / "a.tbl", before.replace(score=np.full(2, np.nan)), ANY)
    assert np.isnan(read_dynamo(tmp_path / "a.tbl", ANY).score).all()


def test_tags_that_repeat_are_counted_instead(tmp_path):
    path = table_file(tmp_path, tag=[5, 5, 6], x=[1, 2, 3], y=[1, 2, 3], z=[1, 2, 3])
    assert list(read_dynamo(path, ANY).id) == [0, 1, 2]


# --- tomograms -------------------------------------------------------------------------------


def in_tomograms(tmp_path, *numbers):
    where = [1.0] * len(numbers)
    return table_file(tmp_path, x=where, y=where, z=where, tomo=list(numbers))


def test_names_of_tomograms_come_from_what_lies_beside(tmp_path):
    path = in_tomograms(tmp_path, 2, 1, 5)
    assert list(read_dynamo(path, ANY).tomogram) == ["2", "1", "5"]
    (tmp_path / "a.vll").write_text(
        "# the fourth was awful\n/data/b.mrc\n* index = 2\n* ftype = 1\n> b.tbl\n\n"
        "/data/a b.mrc\n* index = 1\n/data/c.mrc\n"
    )
    assert list(read_dynamo(path, ANY).tomogram) == ["/data/b.mrc", "/data/a b.mrc", "5"]
    (tmp_path / "indices_column20.doc").write_text("1 x.rec\n2 y.rec\n")
    assert list(read_dynamo(path, ANY).tomogram) == ["y.rec", "x.rec", "5"]
    (tmp_path / "a.doc").write_text("  1  TS 01\n\n5\tTS 05\n")
    assert list(read_dynamo(path, ANY).tomogram) == ["2", "TS 01", "TS 05"]
    named = ListContext(tomograms=("A", "B"))
    assert list(read_dynamo(path, named).tomogram) == ["B", "A", "5"]


def test_volume_list_without_indices_counts(tmp_path):
    path = in_tomograms(tmp_path, 2, 1)
    (tmp_path / "a.vll").write_text("a.mrc\nb.mrc\n")
    assert list(read_dynamo(path, ANY).tomogram) == ["b.mrc", "a.mrc"]


def test_both_lists_of_volumes_say_the_same(tmp_path):
    before = particles_at(np.ones((2, 3)), tomogram=["TS_07 (b)", "../../x_2"])
    write_dynamo(tmp_path / "a.tbl", before, ANY)
    assert {file.name for file in tmp_path.iterdir()} == {"a.tbl", "a.doc", "a.vll"}
    (tmp_path / "a.doc").unlink()
    assert list(read_dynamo(tmp_path / "a.tbl", ANY).tomogram) == ["TS_07 (b)", "../../x_2"]


def test_one_tomogram_without_a_name_needs_no_list(tmp_path):
    write_dynamo(tmp_path / "a.tbl", particles_at([[1, 2, 3]]), ANY)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tbl"]
    assert list(read_dynamo(tmp_path / "a.tbl", ANY).tomogram) == [""]


def test_damaged_map_of_tomograms_is_refused(tmp_path):
    path = in_tomograms(tmp_path, 1)
    (tmp_path / "a.doc").write_text("1 TS_01\nDear Sir,\n")
    with pytest.raises(ValueError, match=r"a\.doc beside the table has the line 'Dear Sir,'"):
        read_dynamo(path, ANY)


@pytest.mark.parametrize("name", ["a\nb", " a", "a\t"])
def test_names_that_no_line_can_hold_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot hold the tomogram name"):
        write_dynamo(tmp_path / "a.tbl", particles_at([[1, 2, 3]], tomogram=name), ANY)
    assert not list(tmp_path.iterdir())


# --- what is refused -------------------------------------------------------------------------


def test_other_suffixes_and_empty_lists_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"not a\.txt; call it a\.tbl"):
        write_dynamo(tmp_path / "a.txt", particles_at([[1, 2, 3]]), ANY)
    with pytest.raises(ValueError, match="there are 0 particles"):
        write_dynamo(tmp_path / "a.tbl", particles_at(np.zeros((0, 3))), ANY)
    assert not list(tmp_path.iterdir())


ROW = "1 1 1 0 0 0 0 0 0 0 0 0 1 -60 60 -60 60 0 0 1 1 0 0 10 20 30"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no Dynamo table"),
        ("1 2 3\n", r"has 3 columns; .* at least 26"),
        (ROW + "\n" + ROW + " 4\n", "is no Dynamo table"),
        (ROW + "\n" + ROW.rsplit(maxsplit=1)[0], "row 2 has no number in column z"),
        (ROW.replace("30", "thirty"), "row 1 has 'thirty' in column z"),
        (ROW.replace("30", "inf"), "row 1 has no number in column z"),
        (ROW.replace("0 0 1 1", "0 0 1.5 1"), "row 1 has the tomogram 1.5, which is no whole"),
        ("\0\1\2\3\xff" * 30, "has 1 columns|is no Dynamo table"),
    ],
)
def test_broken_tables_are_refused_in_one_sentence(tmp_path, text, says):
    path = tmp_path / "a.tbl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=says) as caught:
        read_dynamo(path, ANY)
    assert "\n" not in str(caught.value)


def test_recognised_by_its_numbers():
    assert DYNAMO.recognises(Head("a.txt", (ROW + "\n").encode()))
    assert DYNAMO.recognises(Head("a.tbl", (ROW + " 0 0+1.5i\n").encode()))
    assert not DYNAMO.recognises(Head("a.tbl", ROW.rsplit(maxsplit=1)[0].encode()))
    assert not DYNAMO.recognises(Head("a.tbl", ROW.replace("20", "x").encode()))
