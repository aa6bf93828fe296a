import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.eman2 import EMAN2
from napari_cryoshift.core.types import Particles

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=12)
names = names.filter(lambda name: not name.startswith("particles_"))


def context(**changes):
    return ListContext(**({"voxel_size": 10.0, "shape": (40, 51, 60), "binning": 4.0} | changes))


def info(tmp_path, **content):
    path = tmp_path / "TS_01_info.json"
    path.write_text(json.dumps(content))
    return path


@quick
@given(data=st.data())
def test_round_trip(tmp_path, data):
    draw = data.draw
    shape = draw(st.tuples(*[st.integers(2, 1500)] * 3))
    within = st.tuples(*[st.floats(0, side - 1) for side in shape])
    zyx = draw(st.lists(within, min_size=1, max_size=6))
    classes = [*draw(st.lists(names, min_size=1, max_size=3)), ""]
    before = Particles.at(
        zyx,
        predicted=[draw(st.sampled_from(classes)) for _ in zyx],
        score=[draw(st.sampled_from([np.nan, 0.0, 0.25, 3e-7, -1234.5])) for _ in zyx],
    )
    known = ListContext(
        voxel_size=draw(st.floats(0.5, 60)), shape=shape, binning=draw(st.floats(1, 16))
    )
    path = tmp_path / "a.json"
    path.unlink(missing_ok=True)
    EMAN2.writer(path, before, known)
    after = EMAN2.reader(path, known)
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    np.testing.assert_array_equal(after.score, before.score)
    np.testing.assert_array_equal(after.predicted, before.predicted)


def test_boxes_count_unbinned_pixels_from_the_centre(tmp_path):
    before = Particles.at([[20, 25, 30], [21, 25, 32]], label=["ribosome", ""], score=[0.5, np.nan])
    (said,) = EMAN2.writer(tmp_path / "a_info.json", before, context())
    assert "64 pixels" in said
    assert json.loads((tmp_path / "a_info.json").read_text()) == {
        "apix_unbin": 2.5,
        # 40, 51 and 60 voxels have their centre at 20, 25 and 30; a voxel is 4 pixels.
        "boxes_3d": [[0.0, 0.0, 0.0, "cryoshift", 0.5, 1], [8.0, 0.0, 4.0, "manual", 0.0, 0]],
        "class_list": {
            "0": {"name": "particles_00", "boxsize": 64},
            "1": {"name": "ribosome", "boxsize": 64},
        },
    }


def test_reads_what_the_boxer_writes(tmp_path):
    path = info(
        tmp_path,
        apix_unbin=2.5,
        boxes_3d=[[-8, 4.0, 6, "manual", 0.0, 0], [4, 0, -12, "tm", 0.75, 2]],
        class_list={"0": {"name": "ribosome", "boxsize": 128}, "2": {"name": "b", "boxsize": 64}},
        tlt_params=[[0, 0, 0, 0, 0]],
    )
    particles = EMAN2.reader(path, context())
    np.testing.assert_allclose(particles.positions, [[21.5, 26, 28], [17, 25, 31]])
    assert list(particles.predicted) == ["ribosome", "b"]
    np.testing.assert_array_equal(particles.score, [np.nan, 0.75])


def test_older_files_count_voxels_from_the_corner(tmp_path):
    path = info(tmp_path, boxes_3d=[[1, 2, 3], [4, 5, 6.5, "manual"]])
    particles = EMAN2.reader(path, ListContext())
    np.testing.assert_array_equal(particles.positions, [[3, 2, 1], [6.5, 5, 4]])
    # The one class there is has the name that EMAN2 gives by itself, so nobody named it.
    assert list(particles.predicted) == ["", ""]
    EMAN2.writer(path, Particles.at([[7, 8, 9]]), ListContext())
    written = json.loads(path.read_text())
    assert written["boxes_3d"][0][:3] == [9, 8, 7]
    assert "apix_unbin" not in written


def test_two_classes_without_names_stay_two(tmp_path):
    path = info(tmp_path, boxes_3d=[[1, 2, 3, "manual", 0, 0], [1, 2, 3, "manual", 0, 1]])
    assert list(EMAN2.reader(path, ListContext()).predicted) == ["particles_00", "particles_01"]


def test_what_else_an_info_file_holds_survives(tmp_path):
    before = {
        "ali_loss": [1.5, 2.5],
        "apix_unbin": 5.0,
        "boxes_3d": [[0, 0, 0, "manual", 0.0, 3]],
        "class_list": {"3": {"name": "ribosome", "boxsize": 144, "radius": 7}},
        "curves": [],
        "tlt_file": "tiltseries/TS_01.hdf",
    }
    path = info(tmp_path, **before)
    particles = Particles.at([[20, 25, 31], [20, 25, 29]], label=["ribosome", "b"], score=[1, 2])
    said = EMAN2.writer(path, particles, context())
    after = json.loads(path.read_text())
    # The pixels are those of the file, 5 Å, whatever the binning says.
    assert after.pop("boxes_3d") == [[2, 0, 0, "cryoshift", 1, 3], [-2, 0, 0, "cryoshift", 2, 0]]
    assert after.pop("class_list") == {
        "0": {"name": "b", "boxsize": 64},
        "3": {"name": "ribosome", "boxsize": 144, "radius": 7},
    }
    assert after == {key: before[key] for key in ("ali_loss", "apix_unbin", "curves", "tlt_file")}
    assert len(said) == 1
    again = EMAN2.reader(path, context())
    assert EMAN2.writer(path, again, context()) == []
    assert len(json.loads(path.read_text())["class_list"]) == 2


def test_a_file_that_is_no_info_file_is_not_written_over(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"a\.json is wrong"):
        EMAN2.writer(path, Particles.at([[1, 2, 3]]), context())
    assert path.read_text() == "[1, 2]"


def test_a_file_a_tomogram(tmp_path):
    particles = Particles.at(np.zeros((2, 3)), tomogram=["T1", "../../x"])
    said = write_particles(tmp_path / "a.json", particles, "eman2", context=context())
    assert len(list(tmp_path.iterdir())) == 2
    assert any("2 files" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"apix_unbin": 2.5}, "has no boxes_3d"),
        ({"boxes_3d": {}}, "boxes_3d .*array"),
        ({"boxes_3d": [[1, 2, 3], 7]}, "boxes_3d number 2 .*'7'"),
        ({"boxes_3d": [[1, 2, 3], [1, 2]]}, "boxes_3d number 2 number 3 .*required"),
        ({"boxes_3d": [[1, 2, 3], [1, "2", 3]]}, "boxes_3d number 2 number 2 .*'2'"),
        ({"boxes_3d": [[1, 2, float("nan")]]}, "boxes_3d number 1 number 3 .*finite"),
        ({"boxes_3d": [[1, 2, 3, "tm", "good", 0]]}, "boxes_3d number 1 number 5 .*'good'"),
        ({"boxes_3d": [[1, 2, 3]], "class_list": [1]}, "class_list"),
        ({"boxes_3d": [[1, 2, 3]], "class_list": {"0": {}}}, "class_list 0 name"),
        ({"boxes_3d": [[1, 2, 3]], "apix_unbin": "2.5"}, "apix_unbin .*'2.5'"),
        ({"boxes_3d": [[1, 2, 3]], "apix_unbin": 0}, "apix_unbin of 0 Å"),
    ],
)
def test_a_wrong_file_is_said_in_one_sentence(tmp_path, content, said):
    with pytest.raises(ValueError, match=rf"TS_01_info\.json.*{said}"):
        EMAN2.reader(info(tmp_path, **content), context())


@pytest.mark.parametrize("lacks", ["voxel_size", "shape"])
def test_centred_boxes_need_voxel_size_and_shape(tmp_path, lacks):
    path = info(tmp_path, apix_unbin=2.5, boxes_3d=[[1, 2, 3]])
    what = {"voxel_size": "voxel size", "shape": "size in voxels"}[lacks]
    with pytest.raises(ValueError, match=what):
        EMAN2.reader(path, context(**{lacks: None}))
    with pytest.raises(ValueError, match=what):
        EMAN2.writer(tmp_path / "new.json", Particles.at([[1, 2, 3]]), context(**{lacks: None}))
    assert not (tmp_path / "new.json").exists()


def test_recognised_by_what_it_holds():
    assert EMAN2.recognises(Head("x", b'{\n"apix_unbin":2.5,\n"boxes_3d":[]}'))
    assert not EMAN2.recognises(Head("x_info.json", b'{"pickable_object_name": "a"}'))
