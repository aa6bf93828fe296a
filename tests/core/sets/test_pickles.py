"""Pickles: not unasked, and never more than arrays."""

import codecs
import collections
import os
import pickle
import uuid

import numpy as np
import pytest

from napari_cryoshift.core.sets import read_set

SAID = {"voxel_size": 10.0, "dark": False}


def cubes(n=4, box=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, box, box, box)).astype(np.float32)


def pickled(path, held, protocol=4):
    path.write_bytes(pickle.dumps(held, protocol=protocol))
    return path


def trusted(path, **said):
    return read_set(path, trusted_pickle=True, **(SAID | said))


def same(subtomograms, volumes):
    """The arrays are in the order x, y, z."""
    axes = (1, 2, 3)
    turned = np.asarray(volumes, dtype=np.float64).transpose(0, 3, 2, 1)
    scaled = (turned - turned.mean(axes, keepdims=True)) / turned.std(axes, keepdims=True)
    np.testing.assert_allclose(subtomograms[:].numpy(), scaled, atol=1e-5)


# --- what the reference writes ----------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_boxes_by_uuid(tmp_path, protocol):
    volumes = cubes(3)
    number = uuid.uuid4() if protocol > 1 else "before protocol 2 a UUID takes more than a UUID"
    boxes = collections.OrderedDict(
        (str(uuid.uuid4()), {"center": np.array([1.5, 2, 3]), "id": number, "v": volume})
        for volume in [volumes[0], None, volumes[1], volumes[2]]
    )
    held = {"v_siz": np.array([4, 4, 4]), "vs": boxes, "count": np.int64(4)}
    read = trusted(pickled(tmp_path / "s.pickle", held, protocol))
    same(read, volumes)
    assert read.labels is None


def test_lists_by_class(tmp_path):
    volumes = cubes(4)
    held = {
        "5T2C_data": [None, *volumes[:3]],
        "1KP8_data": list(volumes[3:]),
        "5T2C_template": volumes[0],
    }
    read = trusted(pickled(tmp_path / "s.pickle", held))
    assert read.classes == ("1KP8", "5T2C")
    assert read.labels.tolist() == [1, 1, 1, 0]
    same(read, volumes)


@pytest.mark.parametrize("pair", [True, False])
def test_arrays_with_labels(tmp_path, pair):
    volumes, labels = cubes(3), np.array([3, 1, 3])
    held = (volumes, list(labels)) if pair else {"x": volumes, "y": labels}
    read = trusted(pickled(tmp_path / "s.pkl", held))
    same(read, volumes)
    assert read.classes == ("1", "3")
    assert read.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("wrap", [list, lambda boxes: dict(enumerate(boxes))])
def test_plain_lists(tmp_path, wrap):
    volumes = cubes(3)
    same(trusted(pickled(tmp_path / "s.pkl", wrap([{"v": v} for v in volumes]))), volumes)


def test_axes_can_be_said_otherwise(tmp_path):
    volumes = cubes(2)
    read = trusted(pickled(tmp_path / "s.pkl", volumes), axes="zyx")
    same(read, volumes.transpose(0, 3, 2, 1))


def test_as_python_2_pickled_it(tmp_path):
    """By hand: a Python 2 str is bytes to Python 3, and arrays came from numpy.core."""
    volumes = cubes(2)
    raw = pickle.dumps({"v": volumes}, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    (tmp_path / "s.pickle").write_bytes(raw)
    same(trusted(tmp_path / "s.pickle"), volumes)


# --- not unasked, and never more than arrays --------------------------------------------------


def test_a_pickle_is_not_opened_unasked(tmp_path):
    path = pickled(tmp_path / "s.pickle", cubes())
    with pytest.raises(ValueError, match=r"s\.pickle is a pickle, which can run any program; if"):
        read_set(path, **SAID)
    renamed = path.rename(tmp_path / "s.dat")
    with pytest.raises(ValueError, match=r"s\.dat is a pickle"):
        read_set(renamed, **SAID)


class Hostile:
    def __init__(self, call, *arguments):
        self.made = call, arguments

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("call", [os.system, eval, exec, getattr, __import__, os.mkdir])
def test_a_hostile_pickle_runs_nothing(tmp_path, call, protocol):
    mark = tmp_path / "mark"
    argument = {
        os.system: f"mkdir {mark}",
        eval: f"__import__('os').mkdir({str(mark)!r})",
        exec: f"import os; os.mkdir({str(mark)!r})",
        getattr: "x",
        __import__: "this",
        os.mkdir: str(mark),
    }[call]
    arguments = (argument, "upper") if call is getattr else (argument,)
    path = pickled(tmp_path / "s.pickle", {"vs": Hostile(call, *arguments)}, protocol)
    with pytest.raises(ValueError, match=r"asks to run [\w.]+, which no array needs; do not trust"):
        trusted(path)
    assert not mark.exists()


def test_attributes_of_what_is_allowed_are_not(tmp_path):
    """Protocol 4 can name an attribute of an attribute, such as ndarray.tofile."""
    path = pickled(tmp_path / "s.pickle", Hostile(np.ndarray.tofile, cubes(), "mark"))
    with pytest.raises(ValueError, match="asks to run"):
        trusted(path)


def test_codecs_other_than_that_of_bytes_are_refused(tmp_path):
    path = pickled(tmp_path / "s.pickle", Hostile(codecs.encode, "text", "rot13"))
    with pytest.raises(ValueError, match=r"no whole pickle .*rot13"):
        trusted(path)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ("text", "holds a str and no volumes in it; choose"),
        ([1, 2, 3], "holds a list and no volumes"),
        ([None, None], "holds a list and no volumes"),
        ({"vs": {"a": {"v": None}}}, "holds a list and no volumes"),
        ({"vs": {"a": {"id": 3}}}, "holds a list and no volumes"),
        ({"a": 1, "b": [2]}, "holds a, b and no volumes in it"),
        ([cubes()[0], cubes(box=5)[0]], "volumes of 4 × 4 × 4 and of 5 × 5 × 5 voxels"),
        ({"a": cubes(), "b": cubes(box=5)}, "volumes of 4 × 4 × 4 and of 5 × 5 × 5 voxels"),
        ({"a": [cubes()[0], cubes(box=5)[0]], "b": cubes()}, "volumes of 4 × 4 × 4 and of 5"),
        ({"x": cubes(4), "labels": [1, 2]}, "4 volumes but 2 labels"),
    ],
)
def test_pickles_that_are_no_set(tmp_path, held, sentence):
    with pytest.raises(ValueError, match=sentence):
        trusted(pickled(tmp_path / "s.pickle", held))


@pytest.mark.parametrize("cut", [3, 60, -5])
def test_a_pickle_cut_short(tmp_path, cut):
    path = pickled(tmp_path / "s.pickle", cubes())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="no whole pickle"):
        trusted(path)
