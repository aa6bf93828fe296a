import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.portal import PORTAL
from napari_cryoshift.core.types import Particles

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
POINT = '{"type": "point", "location": {"x": 1.5, "y": 2, "z": 3}}'
# A quarter turn about z: x goes to y.
ORIENTED = (
    '{"type": "orientedPoint", "location": {"x": 10.5, "y": 20.25, "z": 30}, '
    '"xyz_rotation_matrix": [[0, -1, 0], [1, 0, 0], [0, 0, 1]]}'
)


def listing(tmp_path, *lines, name="a.ndjson"):
    path = tmp_path / name
    path.write_text("\n".join(lines))
    return path


@quick
@given(
    st.lists(st.tuples(*[st.floats(-10, 4000)] * 3), min_size=1, max_size=6),
    st.booleans(),
    st.none() | st.floats(0.5, 60),
)
def test_round_trip(tmp_path, zyx, oriented, list_voxel_size):
    turns = Rotation.random(len(zyx), random_state=0).as_matrix() if oriented else None
    before = Particles.at(zyx, orientations=turns)
    context = ListContext(voxel_size=8.0, list_voxel_size=list_voxel_size)
    assert PORTAL.writer(tmp_path / "a.ndjson", before, context) == []
    after = PORTAL.reader(tmp_path / "a.ndjson", context)
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    if oriented:
        np.testing.assert_allclose(after.orientations, turns, atol=1e-9)
    else:
        assert after.orientations is None


def test_a_point_a_line(tmp_path):
    PORTAL.writer(tmp_path / "a.ndjson", Particles.at([[3, 2, 1.5], [6, 5, 4]]), ListContext())
    lines = (tmp_path / "a.ndjson").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"type": "point", "location": {"x": 1.5, "y": 2.0, "z": 3.0}},
        {"type": "point", "location": {"x": 4.0, "y": 5.0, "z": 6.0}},
    ]


def test_oriented_points(tmp_path):
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()[None]
    particles = Particles.at([[30, 20.25, 10.5]], orientations=turn)
    PORTAL.writer(tmp_path / "a.ndjson", particles, ListContext())
    written = json.loads((tmp_path / "a.ndjson").read_text())
    matrix = written["xyz_rotation_matrix"]
    np.testing.assert_allclose(matrix, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    assert written | {"xyz_rotation_matrix": None} == {
        "type": "orientedPoint",
        "location": {"x": 10.5, "y": 20.25, "z": 30.0},
        "xyz_rotation_matrix": None,
    }
    after = PORTAL.reader(listing(tmp_path, ORIENTED), ListContext())
    np.testing.assert_allclose(after.positions, particles.positions)
    np.testing.assert_allclose(after.orientations, turn, atol=1e-12)


def test_instance_points_and_blank_lines(tmp_path):
    instance = '{"type": "instancePoint", "location": {"x": 1, "y": 2, "z": 3}, "instance_id": 7}'
    particles = PORTAL.reader(listing(tmp_path, instance, "", instance, ""), ListContext())
    np.testing.assert_array_equal(particles.positions, [[3, 2, 1]] * 2)


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("cytosolic_ribosome-1.0_orientedpoint.ndjson", "cytosolic ribosome"),
        ("101-ferritin_complex-2.1_point.ndjson", "ferritin complex"),
        ("apo-ferritin-1.0_point.ndjson", "apo-ferritin"),
        ("picks.ndjson", ""),
    ],
)
def test_the_class_is_in_the_name_that_the_portal_gives(tmp_path, name, spoken):
    assert list(PORTAL.reader(listing(tmp_path, POINT, name=name), ListContext()).predicted) == [
        spoken
    ]


def test_lists_of_another_binning(tmp_path):
    context = ListContext(voxel_size=10.0, list_voxel_size=5.0)
    after = PORTAL.reader(listing(tmp_path, POINT), context)
    np.testing.assert_allclose(after.positions, [[1.5, 1, 0.75]])


def test_a_file_an_object(tmp_path):
    particles = Particles.at(np.zeros((2, 3)), label=["../../x", "b"])
    said = write_particles(tmp_path / "a.ndjson", particles, "portal")
    assert any("2 files" in sentence for sentence in said)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["[]"], "number 1 .*object"),
        ([POINT, "7"], "number 2 .*object"),
        ([POINT, POINT[:-5]], "line 2"),
        ([POINT, POINT.replace("2", '"2"')], "number 2 location y .*'2'"),
        ([POINT, POINT.replace("1.5", "NaN")], "number 2 location x .*finite"),
        ([POINT, POINT.replace("x", "X")], "number 2 location x .*required"),
        ([POINT.replace("point", "blob")], "number 1 type .*'blob'"),
        ([ORIENTED.replace("xyz_", "")], "point 1 is oriented but has no xyz_rotation_matrix"),
        ([ORIENTED.replace("-1", "1")], "particle 1 is no rotation"),
    ],
)
def test_a_wrong_record_is_named(tmp_path, lines, said):
    with pytest.raises(ValueError, match=rf"a\.ndjson.*{said}"):
        PORTAL.reader(listing(tmp_path, *lines), ListContext())


def test_recognised_by_its_first_line():
    assert PORTAL.recognises(Head("x", f"{POINT}\n{POINT}".encode()))
    assert PORTAL.recognises(Head("x", f"\ufeff\n{ORIENTED}".encode()))
    for other in (b'{"boxes_3d": []}', b'{"type": "Feature"}', b"x,y,z\n1,2,3", b""):
        assert not PORTAL.recognises(Head("x.ndjson", other))
