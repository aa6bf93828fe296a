import mrcfile
import numpy as np
import pytest
from napari.layers import Layer

from napari_cryoshift.widgets.reader import get_reader


def write(path, data, voxel_size=10.0):
    with mrcfile.new(path) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = voxel_size
    return str(path)


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(6, 40, 50)).astype(np.float32)


def test_layer_lies_in_angstrom_and_keeps_the_tomogram(tmp_path, noise):
    path = write(tmp_path / "TS_01.rec", noise, 13.5)
    (data,) = get_reader(path)(path)
    layer = Layer.create(*data)
    assert layer.name == "TS_01"
    np.testing.assert_allclose(layer.scale, 13.5)
    assert [str(unit) for unit in layer.units] == ["angstrom"] * 3
    assert layer.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(layer.data_to_world((1, 2, 3)), (13.5, 27, 40.5))
    tomogram = layer.metadata["tomogram"]
    assert tomogram.voxel_size == pytest.approx(13.5)
    assert layer.metadata["voxel_size_known"]
    np.testing.assert_array_equal(layer.data, noise)


def test_values_stay_on_disk(tmp_path, noise):
    path = write(tmp_path / "a.mrc", noise)
    ((data, options, kind),) = get_reader(path)(path)
    assert kind == "image"
    assert isinstance(data, np.memmap)
    layer = Layer.create(data, options, kind)
    assert isinstance(layer.data, np.memmap)


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
def test_contrast_comes_from_the_central_section_alone(tmp_path, noise):
    noise[0] = 1000
    noise[3, 0, 0] = np.nan
    path = write(tmp_path / "a.mrc", noise)
    ((_, options, _),) = get_reader(path)(path)
    low, high = options["contrast_limits"]
    assert low == pytest.approx(np.nanpercentile(noise[3], 1))
    assert high == pytest.approx(np.nanpercentile(noise[3], 99))


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
@pytest.mark.parametrize("value", [3.0, np.nan])
def test_blank_section_still_gets_a_contrast(tmp_path, noise, value):
    noise[3] = value
    path = write(tmp_path / "a.mrc", noise)
    ((_, options, _),) = get_reader(path)(path)
    low, high = options["contrast_limits"]
    assert low < high


def test_unknown_voxel_size_is_shown_in_pixels(tmp_path, noise):
    path = write(tmp_path / "a.mrc", noise, 0.0)
    (data,) = get_reader(path)(path)
    layer = Layer.create(*data)
    np.testing.assert_array_equal(layer.scale, 1)
    assert [str(unit) for unit in layer.units] == ["pixel"] * 3
    assert not layer.metadata["voxel_size_known"]
    assert any("voxel size 0" in caveat for caveat in layer.metadata["tomogram"].caveats)


def test_several_files_become_several_layers(tmp_path, noise):
    paths = [write(tmp_path / f"{name}.mrc", noise) for name in "ab"]
    assert [options["name"] for _, options, _ in get_reader(paths)(paths)] == ["a", "b"]


@pytest.mark.parametrize("name", ["a.mrc", "a.REC", "a.map.gz", "a.ccp4", "a.st", "a.em"])
def test_volumes_are_accepted_by_suffix(name):
    assert get_reader(name) is not None


@pytest.mark.parametrize("name", ["a.tif", "a.gz", "a.star", "mrc", ["a.mrc", "b.tif"]])
def test_other_files_are_left_to_other_readers(name):
    assert get_reader(name) is None


def test_broken_file_says_what_is_wrong(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(b"no header")
    with pytest.raises(ValueError, match=r"a\.mrc is no tomogram"):
        get_reader(str(path))(str(path))
