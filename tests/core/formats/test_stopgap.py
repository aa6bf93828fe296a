import numpy as np
import pytest
import starfile
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import ListContext, read_particles, write_particles
from napari_cryoshift.core.types import Particles

FIELDS = ["motl_idx", "tomo_num", "object", "subtomo_num", "halfset", "orig_x", "orig_y", "orig_z"]
FIELDS += ["score", "x_shift", "y_shift", "z_shift", "phi", "psi", "the", "class"]
"""Of sg_get_motl_fields.m, in its order: STOPGAP refuses any other."""


def some_particles():
    return Particles.at(
        [[3, 2, 1.5], [6, 5, 4.25], [9, 8, 7]],
        id=[4, 2, 9],
        predicted=["b", "", "a b"],
        score=[0.5, np.nan, 1],
        tomogram=["TS_07", "TS_03", "TS_07"],
        orientations=Rotation.random(3, random_state=0).as_matrix(),
    )


def test_a_file_that_its_reader_takes(tmp_path):
    """sg_motl_read2.m: bare labels, and nothing but numbers and a letter below an empty line."""
    path = tmp_path / "a.star"
    write_particles(path, some_particles(), "stopgap")
    lines = path.read_text().splitlines()
    assert [line[1:] for line in lines if line.startswith("_")] == FIELDS
    assert [line for line in lines if line.startswith("data_")] == ["data_stopgap_motivelist"]
    last = max(k for k, line in enumerate(lines) if line.startswith("_"))
    assert lines[last + 1] == ""
    assert len(lines[last + 2 :]) == 3
    assert all(len(line.split()) == len(FIELDS) for line in lines[last + 2 :])


def test_positions_count_from_one_and_are_whole_with_a_shift(tmp_path):
    """extract_parse_subtomo_positions.m: the centre of the box has the MATLAB index floor(orig)."""
    path = tmp_path / "a.star"
    write_particles(path, some_particles(), "stopgap")
    table = starfile.read(path)
    place = table[["orig_x", "orig_y", "orig_z"]].to_numpy()
    shift = table[["x_shift", "y_shift", "z_shift"]].to_numpy()
    assert place.dtype == np.int64
    assert np.abs(shift).max() <= 0.5
    np.testing.assert_allclose(place + shift, [[2.5, 3, 4], [5.25, 6, 7], [8, 9, 10]])


def test_angles_are_those_of_the_tom_toolbox(tmp_path):
    path = tmp_path / "a.star"
    before = some_particles()
    write_particles(path, before, "stopgap")
    for row, matrix in zip(starfile.read(path).itertuples(), before.orientations, strict=True):
        # Active: about z by phi, then about x by theta, then about z by psi.
        turn = Rotation.from_euler("z", row.psi, degrees=True)
        turn = turn * Rotation.from_euler("x", row.the, degrees=True)
        turn = turn * Rotation.from_euler("z", row.phi, degrees=True)
        np.testing.assert_allclose(turn.as_matrix(), matrix, atol=1e-8)


def test_numbers_of_tomograms(tmp_path):
    path = tmp_path / "a.star"
    said = write_particles(path, some_particles(), "stopgap")
    assert list(starfile.read(path).tomo_num) == [7, 3, 7]
    assert any("'TS_07' is 7" in sentence for sentence in said)
    assert list(read_particles(path).tomogram) == ["7", "3", "7"]
    known = ListContext(tomograms=("a", "b", "TS_03", "d", "e", "f", "TS_07"))
    after = read_particles(path, context=known)
    assert list(after.tomogram) == ["TS_07", "TS_03", "TS_07"]
    assert (list(after.id), list(after.predicted)) == ([4, 2, 9], ["b", "", "a b"])


def test_a_tomogram_without_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'TS_03' is none of the 1 that are numbered"):
        write_particles(
            tmp_path / "a.star",
            some_particles(),
            "stopgap",
            context=ListContext(tomograms=("TS_07",)),
        )
    assert not list(tmp_path.iterdir())


def test_a_list_of_its_own(tmp_path):
    path = tmp_path / "a.star"
    labels = "\n".join(f"_{field}" for field in FIELDS)
    path.write_text(
        f"\ndata_stopgap_motivelist\n\nloop_\n{labels}\n\n"
        " 1  1  1  1  A  11  21  31   0.0000   0.5000  -0.5000   0.0000   0.0 0.0 0.0  1\n"
        " 2  1  1  1  B  12  22  32   0.0000   0.0000   0.0000   0.0000   0.0 0.0 0.0  2\n\n"
    )
    after = read_particles(path)
    np.testing.assert_allclose(after.positions, [[30, 19.5, 10.5], [31, 21, 11]])
    # The number of a subtomogram appears twice, so it is no id; nothing was scored or turned yet.
    assert list(after.id) == [0, 1]
    assert list(after.predicted) == ["class 1", "class 2"]
    assert np.isnan(after.score).all()
    assert after.orientations is None


def test_another_star_file_is_refused(tmp_path):
    path = tmp_path / "a.star"
    path.write_text("data_\n\nloop_\n_rlnCoordinateX #1\n1\n\n")
    with pytest.raises(ValueError, match="has no data_stopgap_motivelist with orig_x"):
        read_particles(path, "stopgap")
