import struct

import emfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.em_motl import EM_MOTL, read_em_motl, write_em_motl
from napari_cryoshift.core.types import Particles

ANY = ListContext()
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def particles_at(xyz, **columns):
    return Particles.at(np.asarray(xyz, dtype=float)[:, ::-1], **columns)


def motl(tmp_path, *rows, dtype=np.float32):
    """Write rows given as {number of the row, from 1: value}."""
    data = np.zeros((1, len(rows), 20), dtype=dtype)
    for particle, row in enumerate(rows):
        for number, value in row.items():
            data[0, particle, number - 1] = value
    path = tmp_path / "list.em"
    emfile.write(path, data, overwrite=True)
    return path


@quick
@given(data=st.data())
def test_round_trip(tmp_path, data):
    draw = data.draw
    zyx = draw(st.lists(st.tuples(*[st.floats(-50, 8190)] * 3), min_size=1, max_size=6))
    n = len(zyx)
    tomograms = ("TS 01", "002.mrc", "a.b")
    before = Particles.at(
        zyx,
        id=draw(st.lists(st.integers(1, 2**24), min_size=n, max_size=n, unique=True)),
        predicted=[draw(st.sampled_from(["", "class 1", "class 7"])) for _ in range(n)],
        score=[draw(st.sampled_from([0.25, 3e-7, -1234.5])) for _ in range(n)],
        tomogram=[draw(st.sampled_from(tomograms)) for _ in range(n)],
        orientations=Rotation.random(n, random_state=draw(st.integers(0, 99))).as_matrix(),
    )
    path = tmp_path / "a.em"
    context = ListContext(tomograms=tomograms)
    write_em_motl(path, before, context)
    after = read_em_motl(path, context)
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    np.testing.assert_allclose(after.orientations, before.orientations, atol=1e-5)
    np.testing.assert_allclose(after.score, before.score, rtol=1e-6)
    for column in ("id", "predicted", "tomogram"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))


def test_rows_as_emfile_reads_them(tmp_path):
    before = particles_at(
        [[1.5, 2, 3], [4, 5, 6]],
        id=[7, 9],
        predicted=["ribosome", "class 4"],
        score=[0.5, np.nan],
        tomogram=["TS_03", "TS_12"],
    )
    said = write_em_motl(tmp_path / "a.em", before, ANY)
    header, data = emfile.read(tmp_path / "a.em")
    assert (header["machine"], header["dtype"]) == (6, 5)
    assert data.shape == (1, 2, 20)
    assert data.dtype == np.float32
    expected = np.zeros((2, 20))
    expected[:, 0] = 0.5, 0  # row 1: score
    expected[:, 3] = 7, 9  # row 4: number of the particle
    expected[:, 4] = 3, 12  # row 5: number of the tomogram
    expected[:, 7:10] = [[2.5, 3, 4], [5, 6, 7]]  # rows 8 to 10: x y z from 1
    expected[:, 19] = 1, 4  # row 20: class
    np.testing.assert_array_equal(data[0], expected)
    assert "Classes are numbers in this list: 1 is ribosome." in said
    assert "Tomograms go by number: 'TS_03' is 3, 'TS_12' is 12." in said
    assert "No particle has an orientation: all angles are 0." in said


def turn(axis, degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    if axis == "x":
        return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def test_what_emfile_wrote(tmp_path):
    first = {1: 0.25, 4: 2807, 5: 51, 8: 11, 9: 21, 10: 31, 11: 0.5, 12: -1, 13: 2, 20: 1}
    angles = {17: 20, 18: -70, 19: 110}
    path = motl(tmp_path, first | angles, {1: np.nan, 4: 2808, 5: 681, 20: 0})
    particles = read_em_motl(path, ANY)
    np.testing.assert_array_equal(particles.positions, [[32, 19, 10.5], [-1, -1, -1]])
    # A reference is turned by phi about z, then theta about x, then psi about z (tom_rotate).
    by_hand = turn("z", -70) @ turn("x", 110) @ turn("z", 20)
    np.testing.assert_allclose(particles.orientations[0], by_hand, atol=1e-12)
    assert list(particles.id) == [2807, 2808]
    assert list(particles.tomogram) == ["51", "681"]
    assert list(particles.predicted) == ["class 1", ""]
    np.testing.assert_array_equal(particles.score, [0.25, np.nan])
    halved = ListContext(voxel_size=10.0, list_voxel_size=5.0)
    np.testing.assert_array_equal(read_em_motl(path, halved).positions[0], [16, 9.5, 5.25])


def test_angles_as_the_rows_have_them(tmp_path):
    by_hand = turn("z", -70) @ turn("x", 110) @ turn("z", 20)
    write_em_motl(tmp_path / "a.em", particles_at([[1, 2, 3]], orientations=by_hand[None]), ANY)
    _, data = emfile.read(tmp_path / "a.em")
    np.testing.assert_allclose(data[0, 0, 16:19], [20, -70, 110], atol=1e-4)


def test_other_machines_and_precisions(tmp_path):
    path = motl(tmp_path, {8: 1.5, 9: 2, 10: 3}, dtype=np.float64)
    np.testing.assert_array_equal(read_em_motl(path, ANY).positions, [[2, 1, 0.5]])
    values = np.zeros(20, dtype=">f4")
    values[7:10] = 5, 6, 7
    path.write_bytes(struct.pack(">4b3i496x", 0, 0, 0, 5, 20, 1, 1) + values.tobytes())
    np.testing.assert_array_equal(read_em_motl(path, ANY).positions, [[6, 5, 4]])


def test_recognised_by_its_header(tmp_path):
    data = motl(tmp_path, {8: 1}).read_bytes()
    assert EM_MOTL.recognises(Head("anything", data))
    assert not EM_MOTL.recognises(Head("list.em", data[:511]))
    volume = tmp_path / "volume.em"
    emfile.write(volume, np.zeros((20, 20, 20), dtype=np.float32))
    assert not EM_MOTL.recognises(Head("volume.em", volume.read_bytes()))
    with pytest.raises(ValueError, match=r"volume\.em is no EM file of 20 numbers a particle"):
        read_em_motl(volume, ANY)


def test_broken_files_are_refused(tmp_path):
    whole = motl(tmp_path, {8: 1}, {8: 2}).read_bytes()
    path = tmp_path / "a.em"
    for end in (0, 3, 511):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="is no EM file"):
            read_em_motl(path, ANY)
    for end in (512, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=f"has {end} bytes, its header promises 672"):
            read_em_motl(path, ANY)
    path.write_bytes(whole[:8] + struct.pack("<i", 10**9) + whole[12:])
    with pytest.raises(ValueError, match=r"cut short: .* promises 80000000512"):
        read_em_motl(path, ANY)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({9: np.nan}, "particle 1 has no number in row 9"),
        ({19: np.inf}, "particle 1 has no number in row 19"),
        ({5: 1.5}, "row 1 has the tomogram 1.5, which is no whole number"),
        ({4: 1e30}, r"row 1 has the number 1e\+30, which is no whole number"),
    ],
)
def test_numbers_that_are_none_are_refused(tmp_path, row, says):
    with pytest.raises(ValueError, match=says):
        read_em_motl(motl(tmp_path, row), ANY)


def test_what_32_bits_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "a.em"
    write_em_motl(path, particles_at([[1, 2, 3]], id=[2**24]), ANY)
    assert list(read_em_motl(path, ANY).id) == [2**24]
    with pytest.raises(ValueError, match="up to 16777216, but there is the tag 16777217"):
        write_em_motl(path, particles_at([[1, 2, 3]], id=[2**24 + 1]), ANY)
    with pytest.raises(ValueError, match="there are 0 particles"):
        write_em_motl(path, particles_at(np.zeros((0, 3))), ANY)
