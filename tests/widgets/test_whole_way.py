"""The whole way with a real viewer, a real mouse and real keys."""

import mrcfile
import numpy as np
import pyqtgraph as pg
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QLineEdit, QPushButton

from napari_cryoshift.core.formats import read_particles
from napari_cryoshift.core.methods.protonet import ProtoNetParams
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.workflows import SourceParams
from napari_cryoshift.widgets.annotate import AnnotatePanels
from napari_cryoshift.widgets.session import session_of

QUICK_SOURCE = SourceParams(chimeras=0, assemblies=0, distractors=0, per_class=8)
LEFT = Qt.MouseButton.LeftButton


class Person:
    """Moves the mouse and presses keys in a window."""

    def __init__(self, viewer, qtbot, idle):
        self.viewer, self.qtbot, self.idle = viewer, qtbot, idle
        self.session = session_of(viewer)
        self.tabs = AnnotatePanels(viewer)
        viewer.window.add_dock_widget(self.tabs, name="Annotate", area="right")
        viewer.window._qt_window.resize(1280, 720)
        # Shortcuts of a panel work in the active window only.
        with qtbot.waitActive(viewer.window._qt_window):
            viewer.window._qt_window.activateWindow()

    @property
    def canvas(self):
        return self.viewer.window._qt_viewer.canvas.native

    @property
    def camera(self):
        return self.viewer.scene.camera if hasattr(self.viewer, "scene") else self.viewer.camera

    def tab(self, title):
        for index in range(self.tabs.count()):
            if self.tabs.widget(index).title == title:
                place = self.tabs.tabBar().tabRect(index).center()
                QTest.mouseClick(self.tabs.tabBar(), LEFT, pos=place)
        assert self.tabs.currentWidget().title == title
        return self.tabs.currentWidget()

    def press(self, text):
        """Press the button with this text on the tab that is open."""
        found = [
            button
            for button in self.tabs.currentWidget().findChildren(QPushButton)
            if button.text() == text and button.isVisible()
        ]
        assert len(found) == 1, (text, found)
        assert found[0].isEnabled(), text
        QTest.mouseClick(found[0], LEFT)

    def write(self, name, text):
        """Write into the line with this name on the tab that is open."""
        line = self.tabs.currentWidget().findChild(QLineEdit, name)
        line.setFocus()
        line.selectAll()
        QTest.keyClicks(line, text)
        QTest.keyClick(line, Qt.Key.Key_Return)

    def click_voxel(self, zyx):
        """Click where a voxel is, after moving the slider to its section."""
        world = np.asarray(zyx) * self.session.tomogram.voxel_size
        self.viewer.dims.set_point(0, world[0])
        centre = np.asarray(self.camera.center)[1:]
        y, x = (world[1:] - centre) * self.camera.zoom
        place = QPoint(int(self.canvas.width() / 2 + x), int(self.canvas.height() / 2 + y))
        QTest.mouseMove(self.canvas, place)
        QTest.mouseClick(self.canvas, LEFT, pos=place)

    def marks(self):
        """Titles of the tabs that are ticked."""
        titles = [self.tabs.tabText(index) for index in range(self.tabs.count())]
        return {title.removesuffix(" ✓") for title in titles if title.endswith("✓")}

    def key(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        """Press a key in the volume."""
        QTest.keyClick(self.canvas, key, modifier)


@pytest.fixture
def person(make_napari_viewer, qtbot, idle):
    return Person(make_napari_viewer(show=True), qtbot, idle)


@pytest.fixture
def file(blobs, tmp_path):
    tomogram, _ = blobs
    path = tmp_path / "blobs.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(tomogram.data)
        mrc.voxel_size = tomogram.voxel_size
    return path


def pg_point(value, view):
    """The point of a plot at a value of x, half way up."""
    (_, _), (low, high) = view.viewRange()
    return pg.Point(value, (low + high) / 2)


def label_of(session, particle):
    """What the project says of a particle."""
    table = session.project.particles(session.tomogram.name)
    return table.label[table.id == particle][0]


def answer_dialogs_with(monkeypatch, path):
    for dialog in ("getOpenFileName", "getSaveFileName"):
        monkeypatch.setattr(QFileDialog, dialog, lambda *_, **__: (str(path), ""))


def test_whole_way(person, blobs, file, tmp_path, monkeypatch):
    session, (_, truth) = person.session, blobs

    # Open.
    person.tab("Open")
    answer_dialogs_with(monkeypatch, file)
    person.press("Open file …")
    person.idle(session)
    assert session.tomogram.voxel_size == pytest.approx(10)
    assert session.tomogram.dark

    # Pick.
    pick = person.tab("Pick")
    person.write("diameter", "150")
    person.press("Find particles")
    person.idle(session)
    assert len(session.particles) > len(truth)

    # The slider: drag the line to the left, and more are shown.
    plot, line = pick._histogram, pick._histogram._line
    before = int(session.shown.sum())
    view = plot.getPlotItem().getViewBox()
    start = plot.mapFromScene(view.mapViewToScene(pg_point(line.value(), view)))
    QTest.mousePress(plot.viewport(), LEFT, pos=start)
    for step in range(1, 11):
        QTest.mouseMove(plot.viewport(), start - QPoint(3 * step, 0))
        person.qtbot.wait(20)
    QTest.mouseRelease(plot.viewport(), LEFT, pos=start - QPoint(30, 0))
    assert int(session.shown.sum()) > before
    pick._count.setFocus()
    pick._count.selectAll()
    QTest.keyClicks(pick._count, str(len(truth)))
    QTest.keyClick(pick._count, Qt.Key.Key_Return)
    assert int(session.shown.sum()) == len(truth)

    # Label: three classes by name, then click and digit.
    person.tab("Label")
    for name in ("ball", "rod", "ring"):
        person.write("class_name", name)
    assert [known.name for known in session.classes] == ["ball", "rod", "ring", "other"]
    keys = {"ball": Qt.Key.Key_1, "rod": Qt.Key.Key_2, "ring": Qt.Key.Key_3}
    for row in range(9):
        person.click_voxel(truth.positions[row])
        assert session.current is not None
        person.key(keys[truth.label[row]])
    assert (session.particles.label != "").sum() == 9
    person.idle(session)
    shown = session.particles.take(session.shown)
    assert (shown.predicted != "").all()

    # Train: a very short one, on five structures.
    train = person.tab("Train")
    train._sources.tick(("6qzp", "3j9i", "1mnf", "2cg9", "1qvr"))
    train._simulation.set_params(QUICK_SOURCE)
    train._forms["protonet"].set_params(ProtoNetParams(tasks=3, ways=3, shots=2, queries=2))
    shipped = session.checkpoint
    person.press("Start training")
    person.idle(session, seconds=120)
    assert session.checkpoint is not shipped
    assert len(list((session.project.folder / "checkpoints").glob("*.safetensors"))) == 1
    assert {"loss", "accuracy"} <= set(train._curves.latest)
    runs = train._predicting._runs
    item = runs.item(0)  # back to the shipped embedding by one click
    QTest.mouseClick(runs.viewport(), LEFT, pos=runs.visualItemRect(item).center())
    person.idle(session)
    assert session.checkpoint.digest == shipped.digest

    # Review: the least certain first; a correction is a label at once, and undo takes it back.
    review = person.tab("Review")
    gallery = review._gallery
    person.qtbot.waitUntil(lambda: gallery.count() > 0)
    first = gallery.item(0)
    QTest.mouseClick(gallery.viewport(), LEFT, pos=gallery.visualItemRect(first).center())
    reviewed = session.current
    assert reviewed == gallery.ids[0]
    QTest.keyClick(gallery, Qt.Key.Key_3)
    assert label_of(session, reviewed) == "ring"
    QTest.keyClick(gallery, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert label_of(session, reviewed) == ""
    QTest.mouseClick(gallery.viewport(), LEFT, pos=gallery.visualItemRect(first).center())
    QTest.keyClick(gallery, Qt.Key.Key_Return)
    accepted = session.particles.predicted[session.particles.id == reviewed][0]
    assert label_of(session, reviewed) == accepted

    # Export, and read it back.
    export = person.tab("Export")
    export._format.setCurrentIndex(export._format.findData("csv"))
    written = tmp_path / "list.csv"
    answer_dialogs_with(monkeypatch, written)
    person.press("Write the list …")
    person.qtbot.waitUntil(lambda: export.written is not None)
    back = read_particles(written)
    chosen = export.chosen()
    np.testing.assert_array_equal(back.positions, chosen.positions)
    np.testing.assert_array_equal(
        back.predicted, np.where(chosen.label != "", chosen.label, chosen.predicted)
    )
    person.press("Show re-imported")
    person.qtbot.waitUntil(lambda: "read back: list.csv" in person.viewer.layers)
    overlay = person.viewer.layers["read back: list.csv"]
    np.testing.assert_array_equal(overlay.data, chosen.positions)
    assert "at most 0.0 Å" in export._said.text()

    # Import into the same project, as one step that can be undone.
    before = len(session.particles)
    importer = person.tab("Open").importer
    person.press("Import list …")
    person.qtbot.waitUntil(lambda: importer.listing is not None)
    person.press(f"Import {len(chosen)} particles")
    person.idle(session)
    assert len(session.particles) == before + len(chosen)
    assert (session.particles.source == "import").sum() == len(chosen)
    session.undo()
    assert len(session.particles) == before

    # Everything is in the project's file: a second reader finds the same labels.
    with Project.open(session.project.folder) as other:
        found = other.particles("blobs")
    np.testing.assert_array_equal(found.label, session.particles.label)
    assert person.marks() == {"Open", "Pick", "Train", "Review", "Export"}
