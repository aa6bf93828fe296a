import mrcfile
import numpy as np
import pytest
import starfile

from napari_cryoshift.cli import main
from napari_cryoshift.core.formats import ListContext, read_particles, write_particles
from napari_cryoshift.core.types import Particles

FRAME = "--voxel-size 10 --binning 4 --unbinned-size 400 300 200"
CENTRED = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]


@pytest.fixture
def relion5(tmp_path):
    """A list by the rule of RELION's C++ programs."""
    path = tmp_path / "list.star"
    known = ListContext(voxel_size=10.0, binning=4.0, unbinned_shape=(200, 300, 400))
    write_particles(path, Particles.at([[10, 20, 30]], tomogram="T"), "relion5", context=known)
    return path


@pytest.mark.parametrize("command", ["convert {list} {out}/list.star", "export {list} --out {out}"])
def test_the_rule_of_the_written_list_is_not_that_of_the_one_that_is_read(
    relion5, tmp_path, command
):
    (tmp_path / "new").mkdir()
    words = command.format(list=relion5, out=tmp_path / "new")
    assert main(f"{words} --to relion5 --centre picker {FRAME}".split()) == 0
    given, written = (starfile.read(file) for file in (relion5, tmp_path / "new" / "list.star"))
    # An unbinned pixel is 2.5 Å, and the picker's centre is one pixel before RELION's.
    np.testing.assert_allclose(written[CENTRED] - given[CENTRED], 2.5)


def test_export_reads_lists_on_another_binning(tmp_path):
    (tmp_path / "list.csv").write_text("x,y,z\n30,20,10\n")
    words = f"export {tmp_path}/list.csv --to coords --out {tmp_path} --voxel-size 10"
    assert main([*words.split(), "--list-voxel-size", "5"]) == 0
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "list.coords"), [15, 10, 5])


def test_particles_outside_of_the_tomogram_are_counted(tmp_path, capsys):
    with mrcfile.new(tmp_path / "T.mrc") as file:
        file.set_data(np.zeros((40, 50, 60), np.float32))
        file.voxel_size = 10
    (tmp_path / "list.csv").write_text("x,y,z\n10,20,30\n30,20,10\n1000,20,30\n")
    words = f"convert {tmp_path}/list.csv {tmp_path}/out.csv --to csv --tomogram {tmp_path}/T.mrc"
    assert main(words.split()) == 0
    assert "1 of 3 particles lie outside the tomogram" in capsys.readouterr().out
    assert len(read_particles(tmp_path / "out.csv")) == 3
