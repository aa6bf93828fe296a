"""What to simulate, as forms: a set of subtomograms, or a tomogram."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.simulate.settings import PAPERS, ImagingParams
from napari_cryoshift.core.simulate.source import SourceParams
from napari_cryoshift.core.simulate.tomogram import CrowdedParams

from .examples import Example, subtomogram_example, tomogram_example
from .form import Form

_OWN = "my own"

_BYTES_PER_VOXEL = 10
"""Of a tomogram and of its two volumes of truth."""

_DEFAULT_SET = SourceParams(
    chimeras=0, assemblies=0, distractors=0, per_class=100, imaging=ImagingParams()
)
_SET_FIELDS = ("per_class", "seed")
_IMAGING_FIELDS = (
    "box",
    "voxel_size",
    "snr",
    "snr_convention",
    "defocus",
    "missing_wedge",
    "neighbours",
)
_TOMOGRAM_FIELDS = (
    "shape",
    "voxel_size",
    "particles_per_class",
    "snr",
    "defocus",
    "membranes",
    "seed",
)


def _others(params_type: type[Params], shown: tuple[str, ...], *left_out: str) -> list[str]:
    return [name for name in params_type.model_fields if name not in (*shown, *left_out)]


class Recipe(QWidget):
    """A form of what to simulate, but for the structures, which are ticked elsewhere.

    Signals
    -------
    changed
        A person changed a value.
    """

    changed = Signal()

    def example(self, structures: tuple[str, ...], which: int, number: int) -> Job[Example]:
        """Make an example; ``which`` of these ids of the library, and what ``number``."""
        raise NotImplementedError

    def summary(self, structures: tuple[str, ...]) -> str:
        """Say what would be made."""
        raise NotImplementedError

    def room(self) -> float:
        """Diameter in Å of the largest structure that fits in."""
        raise NotImplementedError


class SetRecipe(Recipe):
    """Labelled subtomograms, imaged as in a paper or as one likes."""

    def __init__(self) -> None:
        super().__init__()
        self._paper = QComboBox()
        self._paper.addItems([_OWN, *PAPERS])
        self._paper.setToolTip("Fills in how the volumes of a paper's simulated sets were imaged")
        self._paper.currentTextChanged.connect(self._fill_in)
        self._set = Form(
            SourceParams,
            _SET_FIELDS,
            folded=_others(SourceParams, _SET_FIELDS, "structures", "hold_out", "imaging"),
            defaults=_DEFAULT_SET,
        )
        self._imaging = Form(
            ImagingParams, _IMAGING_FIELDS, folded=_others(ImagingParams, _IMAGING_FIELDS)
        )
        paper = QFormLayout()
        paper.addRow("Settings of a paper", self._paper)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(paper)
        column.addWidget(self._imaging)
        column.addWidget(self._set)
        for form in (self._imaging, self._set):
            form.changed.connect(self._follow)

    def params(self, structures: tuple[str, ...]) -> SourceParams:
        """Return what the forms say.

        Raises
        ------
        ValueError
            If no structure is ticked or the values do not fit, in one sentence.
        """
        _check_ticked(structures)
        return self._set.params(structures=structures, imaging=self._imaging.params())

    def example(self, structures: tuple[str, ...], which: int, number: int) -> Job[Example]:  # noqa: D102
        return subtomogram_example(self.params(structures), which, number)

    def summary(self, structures: tuple[str, ...]) -> str:  # noqa: D102
        params = self.params(structures)
        imaging = params.imaging
        classes = len(structures) + params.chimeras + params.assemblies + params.distractors
        count = classes * params.per_class
        return (
            f"{count:,} volumes of {classes} classes, {imaging.box}³ voxels of "
            f"{imaging.voxel_size:g} Å: {_bytes(4 * count * imaging.box**3)} on the disk."
        )

    def room(self) -> float:  # noqa: D102
        imaging = self._imaging.params()
        return imaging.box * imaging.voxel_size

    def _fill_in(self, paper: str) -> None:
        if paper in PAPERS:
            self._imaging.set_params(PAPERS[paper])
            self.changed.emit()

    def _follow(self) -> None:
        """Name the paper only as long as its settings stand."""
        now = self._imaging.value()
        same = (name for name, paper in PAPERS.items() if paper.model_dump() == now)
        with QSignalBlocker(self._paper):
            self._paper.setCurrentText(next(same, _OWN))
        self.changed.emit()


class TomogramRecipe(Recipe):
    """A crowded tomogram."""

    def __init__(self) -> None:
        super().__init__()
        self._form = Form(
            CrowdedParams,
            _TOMOGRAM_FIELDS,
            folded=_others(CrowdedParams, _TOMOGRAM_FIELDS, "classes"),
        )
        self._form.changed.connect(self.changed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._form)

    def params(self, structures: tuple[str, ...]) -> CrowdedParams:
        """Return what the form says.

        Raises
        ------
        ValueError
            If no structure is ticked or the values do not fit, in one sentence.
        """
        _check_ticked(structures)
        return self._form.params(classes=structures)

    def example(self, structures: tuple[str, ...], which: int, number: int) -> Job[Example]:  # noqa: D102
        return tomogram_example(self.params(structures), number)

    def summary(self, structures: tuple[str, ...]) -> str:  # noqa: D102
        params = self.params(structures)
        z, y, x = params.shape
        nm = params.voxel_size / 10
        return (
            f"{len(structures)} kinds of particle in {x} × {y} × {z} voxels, "
            f"{x * nm:.0f} × {y * nm:.0f} × {z * nm:.0f} nm: "
            f"{_bytes(_BYTES_PER_VOXEL * x * y * z)} on the disk."
        )

    def room(self) -> float:  # noqa: D102
        shown = self._form.value()
        extent = float(shown["voxel_size"] * min(shown["shape"]))
        return min(extent, shown["ice"]["thickness"] or extent)


def _check_ticked(structures: tuple[str, ...]) -> None:
    if not structures:
        raise ValueError('no structure is ticked; tick at least one under "Structures"')


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):,.1f} MB"
