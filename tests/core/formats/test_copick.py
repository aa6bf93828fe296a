import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.copick import COPICK
from napari_cryoshift.core.types import Particles

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=12)
EYE = np.eye(4).tolist()


def context(**changes):
    return ListContext(**({"voxel_size": 10.0, "tomogram": "TS_01"} | changes))


def picks(tmp_path, *points, **changes):
    """Make a file as copick 1.31 writes it."""
    path = tmp_path / "tool_0_ribosome.json"
    usual = {
        "pickable_object_name": "ribosome",
        "user_id": "tool",
        "session_id": "0",
        "run_name": "TS_01",
        "voxel_spacing": 10.0,
        "unit": "angstrom",
        "points": list(points),
        "trust_orientation": True,
    }
    path.write_text(json.dumps(usual | changes, indent=4))
    return path


def point(x, y, z, **more):
    location = {"location": {"x": x, "y": y, "z": z}}
    return location | {"transformation_": EYE, "instance_id": 0, "score": 1.0} | more


def moved(x, y, z, rotation=None):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    if rotation is not None:
        matrix[:3, :3] = rotation
    return matrix.tolist()


@quick
@given(data=st.data())
def test_round_trip(tmp_path, data):
    draw = data.draw
    zyx = draw(st.lists(st.tuples(*[st.floats(-10, 4000)] * 3), min_size=1, max_size=6))
    n = len(zyx)
    before = Particles.at(
        zyx,
        predicted=draw(names | st.just("")),
        score=[draw(st.sampled_from([np.nan, 0.25, 3e-7, -1234.5])) for _ in range(n)],
        tomogram=draw(names),
        orientations=Rotation.random(n, random_state=draw(st.integers(0, 99))).as_matrix(),
    )
    known = context(voxel_size=draw(st.floats(0.5, 60)))
    COPICK.writer(tmp_path / "a.json", before, known)
    after = COPICK.reader(tmp_path / "a.json", known)
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    np.testing.assert_allclose(after.orientations, before.orientations, atol=1e-9)
    np.testing.assert_array_equal(after.score, before.score)
    np.testing.assert_array_equal(after.predicted, before.predicted)
    np.testing.assert_array_equal(after.tomogram, before.tomogram)


def test_the_file_is_as_copick_wants_it(tmp_path):
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    particles = Particles.at(
        [[3, 2, 1.5]], label="80S_ribosome a", score=0.5, orientations=turn[None]
    )
    said = write_particles(tmp_path / "a.json", particles, "copick", context=context())
    written = json.loads((tmp_path / "a.json").read_text())
    (written_point,) = written.pop("points")
    assert written == {
        "pickable_object_name": "80S-ribosome-a",
        "class_name": "80S_ribosome a",
        "user_id": "cryoshift",
        "session_id": "0",
        "run_name": "TS_01",
        "voxel_spacing": 10.0,
        "unit": "angstrom",
        "trust_orientation": True,
    }
    assert written_point["location"] == {"x": 15.0, "y": 20.0, "z": 30.0}
    # A quarter turn about z brings x to y.
    expected = [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(written_point["transformation_"], expected, atol=1e-12)
    assert type(written_point["instance_id"]) is int
    assert written_point["score"] == 0.5
    assert any("'80S-ribosome-a'" in sentence for sentence in said)


def test_no_orientation_is_the_identity_and_not_to_be_trusted(tmp_path):
    COPICK.writer(tmp_path / "a.json", Particles.at([[1, 2, 3]], predicted="a"), context())
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["trust_orientation"] is False
    assert written["points"][0]["transformation_"] == EYE
    assert COPICK.reader(tmp_path / "a.json", context()).orientations is None


def test_no_score_is_null_not_nan(tmp_path):
    COPICK.writer(tmp_path / "a.json", Particles.at([[1, 2, 3]], score=np.nan), context())
    assert '"score": null' in (tmp_path / "a.json").read_text()


def test_a_file_for_each_class_of_each_tomogram(tmp_path):
    particles = Particles.at(
        np.arange(9).reshape(3, 3), predicted=["../../x", "b", "b"], tomogram=["T1", "T1", "T2"]
    )
    said = write_particles(tmp_path / "a.json", particles, "copick", context=context())
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert not (tmp_path.parent.parent / "x.json").exists()
    read = [COPICK.reader(file, context()) for file in files]
    assert {(one.tomogram[0], one.predicted[0]) for one in read} == {
        ("T1", "../../x"),
        ("T1", "b"),
        ("T2", "b"),
    }
    assert any("3 files" in sentence for sentence in said)


def test_positions_are_angstrom_of_whatever_tomogram_is_open(tmp_path):
    path = picks(tmp_path, point(187.2, 20, 30, score=0.75))
    particles = COPICK.reader(path, context(voxel_size=5.0))
    np.testing.assert_allclose(particles.positions, [[6, 4, 37.44]])
    assert list(particles.predicted) == ["ribosome"]
    assert list(particles.tomogram) == ["TS_01"]
    assert list(particles.score) == [0.75]
    # With no tomogram open, the file's own spacing of 10 Å counts.
    np.testing.assert_allclose(COPICK.reader(path, ListContext()).positions, [[3, 2, 18.72]])


def test_translations_are_added(tmp_path):
    path = picks(tmp_path, point(100, 200, 300, transformation_=moved(5, -5, 10)))
    np.testing.assert_allclose(COPICK.reader(path, context()).positions, [[31, 19.5, 10.5]])


def test_translations_that_repeat_the_location_are_not(tmp_path):
    turn = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    path = picks(tmp_path, point(100, 200, 300, transformation_=moved(100, 200, 300, turn)))
    particles = COPICK.reader(path, context())
    np.testing.assert_allclose(particles.positions, [[30, 20, 10]])
    np.testing.assert_allclose(particles.orientations, [turn])


def test_orientations_are_read_only_if_they_are_known(tmp_path):
    turned = point(1, 2, 3, transformation_=moved(0, 0, 0, Rotation.random().as_matrix()))
    assert COPICK.reader(picks(tmp_path, turned), context()).orientations is not None
    untrusted = picks(tmp_path, turned, trust_orientation=False)
    assert COPICK.reader(untrusted, context()).orientations is None
    assert COPICK.reader(picks(tmp_path, point(1, 2, 3)), context()).orientations is None


def test_what_may_be_missing(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"pickable_object_name": "a", "points": [{"location": {"x":1,"y":2,"z":3}}]}')
    particles = COPICK.reader(path, context())
    np.testing.assert_allclose(particles.positions, [[0.3, 0.2, 0.1]])
    assert np.isnan(particles.score).all()
    with pytest.raises(ValueError, match=r"a\.json gives positions in Å; give the voxel size"):
        COPICK.reader(path, ListContext())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a.json is wrong"),
        ("[1, 2]", "should be an object"),
        ("[" * 100_000, "recursion limit"),
        ('{"points": []}', "pickable_object_name .*required"),
        ('{"pickable_object_name": "a", "points": {}}', "points .*array"),
    ],
)
def test_another_shape_is_said_in_one_sentence(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        COPICK.reader(path, context())
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("value", ["12", None, True, float("nan"), float("inf"), [1], {}])
def test_a_coordinate_that_is_no_number_is_named_with_its_record(tmp_path, value):
    path = picks(tmp_path, point(1, 2, 3), point(1, value, 3), point(value, 2, 3))
    with pytest.raises(ValueError, match=r"ribosome\.json.*points number 2 location y"):
        COPICK.reader(path, context())


@pytest.mark.parametrize("matrix", [np.diag([2, 1, 1]), np.diag([1, 1, -1]), np.zeros((3, 3))])
def test_what_is_no_rotation_is_refused(tmp_path, matrix):
    path = picks(tmp_path, point(1, 2, 3), point(1, 2, 3, transformation_=moved(0, 0, 0, matrix)))
    with pytest.raises(ValueError, match="particle 2 is no rotation"):
        COPICK.reader(path, context())


def test_other_units_are_refused(tmp_path):
    with pytest.raises(ValueError, match="counts in 'voxel'"):
        COPICK.reader(picks(tmp_path, point(1, 2, 3), unit="voxel"), context())


def test_recognised_by_what_it_holds(tmp_path):
    assert COPICK.recognises(Head("x", picks(tmp_path).read_bytes()))
    assert not COPICK.recognises(Head("x.json", b'{"boxes_3d": []}'))
