from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.deepfinder import DEEPFINDER
from napari_cryoshift.core.types import Particles

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)


def listing(tmp_path, *objects):
    path = tmp_path / "a.xml"
    path.write_text(
        "<objlist>\n" + "".join(f"  <object {one}/>\n" for one in objects) + "</objlist>"
    )
    return path


def objects(path):
    """Read the attributes as DeepFinder does."""
    return [element.attrib for element in ElementTree.parse(path).getroot()]


@quick
@given(data=st.data())
def test_round_trip(tmp_path, data):
    draw = data.draw
    zyx = draw(st.lists(st.tuples(*[st.floats(-10, 4000)] * 3), min_size=1, max_size=6))
    n = len(zyx)
    classes = [*draw(st.lists(names, min_size=1, max_size=3)), "", "class 2", "-->", "--"]
    tomograms = ("TS 1.a", "007", "tomo-3")
    before = Particles.at(
        zyx,
        id=np.arange(n) * 7 + 3,
        predicted=[draw(st.sampled_from(classes)) for _ in range(n)],
        score=[draw(st.sampled_from([np.nan, 0, 250])) for _ in range(n)],
        tomogram=[draw(st.sampled_from(tomograms)) for _ in range(n)],
        orientations=Rotation.random(n, random_state=draw(st.integers(0, 99))).as_matrix(),
    )
    context = ListContext(
        voxel_size=8.0,
        list_voxel_size=draw(st.none() | st.floats(1, 60)),
        tomograms=tomograms,
    )
    DEEPFINDER.writer(tmp_path / "a.xml", before, context)
    after = DEEPFINDER.reader(tmp_path / "a.xml", context)
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    np.testing.assert_allclose(after.orientations, before.orientations, atol=1e-9)
    for column in ("id", "score", "predicted", "tomogram"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))


def test_reads_what_deepfinder_writes(tmp_path):
    path = listing(
        tmp_path,
        'tomo_idx="8" obj_id="5" class_label="7" x="182" y="143" z="39" '
        'psi="30" phi="40" the="50" cluster_size="120"',
        'tomo_idx="8" obj_id="6" class_label="0" x="1.5" y="2" z="3" psi="0" phi="0" the="90"',
    )
    particles = DEEPFINDER.reader(path, ListContext())
    np.testing.assert_array_equal(particles.positions, [[39, 143, 182], [3, 2, 1.5]])
    assert list(particles.predicted) == ["class 7", ""]
    np.testing.assert_array_equal(particles.score, [120, np.nan])
    assert list(particles.id) == [5, 6]
    assert list(particles.tomogram) == ["", ""]
    # The second is turned by 90° about x: y goes to z.
    np.testing.assert_allclose(particles.orientations[1] @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    # In the first, the reference's axis z is tilted by the, then turned about z by psi.
    tilted = np.array([0, -np.sin(np.radians(50)), np.cos(np.radians(50))])
    turned = Rotation.from_rotvec([0, 0, 30], degrees=True).apply(tilted)
    np.testing.assert_allclose(particles.orientations[0] @ [0, 0, 1], turned, atol=1e-12)


def test_only_position_and_class_are_needed(tmp_path):
    path = listing(tmp_path, 'class_label="1" x="1" y="2" z="3"')
    particles = DEEPFINDER.reader(path, ListContext())
    assert list(particles.predicted) == ["class 1"]
    assert particles.orientations is None
    assert list(particles.tomogram) == [""]


def test_classes_and_tomograms_get_numbers_and_a_sentence_says_which(tmp_path):
    particles = Particles.at(
        np.zeros((5, 3)),
        label=["ribosome", "", "", "b", ""],
        predicted=["", "class 1", "", "", "ribosome"],
        tomogram=["TS_03", "TS_03", "TS_03", "TS_07", "TS_07"],
    )
    said = DEEPFINDER.writer(tmp_path / "a.xml", particles, ListContext())
    written = objects(tmp_path / "a.xml")
    assert [one["class_label"] for one in written] == ["3", "1", "0", "2", "3"]
    assert [one["tomo_idx"] for one in written] == ["3", "3", "3", "7", "7"]
    assert "phi" not in written[0]
    assert any("3 is 'ribosome'" in sentence and "2 is 'b'" in sentence for sentence in said)
    assert any("7 is 'TS_07'" in sentence for sentence in said)


def test_a_list_of_tomograms_is_counted_from_0_as_deepfinder_does(tmp_path):
    context = ListContext(tomograms=("TS_03", "TS_07"))
    particles = Particles.at(np.zeros((2, 3)), tomogram=["TS_07", "TS_03"])
    DEEPFINDER.writer(tmp_path / "a.xml", particles, context)
    assert [one["tomo_idx"] for one in objects(tmp_path / "a.xml")] == ["1", "0"]
    after = DEEPFINDER.reader(tmp_path / "a.xml", context)
    assert list(after.tomogram) == ["TS_07", "TS_03"]


def test_lists_without_names_come_out_as_they_went_in(tmp_path):
    path = listing(
        tmp_path,
        'tomo_idx="2" obj_id="0" class_label="12" x="1.0" y="2.0" z="3.0" cluster_size="5"',
        'tomo_idx="9" obj_id="1" class_label="7" x="4.0" y="5.0" z="6.0" cluster_size="8"',
    )
    before = objects(path)
    particles = DEEPFINDER.reader(path, ListContext())
    DEEPFINDER.writer(path, particles, ListContext())
    assert objects(path) == before
    assert "<!--" not in path.read_text()


def test_scores_that_are_no_sizes_are_left_out_and_that_is_said(tmp_path):
    particles = Particles.at(np.zeros((2, 3)), score=[3, 0.5])
    said = DEEPFINDER.writer(tmp_path / "a.xml", particles, ListContext())
    assert any("scores were left out" in sentence for sentence in said)
    assert not any("cluster_size" in one for one in objects(tmp_path / "a.xml"))


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ('class_label="1" x="1" y="2"', "row 2 has no number in column z"),
        ('class_label="1" x="1" y="2" z="inf"', "row 2 has no number in column z"),
        ('class_label="1" x="1" y="two" z="3"', "row 2 has 'two' in column y"),
        ('x="1" y="2" z="3"', "row 2 has no number in column class_label"),
        ('class_label="1.5" x="1" y="2" z="3"', "row 2 has the class_label 1.5, which is no whole"),
        ('class_label="1e30" x="1" y="2" z="3"', "row 2 has the class_label 1e\\+30"),
    ],
)
def test_a_wrong_object_is_named(tmp_path, attributes, said):
    path = listing(tmp_path, 'class_label="1" x="1" y="2" z="3"', attributes)
    with pytest.raises(ValueError, match=rf"a\.xml.*{said}"):
        DEEPFINDER.reader(path, ListContext())


def test_a_damaged_class_name_is_said(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<!-- class 1 = "a\\" -->\n<objlist/>')
    with pytest.raises(ValueError, match="damaged line"):
        DEEPFINDER.reader(path, ListContext())


def test_entities_are_refused(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<!DOCTYPE a [<!ENTITY x "1">]><objlist><object x="&x;"/></objlist>')
    with pytest.raises(ValueError, match="declares a document type"):
        DEEPFINDER.reader(path, ListContext())


def test_recognised_by_what_it_holds(tmp_path):
    assert DEEPFINDER.recognises(Head("x", listing(tmp_path).read_bytes()))
    assert not DEEPFINDER.recognises(Head("x.xml", b"<ParticleList/>"))
