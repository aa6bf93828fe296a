"""The session as napari layers."""

import numpy as np
import pytest
from napari.layers import Image

from napari_cryoshift.core.types import OTHER, Particles, Tomogram
from napari_cryoshift.widgets.images import contrast, tomogram_from
from napari_cryoshift.widgets.layers import CANDIDATES, CURRENT, layers_of
from napari_cryoshift.widgets.session import session_of
from napari_cryoshift.widgets.style import colour_of, looks, rgba


@pytest.fixture
def layers(make_napari_viewer, tomogram):
    viewer = make_napari_viewer()
    layers = layers_of(viewer)
    # Nothing here is about embeddings, which would be computed in the background.
    layers.session.embed = lambda: None
    layers.session.open_tomogram(tomogram)
    layers.session.set_picks(Particles.at([[5, 6, 7], [8, 20, 30]], score=[2.0, 1.0]))
    layers.session.set_threshold(0)
    for name in ("ribosome", "proteasome"):
        layers.session.add_class(name)
    return layers


def test_every_layer_is_in_angstrom(layers):
    layers.session.select(int(layers.session.particles.id[0]))
    layers.show_ruler(True)
    layers.show_read_back(np.zeros((1, 3)), "list.star")
    assert len(layers.viewer.layers) == 5
    for layer in layers.viewer.layers:
        assert [str(unit) for unit in layer.units] == ["angstrom"] * 3, layer
        np.testing.assert_allclose(layer.scale, 10.0)
        assert tuple(layer.axis_labels) == ("z", "y", "x")


def test_a_corrected_voxel_size_reaches_all_layers(layers):
    layers.session.change_tomogram(voxel_size=13.5)
    for layer in layers.viewer.layers:
        np.testing.assert_allclose(layer.scale, 13.5)


def test_saying_that_particles_are_light_moves_nothing(layers):
    layers.viewer.dims.set_point(0, 30)
    layers.session.change_tomogram(dark=False)
    assert layers.viewer.dims.point[0] == pytest.approx(30)


def test_a_layer_that_is_deleted_deletes_nothing_and_comes_back(layers):
    layers.viewer.layers.remove(CANDIDATES)
    assert len(layers.session.project.particles("noise")) == 2
    layers.session.label([int(layers.session.particles.id[0])], "ribosome")
    assert len(layers.viewer.layers[CANDIDATES].data) == 2


def test_a_label_fills_the_disc_in_the_colour_of_its_class(layers):
    session = layers.session
    session.label([int(session.particles.id[0])], "proteasome")
    colour = rgba(colour_of(session.classes)["proteasome"])
    points = layers.viewer.layers[CANDIDATES]
    np.testing.assert_allclose(points.face_color[0][:3], colour[:3], atol=1e-6)
    assert points.face_color[0][3] > 0
    assert points.face_color[1][3] == 0


def test_a_sure_prediction_has_a_wider_ring_than_a_doubtful_one():
    table = Particles.at(np.zeros((2, 3)), predicted="a", confidence=[0.4, 0.95])
    width = looks(table, {"": "#d8d8d8", "a": "#e69f00"}).width
    assert width[1] > width[0] > 0


def test_a_rejected_prediction_stays_in_the_background():
    table = Particles.at(np.zeros((2, 3)), predicted=["a", OTHER], confidence=0.9)
    border = looks(table, {"": "#d8d8d8", "a": "#e69f00", OTHER: "#999999"}).border
    assert border[0][3] == 1
    assert border[1][3] < 1


def test_the_threshold_hides_points_and_computes_nothing(layers):
    points = layers.viewer.layers[CANDIDATES]
    data = points.data
    layers.session.set_threshold(1.5)
    assert points.shown.tolist() == [True, False]
    assert points.data is data


def test_the_size_is_the_diameter(layers):
    layers.session.set_diameter(120)
    np.testing.assert_allclose(layers.viewer.layers[CANDIDATES].size, 12)


def test_stepping_moves_the_slider_and_keeps_the_zoom(layers):
    camera = layers.viewer.scene.camera if hasattr(layers.viewer, "scene") else None
    zoom = None if camera is None else camera.zoom
    layers.session.select(int(layers.session.particles.id[1]))
    assert layers.viewer.dims.point[0] == pytest.approx(80)
    np.testing.assert_allclose(layers.viewer.layers[CURRENT].data, [[8, 20, 30]])
    assert camera is None or camera.zoom == zoom


def test_the_nearest_particle_within_its_radius_is_found(layers):
    ids = layers.session.particles.id
    assert layers.candidate_at([50, 60, 75]) == ids[0]
    assert layers.candidate_at([200, 200, 10]) is None


def test_the_voxel_size_of_a_layer_is_that_of_its_scale_and_unit(make_napari_viewer):
    viewer = make_napari_viewer()
    layer = viewer.add_image(np.random.default_rng(0).normal(size=(8, 9, 10)), name="open")
    layer.scale, layer.units = (1.2,) * 3, ("nm",) * 3
    assert tomogram_from(layer).voxel_size == pytest.approx(12.0)
    assert tomogram_from(layer).name == "open"


@pytest.mark.parametrize(
    ("shape", "scale", "sentence"),
    [((8, 9), (1, 1), "has 2 dimensions"), ((8, 9, 10), (2, 1, 1), "are 2 × 1 × 1 Å")],
)
def test_what_cannot_be_a_tomogram_is_said(shape, scale, sentence):
    with pytest.raises(ValueError, match=sentence):
        tomogram_from(Image(np.zeros(shape), scale=scale))


def test_contrast_ignores_gold_and_nan():
    volume = np.random.default_rng(0).normal(size=(30, 60, 60)).astype(np.float32)
    volume[15, :3, :3] = 1e4
    volume[16, 20] = np.nan
    low, high = contrast(volume)
    assert -5 < low < -3
    assert 3 < high < 5
    assert contrast(np.zeros((4, 4, 4))) == (0.0, 1.0)


def test_contrast_follows_the_slab_that_is_looked_at():
    volume = np.random.default_rng(0).normal(size=(60, 60, 60)).astype(np.float32)
    _, one = contrast(volume)
    _, sixteen = contrast(volume, 16)
    assert sixteen == pytest.approx(one / 4, rel=0.1)


def test_two_viewers_have_a_session_each(make_napari_viewer):
    one, two = make_napari_viewer(), make_napari_viewer()
    assert session_of(one) is session_of(one)
    assert session_of(one) is not session_of(two)


def test_opening_another_tomogram_replaces_the_layers(layers):
    other = Tomogram(np.ones((6, 7, 8), np.float32), 20.0, "other")
    layers.session.open_tomogram(other)
    assert "noise" not in [layer.name for layer in layers.viewer.layers]
    np.testing.assert_allclose(layers.viewer.layers["other"].scale, 20.0)


def test_the_slab_is_a_particle_thick_until_a_person_says_otherwise(layers):
    layers.session.set_diameter(180)
    assert layers.viewer.dims.thickness[0] == pytest.approx(180)
    layers.set_slab(60)
    assert layers.viewer.dims.thickness[0] == pytest.approx(60)
    layers.session.set_diameter(200)
    assert layers.slab == 60


def test_the_circle_of_the_diameter_stays_where_it_was_dragged(layers):
    layers.show_ruler(True)
    ruler = layers.viewer.layers["Diameter"]
    ruler.data = np.array([[5.0, 6.0, 7.0]])
    layers.show_ruler(False)
    assert not ruler.visible
    layers.show_ruler(True)
    assert ruler.visible
    np.testing.assert_array_equal(ruler.data, [[5, 6, 7]])
