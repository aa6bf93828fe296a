import csv

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import (
    ListContext,
    outside,
    read_particles,
    same_tomogram,
    write_particles,
)
from napari_cryoshift.core.types import Particles

quick = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Spaces around a name do not count.
names = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12)
names = names.map(str.strip).filter(bool)
numbers = st.floats(-1e4, 1e4)


def table(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def some_particles(n=5, seed=0, **columns):
    rng = np.random.default_rng(seed)
    return Particles.at(rng.uniform(0, 50, size=(n, 3)), **columns)


# --- writing and reading back ----------------------------------------------------------------


@quick
@given(
    st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=8),
    st.lists(names, min_size=1, max_size=3, unique=True),
    st.randoms(use_true_random=False),
)
def test_round_trip_is_exact(tmp_path, positions, classes, random):
    n = len(positions)
    chances = np.array([[random.random() for _ in classes] for _ in range(n)])
    before = Particles.at(
        positions,
        id=random.sample(range(10**9), n),
        predicted=[random.choice([*classes, ""]) for _ in range(n)],
        confidence=[random.random() for _ in range(n)],
        score=[random.choice([random.gauss(0, 1), np.nan]) for _ in range(n)],
        probabilities=chances,
        classes=tuple(classes),
        orientations=Rotation.random(n, random_state=random.randrange(100)).as_matrix(),
    )
    said = write_particles(tmp_path / "a.csv", before, "csv")
    after = read_particles(tmp_path / "a.csv")
    assert said == []
    assert after.classes == before.classes
    for column in ("id", "predicted"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    for column in ("positions", "confidence", "score", "probabilities"):
        np.testing.assert_allclose(getattr(after, column), getattr(before, column), rtol=1e-12)
    np.testing.assert_allclose(after.orientations, before.orientations, atol=1e-12)
    assert set(after.source) == {"import"}


def test_a_class_name_may_be_full_of_other_separators(tmp_path):
    name = "a;b;c;d;e;f;g;h;i;j;k;l"
    chances = np.ones((1, 1))
    before = Particles.at([[1, 2, 3]], predicted=[name], probabilities=chances, classes=(name,))
    write_particles(tmp_path / "a.csv", before, "csv")
    after = read_particles(tmp_path / "a.csv")
    assert (list(after.predicted), after.classes) == ([name], (name,))


def test_spaces_and_capitals_of_people_do_not_matter(tmp_path):
    path = table(tmp_path, " X , Y , Z , Class , p_a b \r\n 1 , 2 , 3 , a b , 0.5 \r\n")
    particles = read_particles(path)
    np.testing.assert_array_equal(particles.positions, [[3, 2, 1]])
    assert list(particles.predicted) == ["a b"]
    assert particles.classes == ("a b",)


def test_columns_are_those_that_scripts_rely_on(tmp_path):
    particles = Particles.at(
        [[1.5, 2, 3]],
        id=[7],
        predicted=["a, b"],
        confidence=[0.75],
        score=[12.0],
        probabilities=np.array([[0.75, 0.25]]),
        classes=("a, b", "other"),
    )
    write_particles(tmp_path / "a.csv", particles, "csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["id", "x", "y", "z", "class", "confidence", "score", "p_a, b", "p_other"]
    assert row == ["7", "3.0", "2.0", "1.5", "a, b", "0.75", "12.0", "0.75", "0.25"]


def test_class_is_what_a_person_said_else_the_prediction(tmp_path):
    particles = some_particles(
        3,
        label=["ribosome", "", "ribosome"],
        predicted=["other", "other", "ribosome"],
        confidence=[0.9, 0.8, 0.7],
    )
    said = write_particles(tmp_path / "a.csv", particles, "csv")
    after = read_particles(tmp_path / "a.csv")
    assert list(after.predicted) == ["ribosome", "other", "ribosome"]
    # 0.9 was how sure the model was of "other", which the person denied.
    np.testing.assert_array_equal(after.confidence, [np.nan, 0.8, 0.7])
    assert any("which classes a person gave" in sentence for sentence in said)


def test_as_label_takes_classes_for_what_a_person_said(tmp_path):
    path = table(tmp_path, "x,y,z,class,confidence,p_a\n1,2,3,a,0.5,0.5\n")
    support = read_particles(path, as_label=True)
    assert list(support.label) == ["a"]
    assert list(support.predicted) == [""]
    assert np.isnan(support.confidence).all()
    assert support.probabilities is None


def test_angles_are_those_of_relion(tmp_path):
    # Rot turns about z first, so what pointed along x in the reference points against y.
    path = table(tmp_path, "x,y,z,Rot,Tilt,Psi\n1,2,3,90,0,0\n4,5,6,0,90,0\n")
    quarter, tilted = read_particles(path).orientations
    np.testing.assert_allclose(quarter @ [0, 1, 0], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(tilted @ [0, 0, 1], [-1, 0, 0], atol=1e-12)


def test_no_angles_are_no_orientations(tmp_path):
    assert read_particles(table(tmp_path, "x,y,z,rot\n1,2,3,90\n")).orientations is None


def test_what_a_table_cannot_hold_is_said(tmp_path):
    particles = some_particles(2, cluster=[0, 1], tomogram=["a", "b"])
    (said,) = write_particles(tmp_path / "a.csv", particles, "csv")
    assert "cluster" in said
    assert "score" not in said
    assert "tomogram" not in said
    assert list(read_particles(tmp_path / "a.csv").tomogram) == ["a", "b"]


def test_empty_table_can_be_written_but_holds_no_particles(tmp_path):
    write_particles(tmp_path / "a.csv", some_particles(0), "csv")
    with pytest.raises(ValueError, match="lists 0 particles"):
        read_particles(tmp_path / "a.csv")


# --- tables from elsewhere -------------------------------------------------------------------


def test_support_table_of_a_script(tmp_path):
    path = table(tmp_path, "x,y,z,class\n10,20,30,001\n1.5,2.5,3.5,NA\n")
    particles = read_particles(path, as_label=True)
    np.testing.assert_array_equal(particles.positions, [[30, 20, 10], [3.5, 2.5, 1.5]])
    assert list(particles.label) == ["001", "NA"]
    assert list(particles.id) == [0, 1]
    assert np.isnan(particles.score).all()


@pytest.mark.parametrize(
    "text",
    [
        "X;Y;Z\n1;2;3\n",
        "z\ty\tx\n3\t2\t1\n",
        "\ufeffx,y,z\r\n1,2,3\r\n",
        "x_voxel,y_voxel,z_voxel,x_A,y_A,z_A,label\n1,2,3,10,20,30,80S\n",
        "score,x,y,z\n,1,2,3\n",
    ],
)
def test_separators_cases_and_column_names(tmp_path, text):
    np.testing.assert_array_equal(read_particles(table(tmp_path, text)).positions, [[3, 2, 1]])


def test_label_column_is_a_class(tmp_path):
    path = table(tmp_path, "x_voxel,y_voxel,z_voxel,label\n1,2,3,80S_ribosome\n")
    assert list(read_particles(path, as_label=True).label) == ["80S_ribosome"]


def test_positions_in_angstrom_need_the_voxel_size(tmp_path):
    path = table(tmp_path, "x_A,y_A,z_A\n100,200,300\n")
    with pytest.raises(ValueError, match="positions in Å; give the voxel size"):
        read_particles(path)
    after = read_particles(path, context=ListContext(voxel_size=20.0))
    np.testing.assert_allclose(after.positions, [[15, 10, 5]])


def test_list_on_another_binning(tmp_path):
    path = table(tmp_path, "x,y,z\n100,200,300\n")
    context = ListContext(voxel_size=20.0, list_voxel_size=5.0)
    np.testing.assert_allclose(read_particles(path, context=context).positions, [[75, 50, 25]])


def test_rows_of_one_tomogram(tmp_path):
    path = table(tmp_path, "x,y,z,tomogram\n1,1,1,TS_01\n2,2,2,TS_02\n3,3,3,TS_01\n")
    assert list(read_particles(path, only="TS_01").positions[:, 0]) == [1, 3]
    assert list(read_particles(path, only="rec_TS_02.mrc").positions[:, 0]) == [2]
    with pytest.raises(ValueError, match=r"no particle in 'TS_3', its tomograms are TS_01, TS_02"):
        read_particles(path, only="TS_3")


def test_rows_without_a_tomogram_get_that_of_the_context(tmp_path):
    path = table(tmp_path, "x,y,z\n1,1,1\n")
    assert list(read_particles(path, context=ListContext(tomogram="T")).tomogram) == ["T"]


@pytest.mark.parametrize(
    "other", ["rec_TS_01.mrc", "TS_01.tomostar", "/data/TS_01.mrc.tomostar", "TS_01_10.00Apx.mrc"]
)
def test_names_of_one_tomogram(other):
    assert same_tomogram("TS_01", other)
    assert not same_tomogram("TS_010", other)


# --- broken lists ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x,y,z\n1,2,3\n1,two,3\n", r"row 2 has 'two' in column y, which is no number"),
        ("x,y,z\n1,2,\n", r"row 1 has no number in column z"),
        ("x,y,z\n1,2\n", r"row 1 has 2 cells, the header 3"),
        ("x,y,z\n10,5,20,1,30,2\n", r"row 1 has 6 cells, the header 3"),
        ("x,y,z,x\n1,2,3,4\n", r"names a column twice"),
        ("x,y,z,X\n1,2,3,4\n", r"names a column twice"),
        ("x,y,z\n1,2,nan\n", r"row 1 has no number in column z"),
        ("x,y,z\n1,2,inf\n", r"row 1 has no number in column z"),
        ("x,y,z,score\n1,2,3,high\n", r"'high' in column score"),
        ("id,x,y,z\n1,2,3,4\n1,5,6,7\n", r"id 1 2 times"),
        ("id,x,y,z\n1e300,2,3,4\n", r"row 1 has the id 1e\+300, which is no whole number"),
        ("x,y,z,rot,tilt,psi\n1,2,3,4,5,\n", r"row 1 has no number in column psi"),
        ("id,x,y,z\n1.5,2,3,4\n", r"row 1 has the id 1\.5, which is no whole number"),
        ("x,y,z\n", r"lists 0 particles"),
        ("x,y,class\n1,2,a\n", r"no particle list known here"),
        ("hello", r"no particle list known here"),
        ("", r"is empty"),
        (" \n\n", r"is empty"),
    ],
)
def test_broken_tables_are_refused_in_one_sentence(tmp_path, text, says):
    with pytest.raises(ValueError, match=says) as caught:
        read_particles(table(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_missing_columns_are_named(tmp_path):
    path = table(tmp_path, "x,y,class\n1,2,a\n")
    with pytest.raises(ValueError, match="has the columns x, y, class; a list needs x, y and z"):
        read_particles(path, "csv")


def test_other_encodings_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("x,y,z,class\n1,2,3,Ångström\n".encode("latin-1"))
    with pytest.raises(ValueError, match="save it as UTF-8"):
        read_particles(path)


def test_missing_file_and_unknown_format(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_particles(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"no list format 'excel'; choose from .*csv"):
        write_particles(tmp_path / "a.csv", some_particles(), "excel")


def test_list_in_other_units_is_refused(tmp_path):
    path = table(tmp_path, "x,y,z\n10,20,30\n1000,2000,300\n2000,2000,300\n")
    with pytest.raises(ValueError, match=r"2 of 3 particles .* outside .* of 60 × 50 × 40 voxels"):
        read_particles(path, context=ListContext(shape=(40, 50, 60)))
    # A single one may have been refined across the border.
    kept = read_particles(
        table(tmp_path, "x,y,z\n10,20,30\n60,20,30\n"), context=ListContext(shape=(40, 50, 60))
    )
    np.testing.assert_array_equal(outside(kept.positions, (40, 50, 60)), [False, True])


def test_a_voxel_reaches_half_a_voxel_around_its_centre():
    edge = np.array([[-0.5, 0, 0], [39.5, 49.5, 59.5], [-0.51, 0, 0], [0, 0, 59.51]])
    np.testing.assert_array_equal(outside(edge, (40, 50, 60)), [False, False, True, True])


@pytest.mark.parametrize(
    "wrong",
    [
        {"voxel_size": 0.0},
        {"list_voxel_size": -1.0},
        {"binning": 0.5},
        {"unbinned_shape": (100, 0, 100)},
    ],
)
def test_impossible_context_is_refused(wrong):
    with pytest.raises(ValueError, match="give"):
        ListContext(**wrong)
