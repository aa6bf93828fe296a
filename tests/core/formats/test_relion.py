import re

import numpy as np
import pytest
import starfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import ListContext, guess_format, read_particles, write_particles
from napari_cryoshift.core.types import Particles, Tomogram

RELION = ["relion3", "relion4", "relion5"]

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text(
    st.characters(categories=("L", "N"), include_characters=" ._-+/"), min_size=1, max_size=12
).filter(lambda name: name.lower() != "nan")


def particles_at(xyz, **columns):
    return Particles.at(np.asarray(xyz, dtype=float)[:, ::-1], **columns)


def context(**changes):
    usual = {"voxel_size": 10.0, "shape": (40, 50, 60), "tomogram": "TS_01", "binning": 4.0}
    return ListContext(**(usual | changes))


def star(tmp_path, columns, rows, *, name="particles", before="", after=""):
    labels = "\n".join(f"_{label} #{number}" for number, label in enumerate(columns, 1))
    lines = "\n".join(" ".join(str(value) for value in row) for row in rows)
    path = tmp_path / "list.star"
    path.write_text(f"{before}\ndata_{name}\n\nloop_\n{labels}\n{lines}\n\n{after}")
    return path


def tomograms_star(tmp_path, *rows):
    columns = ["rlnTomoName", "rlnTomoTiltSeriesPixelSize", *(f"rlnTomoSize{x}" for x in "XYZ")]
    made = star(tmp_path, columns, rows, name="global")
    return made.rename(tmp_path / "tomograms.star")


def first_block(path):
    """Read as RELION's import does: the first block, whatever its name."""
    return next(iter(starfile.read(path, always_dict=True).values()))


# --- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize("name", RELION)
@quick
@given(data=st.data())
def test_round_trip(tmp_path, name, data):
    draw = data.draw
    shape = draw(st.tuples(*[st.integers(2, 1500)] * 3))
    within = st.tuples(*[st.floats(0, side - 1) for side in shape])
    zyx = draw(st.lists(within, min_size=1, max_size=6))
    classes = draw(st.lists(names, min_size=1, max_size=3))
    n = len(zyx)
    before = Particles.at(
        zyx,
        id=np.arange(n) * 7 + 3,
        predicted=[draw(st.sampled_from([*classes, ""])) for _ in range(n)],
        score=[draw(st.sampled_from([np.nan, 0.25, 3e-7, -1234.5])) for _ in range(n)],
        tomogram=draw(names),
        orientations=Rotation.random(n, random_state=draw(st.integers(0, 99))).as_matrix(),
    )
    context = ListContext(
        voxel_size=draw(st.floats(0.5, 60)),
        shape=shape,
        binning=draw(st.floats(1, 16)),
        unbinned_shape=draw(st.none() | st.tuples(*[st.integers(100, 9999)] * 3)),
        centre=draw(st.sampled_from(["relion", "picker"])),
    )
    path = tmp_path / "a.star"
    write_particles(path, before, name, context=context)
    after = read_particles(path, context=context)
    assert guess_format(path) == name
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-3)
    np.testing.assert_allclose(after.orientations, before.orientations, atol=1e-6)
    np.testing.assert_allclose(after.score, before.score, rtol=1e-9)
    np.testing.assert_array_equal(after.predicted, before.predicted)
    np.testing.assert_array_equal(after.tomogram, before.tomogram)
    if name != "relion3":
        np.testing.assert_array_equal(after.id, before.id)


@pytest.mark.parametrize("name", RELION)
@pytest.mark.parametrize("tomogram", ["001", "data_01", "_x", "1e5", " a b ", "TS.01"])
def test_names_that_look_like_something_else(tmp_path, name, tomogram):
    before = particles_at([[1, 2, 3]], tomogram=tomogram, predicted=['a "data_particles" # 1'])
    write_particles(tmp_path / "a.star", before, name, context=context())
    after = read_particles(tmp_path / "a.star", context=context())
    assert list(after.tomogram) == [tomogram]
    assert list(after.predicted) == ['a "data_particles" # 1']
    if name == "relion5":
        listing = starfile.read(tmp_path / "a_import.star", parse_as_string=["rlnTomoName"])
        assert list(listing.rlnTomoName) == [tomogram]


@pytest.mark.parametrize("name", RELION)
@pytest.mark.parametrize("tomogram", ["it's", 'a"b', "a#b", "a\nb", "nan"])
def test_names_that_no_star_file_can_hold_are_refused(tmp_path, name, tomogram):
    with pytest.raises(ValueError, match="cannot hold the tomogram name"):
        write_particles(
            tmp_path / "a.star",
            particles_at([[1, 2, 3]], tomogram=tomogram),
            name,
            context=context(tomogram=""),
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", RELION)
def test_no_orientation_is_written_as_zero_and_said(tmp_path, name):
    path = tmp_path / "a.star"
    said = write_particles(path, particles_at([[1, 2, 3]]), name, context=context())
    assert any("all angles are 0" in sentence for sentence in said)
    table = first_block(path)
    assert not table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy().any()
    assert read_particles(path, context=context()).orientations is None


@pytest.mark.parametrize("name", RELION)
def test_empty_list_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="0 particles"):
        write_particles(tmp_path / "a.star", Particles.at([]), name, context=context())


# --- what the numbers are --------------------------------------------------------------------


def test_relion3_counts_in_voxels(tmp_path):
    path = tmp_path / "a.star"
    before = particles_at([[1.5, 2, 3]], predicted=["b"], score=[0.5])
    said = write_particles(path, before, "relion3", context=context())
    table = starfile.read(path)
    assert len(table) == 1
    row = table.iloc[0]
    assert (row.rlnCoordinateX, row.rlnCoordinateY, row.rlnCoordinateZ) == (1.5, 2, 3)
    assert row.rlnMicrographName == "TS_01"
    assert row.rlnClassNumber == 1
    assert row.rlnAutopickFigureOfMerit == 0.5
    assert not any("spaces" in sentence for sentence in said)
    said = write_particles(path, before, "relion3", context=context(tomogram="TS 01"))
    assert any("spaces" in sentence for sentence in said)


def test_relion3_in_voxels_of_another_size(tmp_path):
    path = tmp_path / "a.star"
    wide = context(list_voxel_size=2.5)
    write_particles(path, particles_at([[1, 2, 3]]), "relion3", context=wide)
    assert starfile.read(path).rlnCoordinateX[0] == 4
    after = read_particles(path, context=wide)
    np.testing.assert_allclose(after.positions, [[3, 2, 1]])


def test_relion4_counts_in_unbinned_pixels_and_is_read_by_its_import(tmp_path):
    path = tmp_path / "a.star"
    write_particles(path, particles_at([[1.5, 2, 3]], id=[12]), "relion4", context=context())
    blocks = starfile.read(path)
    # relion_tomo_import_particles takes the first block of a file for the particles.
    assert list(blocks) == ["particles", "optics"]
    row = blocks["particles"].iloc[0]
    assert (row.rlnCoordinateX, row.rlnCoordinateY, row.rlnCoordinateZ) == (6, 8, 12)
    assert row.rlnTomoParticleName == "TS_01/12"
    assert blocks["optics"].rlnTomoTiltSeriesPixelSize[0] == 2.5
    assert row.rlnOpticsGroup == blocks["optics"].rlnOpticsGroup[0]


def test_relion5_counts_in_angstrom_from_half_the_unbinned_size(tmp_path):
    path = tmp_path / "a.star"
    before = particles_at([[0, 2, 3]])
    write_particles(path, before, "relion5", context=context(unbinned_shape=(161, 200, 241)))
    table = first_block(path)
    # (index × 4 pixels - size / 2) × 2.5 Å
    assert table.rlnCenteredCoordinateXAngst[0] == (0 - 120.5) * 2.5
    assert table.rlnCenteredCoordinateYAngst[0] == (8 - 100) * 2.5
    assert table.rlnCenteredCoordinateZAngst[0] == (12 - 80.5) * 2.5

    picker = context(unbinned_shape=(161, 200, 241), centre="picker")
    write_particles(path, before, "relion5", context=picker)
    assert first_block(path).rlnCenteredCoordinateXAngst[0] == (0 - 119.5) * 2.5


def test_relion5_takes_sizes_from_tomograms_star(tmp_path):
    known = tomograms_star(tmp_path, ("TS_01", 1.25, 481, 400, 320), ("TS_02", 2.0, 99, 99, 99))
    before = particles_at([[1, 2, 3], [1, 2, 3]], tomogram=["TS_01", "TS_02"])
    path = tmp_path / "sub" / "a.star"
    path.parent.mkdir()
    given = ListContext(voxel_size=10.0, tomograms_star=known)
    said = write_particles(path, before, "relion5", context=given)
    table = first_block(path)
    np.testing.assert_allclose(
        table.rlnCenteredCoordinateXAngst, [10 - 240.5 * 1.25, 10 - 49.5 * 2.0]
    )
    assert not any("unbinned size" in sentence for sentence in said)
    # The optimisation set leads back to the same file.
    after = read_particles(path.with_name("a_optimisation_set.star"), context=context())
    np.testing.assert_allclose(after.positions, before.positions)


def test_guessed_unbinned_size_is_said(tmp_path):
    said = write_particles(
        tmp_path / "a.star", particles_at([[1, 2, 3]]), "relion5", context=context()
    )
    assert any("TS_01 was taken as 240 × 200 × 160 pixels" in sentence for sentence in said)
    known = context(unbinned_shape=(160, 200, 240))
    said = write_particles(tmp_path / "a.star", particles_at([[1, 2, 3]]), "relion5", context=known)
    assert not any("was taken as" in sentence for sentence in said)


def test_relion5_import_file_names_a_file_for_each_tomogram(tmp_path):
    before = particles_at(
        [[1, 2, 3], [4, 5, 6], [7, 8, 9]], tomogram=["002", "001", "002"], predicted=["a", "b", "c"]
    )
    write_particles(tmp_path / "all.star", before, "relion5", context=context())
    listing = starfile.read(tmp_path / "all_import.star", parse_as_string=["rlnTomoName"])
    assert set(listing.rlnTomoName) == {"001", "002"}
    for file, name in zip(listing.rlnTomoImportParticleFile, listing.rlnTomoName, strict=True):
        block = starfile.read(file, parse_as_string=["rlnTomoName"])
        assert set(block.rlnTomoName) == {name}
        after = read_particles(file, context=context())
        same = before.take(before.tomogram == name)
        np.testing.assert_allclose(after.positions, same.positions)
        np.testing.assert_array_equal(after.predicted, same.predicted)
    # The import file itself leads to all of them.
    after = read_particles(tmp_path / "all_import.star", context=context())
    assert sorted(zip(after.tomogram, after.predicted, strict=True)) == [
        *(("001", "b"), ("002", "a"), ("002", "c"))
    ]
    np.testing.assert_allclose(sorted(after.positions[:, 2]), before.positions[:, 2])
    np.testing.assert_array_equal(
        after.tomogram[np.argsort(after.positions[:, 2])], before.tomogram
    )


def test_relion5_without_tomograms_star_says_what_is_left_to_do(tmp_path):
    said = write_particles(
        tmp_path / "a.star", particles_at([[1, 2, 3]]), "relion5", context=context()
    )
    assert any("a_import.star" in sentence for sentence in said)
    assert any("No tomograms.star was given" in sentence for sentence in said)
    entries = starfile.read(tmp_path / "a_optimisation_set.star")
    assert entries == {"rlnTomoParticlesFile": str((tmp_path / "a.star").resolve())}


def test_angles_mean_what_relion_means_by_them(tmp_path, relion_matrix):
    rotations = Rotation.random(5, random_state=0).as_matrix()
    before = particles_at(np.ones((5, 3)), orientations=rotations)
    write_particles(tmp_path / "a.star", before, "relion5", context=context())
    table = first_block(tmp_path / "a.star")
    angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    for row, rotation in zip(angles, rotations, strict=True):
        np.testing.assert_allclose(relion_matrix(*row), rotation, atol=1e-7)


def test_unclassified_rows_and_missing_scores(tmp_path):
    before = particles_at(
        [[1, 2, 3], [4, 5, 6]], label=["b", ""], score=[np.nan, 2.0], tomogram="T"
    )
    write_particles(tmp_path / "a.star", before, "relion4", context=context())
    table = first_block(tmp_path / "a.star")
    assert list(table.rlnClassNumber) == [1, 0]
    assert list(table.rlnAutopickFigureOfMerit) == [-999, 2]
    after = read_particles(tmp_path / "a.star", context=context(), as_label=True)
    np.testing.assert_array_equal(after.label, ["b", ""])
    np.testing.assert_array_equal(after.score, [np.nan, 2])


def test_no_line_but_a_block_header_speaks_of_data(tmp_path):
    # RELION looks for "data_" anywhere in a line, comments included.
    before = particles_at([[1, 2, 3]], predicted=["data_particles"])
    write_particles(tmp_path / "a.star", before, "relion4", context=context())
    lines = (tmp_path / "a.star").read_text().splitlines()
    assert [line for line in lines if "data_" in line] == ["data_particles", "data_optics"]


def test_confidence_that_relion_has_no_place_for_is_said(tmp_path):
    before = particles_at([[1, 2, 3]], predicted=["a"], confidence=[0.5])
    said = write_particles(tmp_path / "a.star", before, "relion5", context=context())
    assert any("no place for: confidence." in sentence for sentence in said)


# --- lists of other programs -----------------------------------------------------------------


CORNER = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
CENTRED = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
SHIFTS = ["rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst"]
OPTICS = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnTomoTiltSeriesPixelSize #2
1 2.0
2 4.0

"""


def test_warp_list(tmp_path, relion_matrix):
    path = star(
        tmp_path,
        [*CORNER, "rlnMicrographName", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"],
        [(3, 2, 1, "001.tomostar", 10, 20, 30), (6, 5, 4, "002.tomostar", 0, 0, 0)],
        name="",
    )
    particles = read_particles(path)
    np.testing.assert_array_equal(particles.positions, [[1, 2, 3], [4, 5, 6]])
    assert list(particles.tomogram) == ["001", "002"]
    np.testing.assert_allclose(particles.orientations[0], relion_matrix(10, 20, 30))
    assert len(read_particles(path, only="002")) == 1


def test_shifts_in_pixels_are_subtracted(tmp_path):
    path = star(
        tmp_path, [*CORNER, "rlnOriginX", "rlnOriginY", "rlnOriginZ"], [(30, 20, 10, 1, 2, 3)]
    )
    np.testing.assert_array_equal(read_particles(path).positions, [[7, 18, 29]])


def test_shifts_in_angstrom_need_the_voxel_size(tmp_path):
    path = star(tmp_path, [*CORNER, *SHIFTS], [(30, 20, 10, 5, 10, 20)])
    with pytest.raises(ValueError, match="shifts in Å; give the voxel size"):
        read_particles(path)
    after = read_particles(path, context=ListContext(voxel_size=10.0))
    np.testing.assert_allclose(after.positions, [[8, 19, 29.5]])


def test_optics_groups_give_the_pixel_size(tmp_path):
    path = star(
        tmp_path,
        ["rlnTomoName", *CORNER, "rlnOpticsGroup"],
        [("a", 100, 200, 300, 1), ("b", 100, 200, 300, 2)],
        before=OPTICS,
    )
    after = read_particles(path, context=ListContext(voxel_size=20.0))
    np.testing.assert_allclose(after.positions, [[30, 20, 10], [60, 40, 20]])


def test_unlisted_optics_group_is_refused(tmp_path):
    path = star(
        tmp_path, ["rlnTomoName", *CORNER, "rlnOpticsGroup"], [("a", 1, 2, 3, 7)], before=OPTICS
    )
    with pytest.raises(ValueError, match="optics group 7"):
        read_particles(path, context=ListContext(voxel_size=20.0))


def test_refined_relion5_list(tmp_path, relion_matrix):
    known = tomograms_star(tmp_path, ("TS_01", 2.0, 400, 300, 200))
    box = (30.0, 40.0, 50.0)
    turn = (-10.0, 95.0, 20.0)
    columns = [
        "rlnTomoName",
        *CENTRED,
        *SHIFTS,
        *("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"),
        *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),
        "rlnTomoParticleName",
    ]
    row = ("TS_01", 10.0, -20.0, 30.0, 4.0, 5.0, 6.0, *box, *turn, "TS_01/17")
    path = star(tmp_path, columns, [row])
    particles = read_particles(path, context=ListContext(voxel_size=8.0, tomograms_star=known))
    # getPosition of RELION's particle_set.cpp, in unbinned pixels of 2 Å; then four to a voxel.
    pixels = np.array([10, -20, 30]) / 2 + np.array([200, 150, 100])
    pixels = pixels - relion_matrix(*box) @ [4, 5, 6] / 2
    np.testing.assert_allclose(particles.positions[0, ::-1], pixels / 4)
    np.testing.assert_allclose(
        particles.orientations[0], relion_matrix(*box) @ relion_matrix(*turn), atol=1e-12
    )
    assert list(particles.id) == [17]


def test_tomograms_star_beside_the_list_is_found(tmp_path):
    path = star(tmp_path, ["rlnTomoName", *CENTRED], [("TS_01", 0, 0, 0)])
    with pytest.raises(ValueError, match=r"whose size is unknown; give"):
        read_particles(path, context=ListContext(voxel_size=8.0))
    path.rename(tmp_path / "kept.star")
    tomograms_star(tmp_path, ("TS_01", 2.0, 400, 300, 200))
    found = read_particles(tmp_path / "kept.star", context=ListContext(voxel_size=8.0))
    np.testing.assert_allclose(found.positions, [[25, 37.5, 50]])


def test_optimisation_set_of_a_project_folder(tmp_path):
    job = tmp_path / "Refine3D" / "job012"
    job.mkdir(parents=True)
    made = star(tmp_path, ["rlnTomoName", *CENTRED], [("TS_01", 0, 0, 0)])
    made.rename(job / "run_data.star")
    made = tomograms_star(tmp_path, ("TS_01", 2.0, 400, 300, 200))
    made.rename(job / "sets.star")
    optimisation_set = job / "run_optimisation_set.star"
    optimisation_set.write_text(
        "data_\n\n_rlnTomoParticlesFile Refine3D/job012/run_data.star\n"
        "_rlnTomoTomogramsFile Refine3D/job012/sets.star\n"
    )
    found = read_particles(optimisation_set, context=ListContext(voxel_size=8.0))
    np.testing.assert_allclose(found.positions, [[25, 37.5, 50]])
    (job / "run_data.star").unlink()
    with pytest.raises(ValueError, match=r"run_data\.star .* does not exist"):
        read_particles(optimisation_set, context=ListContext(voxel_size=8.0))


def test_relion5_also_takes_corner_coordinates_as_unbinned_pixels(tmp_path):
    made = star(tmp_path, ["rlnTomoName", *CORNER], [("TS_01", 40, 80, 120)])
    made.rename(tmp_path / "run_data.star")
    optimisation_set = tmp_path / "set.star"
    optimisation_set.write_text("data_\n\n_rlnTomoParticlesFile run_data.star\n")
    found = read_particles(optimisation_set, context=ListContext(voxel_size=10.0, binning=4))
    np.testing.assert_allclose(found.positions, [[30, 20, 10]])


def test_import_file_of_another_project(tmp_path):
    """The files of an import need not name their tomogram, and may be named from the project."""
    (tmp_path / "picks").mkdir()
    for name, x in (("a", 10.0), ("b", 20.0)):
        made = star(tmp_path, CENTRED, [(x, 0, 0)])
        made.rename(tmp_path / "picks" / f"{name}.star")
    listing = tmp_path / "Import" / "job001" / "coordinates.star"
    listing.parent.mkdir(parents=True)
    listing.write_text(
        "data_\n\nloop_\n_rlnTomoName #1\n_rlnTomoImportParticleFile #2\n"
        "001 picks/a.star\n002 picks/b.star\n\n"
    )
    found = read_particles(listing, context=context(unbinned_shape=(160, 200, 240)))
    assert list(found.tomogram) == ["001", "002"]
    np.testing.assert_allclose(found.positions[:, 2], [31, 32])
    (tmp_path / "picks" / "b.star").unlink()
    with pytest.raises(ValueError, match=r"b\.star that coordinates\.star names does not exist;"):
        read_particles(listing, context=context())


def test_classes_keep_their_numbers(tmp_path):
    before = particles_at([[1, 2, 3]] * 4, predicted=["class 4", "b", "", "a"])
    write_particles(tmp_path / "a.star", before, "relion4", context=context())
    assert list(first_block(tmp_path / "a.star").rlnClassNumber) == [4, 2, 0, 1]
    after = read_particles(tmp_path / "a.star", context=context())
    np.testing.assert_array_equal(after.predicted, before.predicted)


def test_particles_that_are_not_turned_warn_of_nothing(tmp_path, recwarn):
    before = particles_at([[1, 2, 3]], orientations=np.eye(3)[None])
    write_particles(tmp_path / "a.star", before, "relion4", context=context())
    assert not recwarn.list


def test_class_numbers_without_names(tmp_path):
    given = [4, -999, 1234567]
    path = star(tmp_path, [*CORNER, "rlnClassNumber"], [(1, 2, 3, number) for number in given])
    found = read_particles(path)
    np.testing.assert_array_equal(found.predicted, ["class 4", "", "class 1234567"])
    write_particles(tmp_path / "again.star", found, "relion3", context=context())
    assert list(first_block(tmp_path / "again.star").rlnClassNumber) == [4, 0, 1234567]


def test_score_of_template_matching(tmp_path):
    path = star(tmp_path, [*CORNER, "rlnLCCmax"], [(1, 2, 3, 0.25)])
    assert list(read_particles(path).score) == [0.25]


def test_context_of_an_open_tomogram():
    tomogram = Tomogram(np.zeros((4, 5, 6)), 12.5, "TS_01")
    made = ListContext.of(tomogram, binning=3)
    assert (made.voxel_size, made.shape, made.tomogram, made.binning) == (
        *(12.5, (4, 5, 6), "TS_01"),
        3,
    )


# --- broken lists ----------------------------------------------------------------------------


def test_particles_in_no_tomogram_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"1 of 2 particles .* no tomogram .*; give its name"):
        write_particles(
            tmp_path / "a.star", Particles.at(np.zeros((2, 3)), tomogram=["a", ""]), "relion3"
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["relion4", "relion5"])
def test_voxel_size_is_needed(tmp_path, name):
    nothing = ListContext(tomogram="TS_01")
    with pytest.raises(ValueError, match="give the voxel size"):
        write_particles(tmp_path / "a.star", particles_at([[1, 2, 3]]), name, context=nothing)
    assert not list(tmp_path.iterdir())


def test_size_is_needed_for_relion5(tmp_path):
    with pytest.raises(ValueError, match="whose size is unknown"):
        write_particles(
            tmp_path / "a.star", particles_at([[1, 2, 3]]), "relion5", context=context(shape=None)
        )


def test_list_in_two_dimensions_is_refused(tmp_path):
    path = star(tmp_path, CORNER[:2], [(1, 2)])
    with pytest.raises(ValueError, match="particles in three dimensions"):
        read_particles(path)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(1, "two", 3)], r"row 1 has 'two' in column rlnCoordinateY, which is no number"),
        ([(1, 2, 3), (1, 2, "nan")], r"row 2 has no number in column rlnCoordinateZ"),
        ([(1, 2, 3), (1, 2)], r"row 2 has no number in column rlnCoordinateZ"),
        ([(1, 2, 3), (1, 2, 3, 4)], r"no regular STAR file"),
        ([(1, 2, 3, 4)], r"no regular STAR file"),
        ([], r"lists 0 particles"),
    ],
)
def test_broken_rows_are_refused_in_one_sentence(tmp_path, rows, says):
    with pytest.raises(ValueError, match=says) as caught:
        read_particles(star(tmp_path, CORNER, rows))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "column", ["rlnAngleTilt", "rlnTomoSubtomogramPsi", "rlnOriginY", "rlnOriginXAngst"]
)
@pytest.mark.parametrize("value", ["nan", "inf", "two"])
def test_broken_angles_and_shifts_are_refused(tmp_path, column, value):
    angles = ["Rot", "Tilt", "Psi"]
    columns = [f"{kind}{angle}" for kind in ("rlnAngle", "rlnTomoSubtomogram") for angle in angles]
    unit = "Angst" if column.endswith("Angst") else ""
    columns += [f"rlnOrigin{axis}{unit}" for axis in "XYZ"]
    rows = [(1, 2, 3, *(value if name == column else 0.5 for name in columns))]
    with pytest.raises(ValueError, match=rf"row 1 has .*column {column}") as caught:
        read_particles(star(tmp_path, [*CORNER, *columns], rows), context=context())
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused(tmp_path):
    path = tmp_path / "a.star"
    path.write_bytes("data_\n\n_rlnTomoName Ångström\n".encode("latin-1"))
    with pytest.raises(ValueError, match="choose another file, in UTF-8"):
        read_particles(path, "relion3")


def test_corrected_file_is_read_afresh(tmp_path):
    path = star(tmp_path, CORNER, [(1, 2, 3), (1, 2, 3, 4)])
    with pytest.raises(ValueError, match="no regular STAR file"):
        read_particles(path)
    star(tmp_path, CORNER, [(1, 2, 3), (4, 5, 6)])
    np.testing.assert_array_equal(read_particles(path).positions, [[3, 2, 1], [6, 5, 4]])


def test_other_star_files_are_refused(tmp_path):
    path = tomograms_star(tmp_path, ("TS_01", 2.0, 400, 300, 200))
    with pytest.raises(ValueError, match="no particle list known here"):
        read_particles(path)
    path.write_text("# only a comment\n")
    with pytest.raises(ValueError, match="holds no STAR data block"):
        read_particles(path, "relion3")


def test_a_label_that_appears_twice_is_refused(tmp_path):
    path = star(tmp_path, [*CORNER, CORNER[0]], [(1, 2, 3, 4)])
    with pytest.raises(ValueError, match="has the label rlnCoordinateX twice in a block; remove"):
        read_particles(path)


def test_a_damaged_class_name_is_refused(tmp_path):
    before = r'# class 1 = "a\qb"'
    path = star(tmp_path, [*CORNER, "rlnClassNumber"], [(1, 2, 3, 1)], before=before)
    with pytest.raises(ValueError, match=r"damaged line '# class 1 = .*; correct or remove it"):
        read_particles(path)


@pytest.mark.parametrize("numbers", [(0, 400, 300, 200), (2.0, 400, "nan", 200), (2.0, 4, 3, -2)])
@pytest.mark.parametrize("name", ["relion4", "relion5"])
def test_impossible_sizes_in_tomograms_star_are_refused(tmp_path, name, numbers):
    known = tomograms_star(tmp_path, ("TS_01", *numbers))
    with pytest.raises(ValueError, match=r"row 1 has no positive number in column rlnTomo.*;"):
        write_particles(
            tmp_path / "a.star",
            particles_at([[1, 2, 3]]),
            name,
            context=context(tomograms_star=known),
        )


def test_wrong_tomograms_star_is_refused(tmp_path):
    wrong = star(tmp_path, CORNER, [(1, 2, 3)])
    with pytest.raises(ValueError, match=re.escape("rlnTomoSizeX/Y/Z; give the tomograms.star")):
        write_particles(
            tmp_path / "a.star",
            particles_at([[1, 2, 3]]),
            "relion5",
            context=context(tomograms_star=wrong),
        )
