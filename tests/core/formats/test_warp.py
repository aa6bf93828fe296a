import numpy as np
import pytest
import starfile
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import ListContext, guess_format, read_particles, write_particles
from napari_cryoshift.core.types import Particles

CORNER = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]


def star(tmp_path, columns, *rows, name=""):
    labels = "\n".join(f"_{label} #{number}" for number, label in enumerate(columns, 1))
    lines = "\n".join(" ".join(map(str, row)) for row in rows)
    path = tmp_path / "list.star"
    path.write_text(f"\ndata_{name}\n\nloop_\n{labels}\n{lines}\n\n")
    return path


def test_what_warptools_takes(tmp_path):
    """ts_export_particles needs these four columns; the micrograph is the tomostar's name."""
    path = tmp_path / "a.star"
    context = ListContext(voxel_size=10.0, tomogram="TS_01", list_voxel_size=5.0)
    said = write_particles(path, Particles.at([[3, 2, 1.5]]), "warp", context=context)
    row = starfile.read(path).iloc[0]
    # Å from the centre of the first pixel, over the size of a pixel.
    assert [row[label] * 5.0 for label in CORNER] == [15, 20, 30]
    assert row.rlnMicrographName == "TS_01.tomostar"
    assert row.rlnPixelSize == 5
    assert any("--coords_angpix 5 " in sentence for sentence in said)


def test_a_tilt_series_keeps_its_name(tmp_path):
    path = tmp_path / "a.star"
    write_particles(path, Particles.at([[3, 2, 1]], tomogram=["001.tomostar"]), "warp")
    assert starfile.read(path).rlnMicrographName[0] == "001.tomostar"
    assert list(read_particles(path).tomogram) == ["001"]


def test_what_warp_would_stop_at(tmp_path):
    """Star.cs: the columns begin after the first line with loop_, and rows end at spaces."""
    path = tmp_path / "a.star"
    before = Particles.at([[3, 2, 1]], predicted=["loop_x"], tomogram=["TS 01"])
    said = write_particles(path, before, "warp")
    lines = path.read_text().splitlines()
    assert [line for line in lines if "loop_" in line] == ["loop_"]
    assert any("'TS 01.tomostar'" in sentence for sentence in said)
    assert list(read_particles(path).predicted) == ["loop_x"]


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        (["rlnPixelSize"], [5.0]),
        (["rlnMagnification", "rlnDetectorPixelSize"], [10000.0, 5.0]),
        (["rlnImagePixelSize"], [5.0]),
    ],
)
def test_positions_in_pixels_that_the_list_states(tmp_path, columns, values):
    row = (30, 20, 10, "TS_01.tomostar", *values)
    path = star(tmp_path, [*CORNER, "rlnMicrographName", *columns], row)
    assert guess_format(path) == "warp"
    after = read_particles(path, context=ListContext(voxel_size=10.0))
    np.testing.assert_allclose(after.positions, [[5, 10, 15]])
    told = read_particles(path, context=ListContext(voxel_size=10.0, list_voxel_size=2.5))
    np.testing.assert_allclose(told.positions, [[2.5, 5, 7.5]])
    with pytest.raises(ValueError, match="counts in voxels of its own; give the voxel size"):
        read_particles(path)


def test_shifts_of_a_refined_list(tmp_path):
    shifts = ["rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst"]
    row = (30, 20, 10, "TS_01.tomostar", 5.0, 10.0, 20.0, -40.0)
    path = star(tmp_path, [*CORNER, "rlnMicrographName", "rlnPixelSize", *shifts], row)
    after = read_particles(path, context=ListContext(voxel_size=10.0))
    np.testing.assert_allclose(after.positions, [[9, 8, 14]])


def test_pixels_of_two_sizes_are_refused(tmp_path):
    columns = [*CORNER, "rlnMicrographName", "rlnPixelSize"]
    rows = [(3, 2, 1, "a.tomostar", 5.0), (3, 2, 1, "b.tomostar", 10.0)]
    with pytest.raises(ValueError, match="pixels of 5 to 10 Å; split it"):
        read_particles(star(tmp_path, columns, *rows), context=ListContext(voxel_size=10.0))


def test_first_pose_of_a_list_of_m(tmp_path):
    columns = [f"wrpCoordinate{axis}{pose}" for pose in (1, 2) for axis in "XYZ"]
    columns += ["wrpAngleRot1", "wrpAngleTilt1", "wrpAnglePsi1", "wrpRandomSubset"]
    columns += ["wrpSourceName", "wrpSourceHash"]
    row = (300, 200, 100, 310, 210, 110, 10, 20, 30, 1, "001.tomostar", "1E9AF3")
    path = star(tmp_path, columns, row)
    assert guess_format(path) == "warp"
    after = read_particles(path, context=ListContext(voxel_size=10.0))
    # M counts in Å.
    np.testing.assert_allclose(after.positions, [[10, 20, 30]])
    assert list(after.tomogram) == ["001"]
    turned = Rotation.from_euler("ZYZ", [10, 20, 30], degrees=True).inv().as_matrix()
    np.testing.assert_allclose(after.orientations[0], turned)


def test_normalised_lists_of_template_matching(tmp_path):
    rows = [(0, 0.5, 1, "TS_01.tomostar"), (1, 1, 0.25, "TS_01.tomostar")]
    path = star(tmp_path, [*CORNER, "rlnMicrographName"], *rows)
    with pytest.raises(ValueError, match=r"all 2 positions .* say that it is normalised"):
        read_particles(path, context=ListContext(voxel_size=10.0))
    # WarpTools takes (unbinned size - 1) unbinned pixels for 1.
    known = ListContext(voxel_size=10.0, binning=4, unbinned_shape=(161, 201, 241), normalised=True)
    after = read_particles(path, context=known)
    np.testing.assert_allclose(after.positions, [[40, 25, 0], [10, 50, 60]])
    with pytest.raises(ValueError, match="whose size is unknown; give the tomogram"):
        read_particles(path, context=ListContext(voxel_size=10.0, normalised=True))
