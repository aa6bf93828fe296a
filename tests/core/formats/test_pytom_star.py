import numpy as np
import pytest
import starfile

from napari_cryoshift.core.formats import ListContext, guess_format, read_particles, write_particles
from napari_cryoshift.core.types import Particles

HEADER = """
data_particles

loop_
_rln{x}X{unit} #1
_rln{x}Y{unit} #2
_rln{x}Z{unit} #3
_rlnAngleRot #4
_rlnAngleTilt #5
_rlnAnglePsi #6
_rlnLCCmax #7
_rlnCutOff #8
_rlnSearchStd #9
_rln{pixel} #10
_rln{tomogram} #11
"""
VOXELS = {"x": "Coordinate", "unit": "", "pixel": "DetectorPixelSize", "tomogram": "MicrographName"}
CENTRED = {
    "x": "CenteredCoordinate",
    "unit": "Angst",
    "pixel": "TomoTiltSeriesPixelSize",
    "tomogram": "TomoName",
}
"""What pytom_extract_candidates.py writes, without and with --relion5-compat."""


def candidates(tmp_path, columns, *rows):
    path = tmp_path / "list.star"
    lines = "\n".join("\t".join(map(str, row)) for row in rows)
    path.write_text(f"{HEADER.format(**columns)}{lines}\n\n")
    return path


def test_candidates_in_voxels(tmp_path):
    path = candidates(tmp_path, VOXELS, (48, 27, 10, 0, 0, 0, 0.25, 0.1, 0.01, 14.0, "rec_001"))
    assert guess_format(path) == "pytom_star"
    after = read_particles(path)
    np.testing.assert_array_equal(after.positions, [[10, 27, 48]])
    assert (list(after.score), list(after.tomogram)) == ([0.25], ["001"])


@pytest.mark.parametrize(("voxel_size", "scale"), [(14.1, 1.0), (13.9, 1.0), (7.0, 2.0)])
def test_candidates_of_a_search_on_another_binning(tmp_path, voxel_size, scale):
    path = candidates(tmp_path, VOXELS, (48, 27, 10, 0, 0, 0, 0.25, 0.1, 0.01, 14.0, "T"))
    after = read_particles(path, context=ListContext(voxel_size=voxel_size))
    np.testing.assert_allclose(after.positions, np.array([[10, 27, 48]]) * scale)


def test_candidates_for_relion5(tmp_path):
    path = candidates(tmp_path, CENTRED, (-14, 28, 7, 0, 0, 0, 0.25, 0.1, 0.01, 14.0, "001"))
    assert guess_format(path) == "pytom_star"
    # extract.py: (index - dims / 2) × voxel size, of the tomogram that was searched.
    context = ListContext(voxel_size=14.0, shape=(41, 50, 60), binning=4)
    after = read_particles(path, context=context)
    np.testing.assert_allclose(after.positions, [[0.5 + 20.5, 2 + 25, -1 + 30]])
    # Later versions: dims × binning / 2 - 1 unbinned pixels.
    picker = ListContext(voxel_size=14.0, shape=(41, 50, 60), binning=4, centre="picker")
    moved = read_particles(path, context=picker)
    np.testing.assert_allclose(after.positions - moved.positions, np.full((1, 3), 0.25))


def test_what_is_written(tmp_path):
    context = ListContext(voxel_size=14.0, tomogram="T")
    before = Particles.at([[3, 2, 1], [6, 5, 4]], score=[0.25, np.nan])
    write_particles(tmp_path / "a.star", before, "pytom_star", context=context)
    table = starfile.read(tmp_path / "a.star")
    assert list(table.rlnLCCmax) == [0.25, -999]
    assert list(table.rlnCoordinateX) == [1, 4]
    assert set(table.rlnDetectorPixelSize) == {14.0}
    after = read_particles(tmp_path / "a.star")
    np.testing.assert_array_equal(after.score, before.score)


def test_voxels_of_two_sizes_are_refused(tmp_path):
    rows = [(4, 2, 1, 0, 0, 0, 0.2, 0.1, 0.01, size, "T") for size in (14.0, 7.0)]
    with pytest.raises(ValueError, match="voxels of 7 to 14 Å; split it"):
        read_particles(candidates(tmp_path, VOXELS, *rows), context=ListContext(voxel_size=14.0))
