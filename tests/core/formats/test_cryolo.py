import numpy as np
import pytest
import starfile

from napari_cryoshift.core.formats import ListContext, guess_format, read_particles, write_particles
from napari_cryoshift.core.types import Particles

HEADER = """
data_global

_cbox_format_version   1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
"""


def cbox(tmp_path, *rows):
    path = tmp_path / "a.cbox"
    path.write_text(
        HEADER + "\n".join(rows) + "\n\ndata_cryolo_include\n\nloop_\n_slice_index #1\n"
    )
    return path


def test_boxes_have_their_corner_in_x_and_y_and_their_centre_in_z(tmp_path):
    path = cbox(tmp_path, "10 20 50 24 26 24 <NA> <NA> 0.75 <NA> <NA>")
    assert guess_format(path) == "cryolo"
    after = read_particles(path)
    np.testing.assert_array_equal(after.positions, [[50, 20 + 13, 10 + 12]])
    assert list(after.score) == [0.75]


def test_what_is_written(tmp_path):
    path = tmp_path / "a.cbox"
    context = ListContext(voxel_size=10.0, diameter=240.0)
    said = write_particles(path, Particles.at([[50, 33, 22]]), "cryolo", context=context)
    blocks = starfile.read(path, always_dict=True)
    assert list(blocks) == ["global", "cryolo", "cryolo_include"]
    row = blocks["cryolo"].iloc[0]
    assert (row.CoordinateX, row.CoordinateY, row.CoordinateZ) == (10, 21, 50)
    assert (row.Width, row.Height, row.Depth) == (24, 24, 24)
    assert list(blocks["cryolo_include"].slice_index) == [50]
    assert not said


def test_the_size_of_boxes_is_said_where_nobody_knows_it(tmp_path):
    path = tmp_path / "a.cbox"
    said = write_particles(path, Particles.at([[50, 33, 22]]), "cryolo")
    assert any("32 voxels a side; give a diameter" in sentence for sentence in said)
    with pytest.raises(ValueError, match="draws boxes; give the voxel size"):
        write_particles(
            path, Particles.at([[50, 33, 22]]), "cryolo", context=ListContext(diameter=200.0)
        )


def test_boxes_on_a_micrograph_are_refused(tmp_path):
    path = cbox(tmp_path, "10 20 <NA> 24 24 <NA> <NA> <NA> 0.75 <NA> <NA>")
    with pytest.raises(ValueError, match=r"in two dimensions, .*; choose the \.cbox of a tomogram"):
        read_particles(path)


def test_a_box_without_a_width_is_refused(tmp_path):
    path = cbox(tmp_path, "10 20 50 0 24 24 <NA> <NA> 0.75 <NA> <NA>")
    with pytest.raises(ValueError, match="row 1 has no positive number in column Width"):
        read_particles(path)
