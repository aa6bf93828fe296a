import struct

import imodmodel
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imodmodel.models import (
    MINX,
    Contour,
    ImodModel,
    Mesh,
    ModelHeader,
    Object,
    ObjectHeader,
)

from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.formats.base import Head, ListContext
from napari_cryoshift.core.formats.imod import IMOD, read_imod, write_imod
from napari_cryoshift.core.types import Particles

ANY = ListContext()
ZERO, ONE = (0.0,) * 3, (1.0,) * 3
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text(
    st.characters(categories=("L", "N"), include_characters=" ._-+/"), min_size=1, max_size=15
)


def particles_at(xyz, **columns):
    return Particles.at(np.asarray(xyz, dtype=float)[:, ::-1], **columns)


def model_file(tmp_path, *objects, image=None, **header):
    """Write objects given as (name, contour, contour, …) the way other programs do."""
    made = [
        Object(
            header=ObjectHeader(name=name),
            contours=[Contour(points=np.array(points, dtype=float)) for points in contours],
        )
        for name, *contours in objects
    ]
    path = tmp_path / "model.mod"
    ImodModel(header=ModelHeader(**header), objects=made, minx=image).to_file(path)
    return path


def image_of(voxel_size, *, start=ZERO, origin=ZERO):
    return MINX(
        oscale=ONE, otrans=origin, orot=ZERO, cscale=(voxel_size,) * 3, ctrans=start, crot=ZERO
    )


@quick
@given(data=st.data())
def test_round_trip(tmp_path, data):
    draw = data.draw
    zyx = draw(st.lists(st.tuples(*[st.floats(-50, 8190)] * 3), min_size=1, max_size=6))
    classes = ["", *draw(st.lists(names, min_size=1, max_size=3))]
    spoken = sorted(draw(st.sampled_from(classes)) for _ in zyx)
    context = ListContext(voxel_size=10.0, list_voxel_size=draw(st.sampled_from([None, 12.5])))
    path = tmp_path / "a.mod"
    assert write_imod(path, Particles.at(zyx, predicted=spoken), context) == []
    after = read_imod(path, context)
    np.testing.assert_allclose(after.positions, np.array(zyx), atol=1e-3)
    np.testing.assert_array_equal(after.predicted, spoken)


def test_points_as_imodmodel_reads_them(tmp_path):
    before = particles_at([[0, 0, 0], [7, 8, 9], [4, 5, 6.5]], label=["b", "b", "a"])
    context = ListContext(shape=(40, 50, 60))
    write_imod(tmp_path / "a.mod", before, context)
    table = imodmodel.read(tmp_path / "a.mod")
    xyz = table[["x", "y", "z"]].to_numpy()
    # The centre of the first voxel is (0.5, 0.5, 0.0).
    np.testing.assert_array_equal(xyz, [[4.5, 5.5, 6.5], [0.5, 0.5, 0], [7.5, 8.5, 9]])
    assert list(table.object_id) == [0, 1, 1]
    model = ImodModel.from_file(tmp_path / "a.mod")
    assert (model.header.xmax, model.header.ymax, model.header.zmax) == (60, 50, 40)
    assert [one.header.name for one in model.objects] == ["a", "b"]
    assert model.objects[0].color != model.objects[1].color
    assert all(one.header.flags.scattered for one in model.objects)
    assert model.header.flags.z_coordinates_start_from_negative_half


def test_what_imodmodel_wrote(tmp_path):
    points = pd.DataFrame({"object_id": 0, "x": [0.5, 8.0], "y": [0.5, 4.0], "z": [0.0, 2.0]})
    imodmodel.write(points, tmp_path / "a.mod")
    particles = read_imod(tmp_path / "a.mod", ANY)
    np.testing.assert_array_equal(particles.positions, [[0, 0, 0], [2, 3.5, 7.5]])
    assert set(particles.predicted) == {""}


def test_a_file_for_each_tomogram(tmp_path):
    before = particles_at(
        np.ones((3, 3)), predicted=["a", "b", "b"], tomogram=["T1", "T1", "../T2"]
    )
    said = write_particles(tmp_path / "x.mod", before, "imod", context=ANY)
    assert "Written as 2 files: x_T2.mod, x_T1.mod." in said
    first, second = (ImodModel.from_file(tmp_path / f"x_T{k}.mod") for k in (1, 2))
    assert [one.header.name for one in first.objects] == ["a", "b"]
    assert [one.header.name for one in second.objects] == ["b"]


def test_class_names_that_no_object_can_have_are_refused(tmp_path):
    write_imod(tmp_path / "a.mod", particles_at([[1, 2, 3]], label="é" * 31), ANY)
    assert list(read_imod(tmp_path / "a.mod", ANY).predicted) == ["é" * 31]
    for name in ("é" * 32, "a\0b"):
        with pytest.raises(ValueError, match="an IMOD object cannot be called"):
            write_imod(tmp_path / "b.mod", particles_at([[1, 2, 3]], label=name), ANY)
    assert not (tmp_path / "b.mod").exists()


# --- models of other programs ----------------------------------------------------------------


def test_objects_and_contours(tmp_path):
    path = model_file(
        tmp_path, ("", [[1, 1, 1]]), ("empty",), ("tube", [[2, 2, 2], [3, 3, 3]], [[4, 4, 4]])
    )
    particles = read_imod(path, ANY)
    assert list(particles.positions[:, 0]) == [1, 2, 3, 4]
    assert list(particles.predicted) == ["", "tube", "tube", "tube"]


def test_objects_without_names_are_numbered(tmp_path):
    path = model_file(tmp_path, ("", [[1, 1, 1]]), ("",), ("", [[2, 2, 2]]))
    assert list(read_imod(path, ANY).predicted) == ["object 1", "object 3"]


def test_meshes_are_no_particles(tmp_path):
    mesh = Mesh(raw_vertices=np.arange(36.0), raw_indices=np.array([-25, 0, 2, 4, -22, -1]))
    one = Object(contours=[Contour(points=np.ones((1, 3)))], meshes=[mesh])
    ImodModel(objects=[one, Object(meshes=[mesh])]).to_file(tmp_path / "a.mod")
    assert len(read_imod(tmp_path / "a.mod", ANY)) == 1


def test_model_of_another_binning_is_scaled(tmp_path):
    drawn_on = {"xmax": 30, "ymax": 25, "zmax": 20}
    points = ("", [[10.5, 6.5, 4.0]])
    here = ListContext(voxel_size=10.0, shape=(40, 50, 60))
    path = model_file(tmp_path, points, image=image_of(20.0), **drawn_on)
    np.testing.assert_allclose(read_imod(path, here).positions, [[8, 12, 20]])
    # A person knows better; so does the size of the volume.
    known = ListContext(voxel_size=10.0, shape=(40, 50, 60), list_voxel_size=15.0)
    np.testing.assert_allclose(read_imod(path, known).positions, [[6, 9, 15]])
    same = ListContext(voxel_size=10.0, shape=(20, 25, 30))
    np.testing.assert_allclose(read_imod(path, same).positions, [[4, 6, 10]])
    with pytest.raises(ValueError, match="was made on another volume; give the voxel size"):
        read_imod(path, ListContext(shape=(40, 50, 60)))


@pytest.mark.parametrize("voxel_size", [1.0, 0.0, -5.0, np.nan, 10.1])
def test_voxel_sizes_that_say_nothing_scale_nothing(tmp_path, voxel_size):
    path = model_file(tmp_path, ("", [[10.5, 6.5, 4.0]]), image=image_of(voxel_size), xmax=30)
    here = ListContext(voxel_size=10.0, shape=(40, 50, 60))
    np.testing.assert_allclose(read_imod(path, here).positions, [[4, 6, 10]])


def test_model_of_a_part_of_a_volume(tmp_path):
    # To voxels of the whole, add (refoldtrans - refcurtrans) / refcurscale (IMOD's asciispec).
    image = image_of(2.0, start=(-20.0, -40.0, -60.0), origin=(0.0, 0.0, 0.0))
    path = model_file(tmp_path, ("", [[1.5, 1.5, 1.0]]), image=image, flags=1 << 14)
    np.testing.assert_allclose(read_imod(path, ANY).positions, [[31, 21, 11]])
    path = model_file(tmp_path, ("", [[1.5, 1.5, 1.0]]), image=image)
    np.testing.assert_allclose(read_imod(path, ANY).positions, [[1, 1, 1]])


def test_flipped_model_is_refused(tmp_path):
    path = model_file(tmp_path, ("", [[1, 2, 3]]), flags=1 << 16)
    with pytest.raises(ValueError, match=r"flipped or rotated, .* save it again"):
        read_imod(path, ANY)


# --- broken files ----------------------------------------------------------------------------


def test_every_cut_is_noticed(tmp_path):
    path = model_file(tmp_path, ("a", [[1, 2, 3]]), image=image_of(2.0))
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"is cut short|is no IMOD model"):
            read_imod(path, ANY)


@pytest.mark.parametrize("count", [-1, 2**31 - 1, 10**9])
def test_counts_that_a_file_cannot_hold_are_refused(tmp_path, count):
    path = model_file(tmp_path, ("a", [[1, 2, 3]]))
    whole = path.read_bytes()
    at = whole.index(b"CONT") + 4
    path.write_bytes(whole[:at] + struct.pack(">i", count) + whole[at + 4 :])
    with pytest.raises(ValueError, match="is cut short"):
        read_imod(path, ANY)


def test_other_damage(tmp_path):
    path = model_file(tmp_path, ("a", [[1, np.nan, 3]]))
    with pytest.raises(ValueError, match="a point that is no number"):
        read_imod(path, ANY)
    path = model_file(tmp_path, ("a", [[1, 2, 3]]))
    path.write_bytes(path.read_bytes().replace(b"a\0", b"\xff\0", 1))
    assert len(read_imod(path, ANY)) == 1
    whole = path.read_bytes()
    path.write_bytes(whole[:240] + whole[whole.index(b"CONT") :])
    assert len(read_imod(path, ANY)) == 0


def test_signalling_nan_is_refused_without_a_warning(tmp_path):
    path = model_file(tmp_path, ("a", [[1, 2, 3]]))
    one = struct.pack(">f", 1)
    path.write_bytes(path.read_bytes().replace(one + struct.pack(">f", 2), b"\x7f\xa0\0\0" + one))
    with pytest.raises(ValueError, match="a point that is no number"):
        read_imod(path, ANY)


def test_recognised_by_its_first_bytes(tmp_path):
    assert IMOD.recognises(Head("anything", model_file(tmp_path, ("a",)).read_bytes()))
    assert not IMOD.recognises(Head("a.mod", b"IMOD is a package"))
