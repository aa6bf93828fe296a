import mrcfile
import numpy as np
import pytest
from napari.layers import Layer
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import FORMATS, ListContext, write_particles, written_files
from napari_cryoshift.core.types import Particles
from napari_cryoshift.widgets.reader import get_reader, read_lists


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


# --- particle lists ---


@pytest.fixture
def listed(tmp_path):
    """Twenty oriented particles in a tomogram of 10 Å, and a function that writes them."""
    rng = np.random.default_rng(1)
    particles = Particles.at(
        rng.uniform(0, (39, 99, 119), (20, 3)),
        predicted=np.resize(np.array(["ribosome", "proteasome"], dtype=object), 20),
        score=rng.uniform(size=20),
        tomogram="TS_01",
        orientations=Rotation.random(20, random_state=2).as_matrix(),
    )
    context = ListContext(voxel_size=10.0, shape=(40, 100, 120), tomogram="TS_01")

    def written(name):
        path = tmp_path / f"list{FORMATS[name].suffix}"
        write_particles(path, particles, name, context=context)
        return str(next(iter(written_files(path, particles, name, context=context))))

    return particles, written


def test_lists_are_accepted_by_what_they_hold(listed, tmp_path):
    _, written = listed
    for name in FORMATS:
        path = written(name)
        assert get_reader(path) is read_lists, name
    volume = write(tmp_path / "a.mrc", np.zeros((2, 3, 4), np.float32))
    assert get_reader([path, volume]) is None
    for file, text in (("a.json", "{}"), ("a.csv", "index,axis-0\n0,1\n"), ("a.xml", "<a/>")):
        (tmp_path / file).write_text(text)
        assert get_reader(str(tmp_path / file)) is None


def test_a_list_becomes_points_in_voxels_that_keep_all_it_says(listed):
    particles, written = listed
    (data,) = read_lists(written("csv"))
    layer = Layer.create(*data)
    np.testing.assert_allclose(layer.data, particles.positions)
    assert [str(unit) for unit in layer.units] == ["pixel"] * 3  # nobody knows their size
    assert list(layer.features["class"]) == list(particles.predicted)
    np.testing.assert_allclose(layer.features["score"], particles.score)
    assert len(layer.metadata["particles"]) == 20


def test_a_list_lies_on_the_tomogram_that_is_open(make_napari_viewer, listed, tmp_path):
    particles, written = listed
    viewer = make_napari_viewer()
    noise = np.random.default_rng(0).normal(size=(40, 100, 120)).astype(np.float32)
    viewer.open(write(tmp_path / "TS_01.mrc", noise), plugin="napari-cryoshift")
    (layer,) = viewer.open(written("relion5"), plugin="napari-cryoshift")
    np.testing.assert_allclose(layer.data, particles.positions, atol=1e-3)
    np.testing.assert_allclose(layer.scale, 10)
    assert [str(unit) for unit in layer.units] == ["angstrom"] * 3


def test_a_list_that_needs_a_tomogram_says_so(listed):
    _, written = listed
    path = written("relion5")
    with pytest.raises(ValueError, match="give the voxel size of the tomogram"):
        read_lists(path)


def test_a_list_of_several_tomograms_needs_one_of_them(listed, tmp_path):
    particles, _ = listed
    names = np.resize(np.array(["a", "b"], dtype=object), 20)
    write_particles(tmp_path / "two.csv", particles.replace(tomogram=names), "csv")
    with pytest.raises(ValueError, match=r"two\.csv covers 2 tomograms \(a, b.*; open one"):
        read_lists(str(tmp_path / "two.csv"))
