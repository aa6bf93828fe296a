"""How clusters are to be found: the way, its settings, and among which particles."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_cryoshift.core.grouping import WAYS
from napari_cryoshift.core.methods.autoencoder import AutoencoderParams
from napari_cryoshift.core.methods.disca_params import DiscaParams

from .editors import ChoiceEdit
from .form import Form
from .panel import button, tick, wrapped

_WAYS = {
    "quick": (
        "By what the program sees in particles already: seconds for a thousand of them.",
        ("components", "restarts", "tolerance", "seed"),
    ),
    "disca": (
        "Goes on from there and learns round by round, while it gets better (DISCA): minutes.",
        ("iterations", "components", "tolerance", "learning_rate", "batch", "seed"),
    ),
    "autoencoder": (
        "Globules from membranes and the like, by what it takes to draw them: minutes.",
        ("width", "filters", "sparsity", "passes", "learning_rate", "seed"),
    ),
}
"""Way to find them → what it does, and the settings that few people need."""


class ClusterSearch(QWidget):
    """Choose how clusters are found, and ask for it.

    Signals
    -------
    wanted
        They are to be found.
    """

    wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        body = QVBoxLayout(self)
        body.setContentsMargins(0, 0, 0, 0)
        self.way = ChoiceEdit(list(WAYS))
        self.way.setObjectName("way")
        self.way.changed.connect(self._show_way)
        row = QHBoxLayout()
        row.addWidget(QLabel("How"))
        row.addWidget(self.way, 1)
        row.addWidget(button("Find clusters", self.wanted.emit))
        body.addLayout(row)
        self._what = wrapped("")
        body.addWidget(self._what)
        self.forms: dict[str, Form[Any]] = {}
        for name, params in WAYS.items():
            _, folded = _WAYS[name]
            self.forms[name] = Form(type(params), ("clusters",), folded=folded, defaults=params)
            body.addWidget(self.forms[name])
        self._compare = tick(
            "Also compare with known structures",
            "Tells more kinds apart where particles are very noisy, fewer where they are clear.",
        )
        self._unknown = tick(
            "Only what is unknown", "What no prediction is sure enough of may be kinds of its own."
        )
        body.addWidget(self._compare)
        body.addWidget(self._unknown)
        self._show_way()

    @property
    def compares(self) -> bool:
        """Whether known structures are asked, too, which the quick way alone can do."""
        return bool(self.way.value() == "quick" and self._compare.isChecked())

    @property
    def only_unknown(self) -> bool:
        """Whether clusters are looked for among what no prediction is sure enough of."""
        return bool(self._unknown.isChecked())

    def params(self) -> DiscaParams | AutoencoderParams:
        """Return the settings of the way that was chosen.

        Raises
        ------
        ValueError
            As `Form.params` does.
        """
        chosen: DiscaParams | AutoencoderParams = self.forms[self.way.value()].params()
        return chosen

    def _show_way(self) -> None:
        way = self.way.value()
        self._what.setText(_WAYS[way][0])
        for name, form in self.forms.items():
            form.setVisible(name == way)
        self._compare.setVisible(way == "quick")
