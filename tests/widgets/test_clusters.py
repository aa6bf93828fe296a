"""Clusters with a real viewer and a real mouse, on a small crowded tomogram."""

from functools import partial

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QCheckBox, QFileDialog, QLineEdit, QPushButton
from scipy.spatial import cKDTree

from napari_cryoshift.core import grouping, segmentation
from napari_cryoshift.core.formats import read_particles
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.simulate.tomogram import CrowdedParams, simulate_tomogram
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import PickParams, pick
from napari_cryoshift.widgets import clusters as clusters_module
from napari_cryoshift.widgets.annotate import AnnotatePanels
from napari_cryoshift.widgets.cluster_layer import NAME, SEGMENTED
from napari_cryoshift.widgets.layers import CANDIDATES
from napari_cryoshift.widgets.session import session_of

LEFT = Qt.MouseButton.LeftButton
CONTROL = Qt.KeyboardModifier.ControlModifier
PER_CLASS = 10
KINDS = {"80S ribosome (human)": "ribosome", "20S proteasome (Thermoplasma acidophilum)": "20S"}


@pytest.fixture(scope="module")
def crowded():
    """A tomogram of 10 ribosomes, 10 proteasomes and two gold beads, and its best candidates."""
    params = CrowdedParams(
        shape=(48, 144, 144),
        classes=("4v6x", "3j9i"),
        particles_per_class=PER_CLASS,
        membranes=0,
        beads=2,
        seed=3,
    )
    made = finish(simulate_tomogram(params))
    picks = finish(pick(made.tomogram, PickParams(diameter=200.0)))
    return made, picks.take(np.argsort(-picks.score)[: 2 * PER_CLASS + 8])


@pytest.fixture
def panels(make_napari_viewer, qtbot, crowded, tmp_path_factory, monkeypatch):
    """All panels beside a viewer, with the candidates; they are looked at once for all tests."""
    monkeypatch.setenv("CRYOSHIFT_CACHE", str(tmp_path_factory.getbasetemp() / "clusters"))
    made, picks = crowded
    viewer = make_napari_viewer(show=True)
    tabs = AnnotatePanels(viewer)
    viewer.window.add_dock_widget(tabs, name="Annotate", area="right")
    viewer.window._qt_window.resize(1280, 720)
    with qtbot.waitActive(viewer.window._qt_window):
        viewer.window._qt_window.activateWindow()
    session = session_of(viewer)
    session.open_tomogram(made.tomogram)
    session.set_picks(picks)
    session.set_threshold(-np.inf)
    session.set_diameter(250.0)
    return tabs


@pytest.fixture
def clusters(panels, idle):
    """The panel of clusters, once the particles have been looked at."""
    idle(panels.session)
    return tab(panels, "Clusters")


def tab(panels, title):
    for index in range(panels.count()):
        if panels.widget(index).title == title:
            place = panels.tabBar().tabRect(index).center()
            QTest.mouseClick(panels.tabBar(), LEFT, pos=place)
    assert panels.currentWidget().title == title
    return panels.currentWidget()


def press(panel, text):
    found = [b for b in panel.findChildren(QPushButton) if b.text() == text and b.isVisible()]
    assert len(found) == 1, (text, found)
    QTest.mouseClick(found[0], LEFT)


def click_row(panel, cluster, modifier=Qt.KeyboardModifier.NoModifier):
    """Click a cluster in the list."""
    listed = panel._list
    row = [one.id for one in panel.notes.all].index(cluster)
    listed.scrollToItem(listed.topLevelItem(row))
    place = listed.visualItemRect(listed.topLevelItem(row)).center()
    QTest.mouseClick(listed.viewport(), LEFT, modifier, place)


def rename_row(panel, cluster, name):
    """Double-click the name of a cluster, and type another one."""
    row = [one.id for one in panel.notes.all].index(cluster)
    listed = panel._list
    place = listed.visualItemRect(listed.topLevelItem(row)).center()
    QTest.mouseClick(listed.viewport(), LEFT, pos=place)
    QTest.mouseDClick(listed.viewport(), LEFT, pos=place)
    line = next(line for line in listed.findChildren(QLineEdit) if line.isVisible())
    line.selectAll()
    QTest.keyClicks(line, name)
    QTest.keyClick(line, Qt.Key.Key_Return)
    QApplication.processEvents()  # an editor hands over its text a moment later


def find(panel, idle, groups, way="quick"):
    """Type how many there are, and press the button."""
    panel._search.way.setCurrentIndex(panel._search.way.findText(way))
    line = panel._search.forms[way].editor("clusters")
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, groups)
    QTest.keyClick(line, Qt.Key.Key_Return)
    press(panel, "Find clusters")
    idle(panel.session, seconds=90)
    assert panel._error.text() == ""


def true_kinds(made, positions):
    """(n,) what is at each position: a name of KINDS, or "other"."""
    away, nearest = cKDTree(made.particles.positions).query(positions)
    kinds = np.array([KINDS[name] for name in made.particles.label], dtype=object)[nearest]
    return np.where(away < 8, kinds, OTHER)


def mostly(panel, made):
    """Id of each cluster → what most of its members are."""
    found = {}
    for one in panel.notes.all:
        names, counts = np.unique(
            true_kinds(made, panel.notes.members(one.id).positions).astype(str), return_counts=True
        )
        found[one.id] = str(names[counts.argmax()])
    return found


def test_from_no_label_to_an_exported_list(
    panels, clusters, crowded, idle, qtbot, tmp_path, monkeypatch
):
    made, _ = crowded
    session = panels.session
    clusters._search.forms["disca"].editor("iterations").set_value(2)
    find(clusters, idle, "5", way="disca")
    assert len(clusters.notes.all) == 5
    assert clusters.notes.sizes() == sorted(clusters.notes.sizes(), reverse=True)

    # A person looks at the pictures, merges what is alike, and gives it a name.
    for kind in KINDS.values():
        alike = [cluster for cluster, what in mostly(clusters, made).items() if what == kind]
        assert alike, kind
        click_row(clusters, alike[0])
        for cluster in alike[1:]:
            click_row(clusters, cluster, CONTROL)
        assert set(clusters.notes.chosen) == set(alike)
        if len(alike) > 1:
            press(clusters, "Merge")
        (merged,) = clusters.notes.chosen
        rename_row(clusters, merged, kind)
        press(clusters, "Make it a class")
        assert clusters._error.text() == ""
    assert {one.name for one in session.classes} == {*KINDS.values(), OTHER}
    idle(session)

    export = tab(panels, "Export")
    export._format.setCurrentIndex(export._format.findData("csv"))
    written = tmp_path / "list.csv"
    for dialog in ("getOpenFileName", "getSaveFileName"):
        monkeypatch.setattr(QFileDialog, dialog, lambda *_, **__: (str(written), ""))
    press(export, "Write the list …")
    qtbot.waitUntil(lambda: export.written is not None)
    back = read_particles(written)
    said, true = back.predicted, true_kinds(made, back.positions)
    for kind in KINDS.values():
        purity = (true[said == kind] == kind).mean()
        found = (said[true == kind] == kind).mean()
        assert purity > 0.85, (kind, purity)
        assert found > 0.75, (kind, found)

    # All of it is in the project's file, and can be taken back.
    with Project.open(session.project.folder) as other:
        assert {*KINDS.values()} <= {one.name for one in other.clusters.of(made.tomogram.name)}
        np.testing.assert_array_equal(
            other.particles(made.tomogram.name).cluster, session.particles.cluster
        )
    tab(panels, "Clusters")
    while session.project.undo_title != "pick 28 particles":
        press(clusters, "⟲")
    assert clusters.notes.all == ()
    assert (session.particles.label == "").all()


def test_list_map_and_volume_show_and_choose_clusters_together(panels, clusters, idle, qtbot):
    session, notes = panels.session, clusters.notes
    viewer = clusters.layers.viewer
    find(clusters, idle, "3")
    first, second, _ = (one.id for one in notes.all)

    # In the list: the volume goes to a member, and its examples are shown.
    click_row(clusters, second)
    assert notes.chosen == (second,)
    assert session.particles.cluster[session.row] == second
    shown = clusters._views._examples.ids
    assert shown
    assert set(session.particles.cluster[np.isin(session.particles.id, shown)]) == {second}

    # In the volume: the list follows.
    member = notes.members(first)
    row = int(np.argmin(np.abs(member.positions - [24, 72, 72]).sum(1)))
    world = member.positions[row] * session.tomogram.voxel_size
    viewer.dims.set_point(0, world[0])
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    y, x = (world[1:] - np.asarray(camera.center)[1:]) * camera.zoom
    canvas = viewer.window._qt_viewer.canvas.native
    place = QPoint(int(canvas.width() / 2 + x), int(canvas.height() / 2 + y))
    QTest.mouseMove(canvas, place)
    QTest.mouseClick(canvas, LEFT, pos=place)
    assert session.current == member.id[row]
    assert notes.chosen == (first,)
    assert [item.text(0) for item in clusters._list.selectedItems()] == ["cluster 1"]

    # In the map: a click on the point of another particle.
    clusters._views._folded.toggle()
    particles, points = notes.plane()
    assert len(points) == len(session.particles)
    away = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(len(points))
    apart = np.where(particles.cluster == second, away.min(1), 0)
    other = int(apart.argmax())  # of the second cluster, and hidden by no other point
    plot = clusters._views._map
    qtbot.waitUntil(lambda: plot.isVisible())
    qtbot.wait(100)
    clusters.bring_into_view(plot)
    qtbot.wait(300)  # it finds its range when it is painted
    at = plot.getPlotItem().getViewBox().mapViewToScene(QPointF(*points[other]))
    QTest.mouseClick(plot.viewport(), LEFT, pos=plot.mapFromScene(at))
    assert session.current == particles.id[other]
    assert notes.chosen == (second,)

    # Points and regions have the colours of their clusters.
    regions, points = viewer.layers[NAME], viewer.layers[CANDIDATES]
    assert regions.visible
    assert viewer.layers.index(regions) < viewer.layers.index(points)
    np.testing.assert_allclose(regions.scale, [session.tomogram.voxel_size] * 3)
    for row in range(0, len(session.particles), 7):
        z, y, x = np.rint(session.particles.positions[row]).astype(int)
        number = int(regions.data[z, y, x])
        assert notes.all[number - 1].id == session.particles.cluster[row]
        colour = "#" + "".join(f"{round(255 * c):02x}" for c in regions.get_color(number)[:3])
        assert colour == notes.all[number - 1].color
        border = "#" + "".join(f"{round(255 * c):02x}" for c in points.border_color[row][:3])
        assert border == colour
    QTest.mouseClick(clusters._paint, LEFT, pos=QPoint(8, clusters._paint.height() // 2))
    assert not regions.visible
    tab(panels, "Label")  # elsewhere, colours are those of classes
    assert len({tuple(colour) for colour in points.border_color}) == 1
    viewer.layers.remove(NAME)  # a view: nothing is lost
    QTest.mouseClick(clusters._paint, LEFT, pos=QPoint(8, clusters._paint.height() // 2))
    clusters._paint.setChecked(True)
    tab(panels, "Clusters")
    assert NAME in viewer.layers


def test_steps_are_undone_in_turn_and_what_cannot_be_done_is_said(panels, clusters, crowded, idle):
    notes = clusters.notes
    find(clusters, idle, "3")
    before = [(one.name, size) for one, size in zip(notes.all, notes.sizes(), strict=True)]
    notes.choose([])
    press(clusters, "Merge")
    assert "no cluster is chosen" in clusters._error.text()
    click_row(clusters, notes.all[0].id)
    press(clusters, "Split")
    assert len(notes.all) == 4
    assert sum(notes.sizes()) == sum(size for _, size in before)
    press(clusters, "Discard")
    assert len(notes.all) == 3
    press(clusters, "⟲")
    press(clusters, "⟲")
    assert [(one.name, size) for one, size in zip(notes.all, notes.sizes(), strict=True)] == before
    click_row(clusters, notes.all[2].id)
    press(clusters, "Not particles")
    labels = panels.session.particles.label
    assert (labels == OTHER).sum() == before[2][1]
    rename_row(clusters, notes.all[0].id, "cluster 2")
    assert "there is a cluster 'cluster 2' already" in clusters._error.text()

    # What is left comes back with the project.
    made, _ = crowded
    folder, names = panels.session.project.folder, [one.name for one in clusters.notes.all]
    panels.session.open_project(Project.scratch())
    assert clusters.notes.all == ()
    panels.session.open_project(Project.open(folder))
    panels.session.open_tomogram(made.tomogram)
    assert [one.name for one in clusters.notes.all] == names
    assert clusters._list.topLevelItemCount() == len(names) == 3


def test_chosen_clusters_are_drawn_averaged_and_segmented(panels, clusters, idle, monkeypatch):
    session, notes = panels.session, clusters.notes
    viewer = clusters.layers.viewer
    session.set_diameter(80.0)  # smaller boxes are quicker
    for name, value in {"filters": 2, "passes": 1}.items():
        clusters._search.forms["autoencoder"].editor(name).set_value(value)
    find(clusters, idle, "2", way="autoencoder")
    drawn = clusters._views.drawn
    assert not drawn.isVisible()  # nothing is chosen
    click_row(clusters, notes.all[0].id)
    assert drawn.isVisible()
    assert "centre of cluster 1 as the autoencoder draws it" in drawn._said.text()

    monkeypatch.setattr(grouping, "MOST", 4)
    assert not clusters._views.average.isVisible()
    press(clusters, "Average")
    idle(session, seconds=120)
    assert clusters._error.text() == ""
    files = list((session.project.folder / "averages").iterdir())
    assert {file.suffix for file in files} == {".mrc", ".csv"}
    assert clusters._views.average.isVisible()
    assert "average of 4 members of cluster 1" in clusters._views.average._said.text()

    tiny = {"filters": 1, "passes": 1}
    drawing = segmentation._DRAWING.model_copy(update=tiny)
    monkeypatch.setattr(segmentation, "_DRAWING", drawing)
    quick = partial(segmentation.segment, params=segmentation.QUICK.model_copy(update=tiny))
    monkeypatch.setattr(clusters_module, "segment", quick)
    press(clusters, "Segment")
    assert session.work.job is not None  # the window is free meanwhile
    press(clusters, "Average")
    assert "Segmenting is still running" in clusters._error.text()
    idle(session, seconds=90)
    layer = viewer.layers[SEGMENTED.format(session.tomogram.name)]
    assert layer.data.shape == session.tomogram.shape
    np.testing.assert_allclose(layer.scale, [session.tomogram.voxel_size] * 3)
    colour = "#" + "".join(f"{round(255 * c):02x}" for c in layer.get_color(1)[:3])
    assert colour == notes.all[0].color

    # Groups that a person changed have other centres.
    press(clusters, "Split")
    click_row(clusters, notes.all[-1].id)
    assert not drawn.isVisible()


def test_known_structures_are_asked_by_the_quick_way_alone(panels, clusters, idle):
    def box():
        return next(b for b in clusters.findChildren(QCheckBox) if "known structures" in b.text())

    way = clusters._search.way
    way.setCurrentIndex(way.findText("disca"))
    assert not box().isVisible()
    way.setCurrentIndex(way.findText("quick"))
    QTest.mouseClick(box(), LEFT)
    assert box().isChecked()
    find(clusters, idle, "2")
    assert len(clusters.notes.all) == 2
    kept = panels.session.project.folder / "embeddings"
    assert any(".fit" in file.name for file in kept.iterdir())  # another time it takes no time
