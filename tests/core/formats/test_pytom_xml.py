import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.pytom_xml import PYTOM
from napari_cryoshift.core.types import Particles

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in ("0", "None"))

# As PyTom 1.0 writes a particle, with a shift.
PARTICLE = """  <Particle Filename="./Subtomograms/particle_{number}.em">
    <Rotation Z1="{z1}" Z2="{z2}" X="{x}" Paradigm="ZXZ"/>
    <Shift X="0.5" Y="-1.0" Z="2.0"/>
    <PickPosition X="10.0" Y="20.0" Z="30.0" Origin="tomo1.mrc" Binning="1" RefMarkIndex="1"/>
    <Wedge Type="SingleTiltWedge">
      <SingleTiltWedge Angle1="30.0" Angle2="30.0" CutoffRadius="50.0" Smooth="0.0">
        <TiltAxisRotation Z1="0.0" Z2="0.0" X="0.0"/>
      </SingleTiltWedge>
    </Wedge>
    <InfoGUI ProjectDir=""/>
    <Score Type="FLCFScore" Value="0.25" RemoveAutocorr="False">
      <PeakPrior Filename="" Radius="0.0" Smooth="-1.0"/>
    </Score>
    <Class Name="{name}"/>
  </Particle>
"""


def about(axis, degrees):
    """Return the textbook matrix that turns vectors about x or z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(
        {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis]
    )


def listing(tmp_path, *particles):
    path = tmp_path / "a.xml"
    body = "".join(particles)
    path.write_text(f"<!-- PyTom Version: 1.0 -->\n<ParticleList>\n{body}</ParticleList>")
    return path


def particle(number=0, z1=0.0, z2=0.0, x=0.0, name="0"):
    return PARTICLE.format(number=number, z1=z1, z2=z2, x=x, name=name)


@quick
@given(data=st.data())
def test_round_trip(tmp_path, data):
    draw = data.draw
    zyx = draw(st.lists(st.tuples(*[st.floats(-10, 4000)] * 3), min_size=1, max_size=6))
    n = len(zyx)
    classes = [*draw(st.lists(names, min_size=1, max_size=3)), ""]
    before = Particles.at(
        zyx,
        id=np.arange(n) * 7 + 3,
        predicted=[draw(st.sampled_from(classes)) for _ in range(n)],
        score=[draw(st.sampled_from([np.nan, 0.25, 3e-7, -1234.5])) for _ in range(n)],
        tomogram=draw(names),
        orientations=Rotation.random(n, random_state=draw(st.integers(0, 99))).as_matrix(),
    )
    context = ListContext(voxel_size=8.0, list_voxel_size=draw(st.none() | st.floats(1, 60)))
    assert PYTOM.writer(tmp_path / "a.xml", before, context) == []
    after = PYTOM.reader(tmp_path / "a.xml", context)
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    np.testing.assert_allclose(after.orientations, before.orientations, atol=1e-9)
    for column in ("id", "score", "predicted", "tomogram"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))


def test_reads_what_pytom_writes(tmp_path):
    path = listing(tmp_path, particle(4, 20, 40, 30, "b"), particle(9, 20, 40, 30, "0"))
    particles = PYTOM.reader(path, ListContext())
    # The shift is added.
    np.testing.assert_array_equal(particles.positions, [[32, 19, 10.5]] * 2)
    assert list(particles.predicted) == ["b", "0"]
    assert list(particles.score) == [0.25, 0.25]
    assert list(particles.tomogram) == ["tomo1.mrc"] * 2
    assert list(particles.id) == [4, 9]
    # zxzToMat in PyTom's angles/angleFnc.py: Z2 after X after Z1.
    expected = about("z", 40) @ about("x", 30) @ about("z", 20)
    np.testing.assert_allclose(particles.orientations, [expected] * 2, atol=1e-12)


def test_angles_are_written_under_the_names_that_pytom_reads(tmp_path):
    turn = about("z", 40) @ about("x", 30) @ about("z", 20)
    particles = Particles.at(
        [[3, 2, 1]], predicted="b", score=0.5, tomogram="TS_01", orientations=turn[None]
    )
    PYTOM.writer(tmp_path / "a.xml", particles, ListContext())
    (written,) = ElementTree.parse(tmp_path / "a.xml").getroot()
    rotation = written.find("Rotation").attrib
    assert rotation.pop("Paradigm") == "ZXZ"
    assert {name: float(value) for name, value in rotation.items()} == pytest.approx(
        {"Z1": 20, "Z2": 40, "X": 30}
    )
    assert written.find("PickPosition").attrib == {
        "X": "1.0",
        "Y": "2.0",
        "Z": "3.0",
        "Origin": "TS_01",
    }
    assert written.find("Score").get("Value") == "0.5"
    assert written.find("Class").get("Name") == "b"


def test_no_orientation_is_written_as_zero_and_said(tmp_path):
    (said,) = PYTOM.writer(tmp_path / "a.xml", Particles.at([[1, 2, 3]]), ListContext())
    assert "all angles are 0" in said
    assert PYTOM.reader(tmp_path / "a.xml", ListContext()).orientations is None


def test_the_identity_may_be_one_of_the_orientations(tmp_path):
    turns = np.stack([np.eye(3), about("z", 30)])
    PYTOM.writer(
        tmp_path / "a.xml", Particles.at(np.zeros((2, 3)), orientations=turns), ListContext()
    )
    after = PYTOM.reader(tmp_path / "a.xml", ListContext())
    np.testing.assert_allclose(after.orientations, turns, atol=1e-12)


def test_class_0_alone_is_none(tmp_path):
    path = listing(tmp_path, particle(0), particle(0))
    particles = PYTOM.reader(path, ListContext())
    assert list(particles.predicted) == ["", ""]
    assert list(particles.id) == [0, 1]


@pytest.mark.parametrize("where", ["tomogram", "predicted"])
def test_names_that_no_xml_file_can_hold_are_refused(tmp_path, where):
    with pytest.raises(ValueError, match=r"cannot hold the (tomogram name|class) 'a\\x00b'"):
        PYTOM.writer(
            tmp_path / "a.xml", Particles.at([[1, 2, 3]], **{where: "a\0b"}), ListContext()
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('Z="30.0"', 'Z="abc"', "row 2 has 'abc' in column PickPosition Z"),
        ('Z="30.0"', 'Z="nan"', "row 2 has no number in column PickPosition Z"),
        ('Z="30.0"', "", "row 2 has no number in column PickPosition Z"),
        ('Value="0.25"', 'Value="good"', "row 2 has 'good' in column Score Value"),
        ('"ZXZ"', '"ZYZ"', "paradigm 'ZYZ'"),
        ("</Particle>", "", "no regular XML"),
    ],
)
def test_a_wrong_particle_is_named(tmp_path, old, new, said):
    path = listing(tmp_path, particle(), particle().replace(old, new))
    with pytest.raises(ValueError, match=rf"a\.xml.*{said}"):
        PYTOM.reader(path, ListContext())


LAUGHS = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'<!DOCTYPE a [<!ENTITY l0 "lol">{LAUGHS}]><ParticleList>&l9;</ParticleList>', "declares"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><ParticleList/>', "declares"),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ParticleList>&x;</ParticleList>',
            "declares",
        ),
        ("", "no regular XML"),
        ("<ParticleList>" + "<a>" * 100_000, "no regular XML"),
        ('<?xml version="1.0" encoding="klingon"?><ParticleList/>', "klingon"),
        ("<objlist/>", "around <objlist>, not <ParticleList>"),
    ],
)
def test_what_is_no_list_or_no_safe_one_is_refused(tmp_path, text, said):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"a\.xml.*{re.escape(said)}"):
        PYTOM.reader(path, ListContext())


def test_an_empty_list(tmp_path):
    PYTOM.writer(tmp_path / "a.xml", Particles.at([]), ListContext())
    assert len(PYTOM.reader(tmp_path / "a.xml", ListContext())) == 0


def test_recognised_by_what_it_holds(tmp_path):
    assert PYTOM.recognises(Head("x", listing(tmp_path).read_bytes()))
    assert not PYTOM.recognises(Head("x.xml", b"<objlist/>"))
