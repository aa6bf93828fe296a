"""Open: a tomogram, what its header says, whether its particles are dark; and lists of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QSignalBlocker, QSize, Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QIcon, QPalette
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSlider,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_cryoshift.core.formats import FORMATS
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.simulate.sample import sample_tomogram
from napari_cryoshift.core.tomograms import (
    SUFFIXES,
    check_values,
    guess_dark,
    open_tomogram,
    read_header,
)
from napari_cryoshift.core.types import Particles, Tomogram

from .editors import FloatEdit
from .images import tomogram_from
from .importing import LIST_FILES, Importer
from .panel import RED, Panel, button, wrapped
from .pictures import limits, middle_section, pixmap
from .project import ProjectRow
from .reader import give_lists_to, is_list
from .recovery import Recovery

if TYPE_CHECKING:
    import napari

_PICTURE = 132  # pixels
_THICKEST = 1000  # Å
_FILTER = "Tomograms ({})".format(" ".join(f"*{suffix} *{suffix}.gz" for suffix in SUFFIXES))

_WELCOME = """
<ol style="-qt-list-indent: 0; margin-left: 16px">
<li><b>Open</b> a tomogram: a file, or any image that is open in napari.</li>
<li><b>Pick</b> candidates by the size of the particle.</li>
<li><b>Label</b> a few of each kind; the rest is predicted at once.</li>
<li><b>Review</b> what is doubtful.</li>
<li><b>Export</b> the list to RELION and others.</li>
</ol>
Nothing has to be trained. Each step is kept on the disk at once and can be undone.
"""


class OpenPanel(Panel):
    """Open a file, an image layer or the sample; check voxel size and contrast."""

    title = "Open"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.setAcceptDrops(True)
        self._sources = QWidget()
        sources = QVBoxLayout(self._sources)
        sources.setContentsMargins(0, 0, 0, 0)
        buttons = QHBoxLayout()
        buttons.addWidget(button("Open file …", self._ask, "MRC or EM, packed with gzip or not"))
        buttons.addWidget(
            button(
                "Import list …",
                self._ask_list,
                f"A particle list, of any of {len(FORMATS)} formats",
            )
        )
        buttons.addWidget(
            button("Try the sample", self.open_sample, "A crowded tomogram, simulated")
        )
        sources.addLayout(buttons)
        self._layers = QComboBox()
        self._layers.setToolTip("Any three-dimensional image that is open, e.g. an OME-Zarr")
        self._layers.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._use_this = button("Use this layer", self._use_chosen)
        row = QHBoxLayout()
        row.addWidget(self._layers, 1)
        row.addWidget(self._use_this)
        sources.addLayout(row)
        self._recovery = Recovery()
        self._recovery.wanted.connect(self._go_on_with)
        sources.addWidget(self._recovery)
        self._project = ProjectRow()
        self._project.named.connect(self._save_project)
        self._project.opened.connect(self._open_project)
        sources.addWidget(self._project)
        self.body.addWidget(self._sources)
        self.importer = Importer(self.session, self._bar)
        self.importer.imported.connect(self._say_imported)
        self.importer.closed.connect(self._show)
        self._imported = ""
        self.body.addWidget(self.importer)
        self._report = self._make_report()
        self.body.addWidget(self._report)
        self._welcome = wrapped(_WELCOME)
        self.body.addWidget(self._welcome)
        self.body.addStretch(1)

        viewer.layers.events.inserted.connect(self._on_new_layer)
        viewer.layers.events.removed.connect(self._list_layers)
        self._list_layers()
        self.listen(self.session.tomogram_changed, self._show_tomogram)
        self.listen(self.session.diameter_changed, self._show_slab)
        give_lists_to(self)
        self._show()

    def advice(self) -> str:  # noqa: D102
        tomogram = self.session.tomogram
        if tomogram is None:
            return "Open a tomogram, or try the sample."
        if self._size_is_doubtful():
            return "Type the voxel size in Å: everything else is measured with it."
        if not self.importer.isHidden():
            return "Look whether the particles lie where they should; nothing is imported before."
        if self._imported:
            return f"{self._imported} Undo takes them back. Next: Label."
        shade = "dark" if tomogram.dark else "light"
        return f"{tomogram.name} is open, its particles are {shade}. Next: Pick."

    # --- opening ---

    def open_file(self, path: Path) -> None:
        """Open a tomogram; where its header gives no voxel size, it is 1 Å until one is typed."""
        with self.attempt():
            known = read_header(path).voxel_size > 0
            tomogram = open_tomogram(path, voxel_size=None if known else 1.0)
            check_values(tomogram)
            self._open(tomogram)

    def open_sample(self) -> None:
        """Make the sample tomogram, or take it from the cache, and open it."""

        def opened(sample: tuple[Tomogram, Particles]) -> None:
            self.session.open_tomogram(sample[0])

        with self.attempt():
            self.session.work.run(sample_tomogram(), "Making the sample", done=opened)

    def _use(self, layer: Image) -> None:
        """Work on an image layer that is open already."""
        with self.attempt():
            tomogram = tomogram_from(layer)
            check_values(tomogram)
            self.layers.image = layer
            self._open(tomogram)

    def _open(self, tomogram: Tomogram) -> None:
        seen_before = self.session.record_of(tomogram) is not None
        self.session.open_tomogram(tomogram)
        if not seen_before:
            self.session.work.run(
                _guess(tomogram), "Looking at the grey values", done=self._take_guess
            )

    def _take_guess(self, dark: bool) -> None:
        tomogram = self.session.tomogram
        if tomogram is not None and dark != tomogram.dark:
            self.session.change_tomogram(dark=dark)

    def _ask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a tomogram", "", _FILTER)
        if path:
            self.open_file(Path(path))

    def _ask_list(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import a particle list", "", LIST_FILES)
        if path:
            self.import_list(Path(path))

    def import_list(self, path: Path) -> None:
        """Show what a particle list says; it is imported when a person has seen that."""
        with self.attempt():
            self.importer.open(path)
            self._show()
            self._come_to_front()

    def _come_to_front(self) -> None:
        """Be seen, though another tab is open: a list may be dropped on the volume."""
        around = self.parentWidget()
        while around is not None and not isinstance(around, QTabWidget):
            around = around.parentWidget()
        if around is not None:
            around.setCurrentWidget(self)

    def _say_imported(self, sentence: str) -> None:
        self._imported = sentence

    def _save_project(self, folder: Path) -> None:
        with self.attempt():
            self.session.save_project_as(folder)
            self._show()

    def _open_project(self, folder: Path) -> None:
        with self.attempt():
            self._go_on_with(Project.open(folder), named=True)

    def _go_on_with(self, project: Project, *, named: bool = False) -> None:
        self.session.open_project(project, named=named)
        known = project.tomograms()
        if known and known[-1].path is not None:
            self.open_file(known[-1].path)
        elif known:
            self.show_error(
                f"{known[-1].name} came from an image layer; open that image again and use it"
            )

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: D102
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: D102
        path = Path(event.mimeData().urls()[0].toLocalFile())
        if is_list(path):
            self.import_list(path)
        else:
            self.open_file(path)

    def _on_new_layer(self, event: Any) -> None:
        self._list_layers()
        layer = event.value
        dropped = isinstance(layer, Image) and isinstance(layer.metadata.get("tomogram"), Tomogram)
        if dropped and self.session.tomogram is None:
            self._use(layer)

    def _list_layers(self, _: Any = None) -> None:
        names = [layer.name for layer in self.layers.viewer.layers if isinstance(layer, Image)]
        self._layers.clear()
        self._layers.addItems(names or ["no image is open"])
        self._layers.setEnabled(bool(names))
        self._use_this.setEnabled(bool(names))

    def _use_chosen(self) -> None:
        self._use(self.layers.viewer.layers[self._layers.currentText()])

    # --- what is open ---

    def _make_report(self) -> QWidget:
        report = QWidget()
        form = QFormLayout(report)
        form.setContentsMargins(0, 6, 0, 0)
        self._name, self._size, self._values = wrapped(""), wrapped(""), wrapped("")
        form.addRow("Tomogram", self._name)
        form.addRow("Size", self._size)
        form.addRow("Grey values", self._values)
        self._voxel = FloatEdit(low=1e-3, high=1e3)
        self._voxel.setObjectName("voxel_size")
        self._voxel.setToolTip("Edge of a voxel in Å; the project remembers what you type.")
        self._voxel.changed.connect(self._take_voxel_size)
        row = QHBoxLayout()
        row.addWidget(self._voxel, 1)
        row.addWidget(QLabel("Å"))
        form.addRow("Voxel size", row)
        form.addRow("Slab shown", self._make_slab())
        self._caveats = wrapped("")
        form.addRow(self._caveats)
        form.addRow(wrapped("Click the picture in which particles are <b>bright</b>:"))
        form.addRow(self._make_shades())
        return report

    def _make_slab(self) -> QWidget:
        slab = QWidget()
        row = QHBoxLayout(slab)
        row.setContentsMargins(0, 0, 0, 0)
        self._slab = QSlider(Qt.Orientation.Horizontal)
        self._slab.setRange(0, _THICKEST)
        self._slab.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._slab.setToolTip(
            "Sections are averaged over so much depth to be looked at; the thicker, the less noise."
        )
        self._slab.valueChanged.connect(self._take_slab)
        self._slab_size = QLabel("")
        row.addWidget(self._slab, 1)
        row.addWidget(self._slab_size)
        return slab

    def _take_slab(self, thickness: int) -> None:
        self.layers.set_slab(thickness)
        self._show_slab()

    def _show_slab(self) -> None:
        with QSignalBlocker(self._slab):
            self._slab.setValue(round(self.layers.slab))
        self._slab_size.setText(f"{self.layers.slab:.0f} Å thick")

    def _make_shades(self) -> QWidget:
        shades = QWidget()
        grid = QGridLayout(shades)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(2, 1)
        self._shades = QButtonGroup(self)
        for column, (dark, text) in enumerate(
            [(True, "dark in the file"), (False, "light in the file")]
        ):
            shade = button("", partial(self.session.change_tomogram, dark=dark), text)
            shade.setCheckable(True)
            shade.setIconSize(QSize(_PICTURE, _PICTURE))
            shade.setFixedSize(_PICTURE + 12, _PICTURE + 12)
            self._shades.addButton(shade, int(dark))
            grid.addWidget(shade, 0, column)
            grid.addWidget(QLabel(text), 1, column, Qt.AlignmentFlag.AlignHCenter)
        shades.setFixedHeight(_PICTURE + 44)
        return shades

    def _take_voxel_size(self) -> None:
        with self.attempt():
            self.session.change_tomogram(voxel_size=self._voxel.value())

    def _size_is_doubtful(self) -> bool:
        """Headers say 1 Å where nobody filled in the voxel size; a real one is larger."""
        tomogram = self.session.tomogram
        return tomogram is not None and not tomogram.voxel_size > 1.0

    def _show_tomogram(self) -> None:
        self._imported = ""
        self.importer.follow_tomogram()
        self._show()

    def _show(self) -> None:
        tomogram, importing = self.session.tomogram, not self.importer.isHidden()
        self._sources.setVisible(tomogram is None or not importing)
        self._report.setVisible(tomogram is not None and not importing)
        self._welcome.setVisible(tomogram is None and not importing)
        self._project.show_project(self.session.project, named=self.session.named)
        self.show_advice()
        if tomogram is None:
            with self.attempt():
                self._recovery.look()
            return
        self._recovery.forget()
        z, y, x = tomogram.shape
        self._name.setText(tomogram.name)
        nm = tomogram.voxel_size / 10
        self._size.setText(
            f"{x} × {y} × {z} voxels (x, y, z)\n{x * nm:.0f} × {y * nm:.0f} × {z * nm:.0f} nm"
        )
        section = middle_section(tomogram)
        low, high = limits(section)
        self._values.setText(f"{low:.2g} to {high:.2g} (no unit), {tomogram.data.dtype}")
        self._voxel.set_value(float(f"{tomogram.voxel_size:.6g}"))  # headers keep 32 bits
        palette = self.palette()
        if self._size_is_doubtful():
            palette.setColor(QPalette.ColorRole.Text, RED)
        self._voxel.setPalette(palette)
        self._caveats.setText("\n".join(tomogram.caveats))
        self._caveats.setVisible(bool(tomogram.caveats))
        for dark, sign in ((True, -1), (False, 1)):
            shade = self._shades.button(int(dark))
            shade.setIcon(QIcon(pixmap(sign * section, _PICTURE)))
            shade.setChecked(dark == tomogram.dark)


def _guess(tomogram: Tomogram) -> Job[bool]:
    yield Progress("looking at the grey values", 0, 1)
    return guess_dark(tomogram)
