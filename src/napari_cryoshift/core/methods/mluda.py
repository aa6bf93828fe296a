"""MLUDA: known classes gathered, parted and aligned, and all else kept away from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.losses import cognition_loss
from napari_cryoshift.core.types import OTHER

from .base import MethodParams
from .centred_classifier import CentredClassifier, MarginParams


class MludaParams(MarginParams):
    """Parameters of `Mluda`."""

    unknown: float = Field(
        2.5,
        gt=0,
        title="Margin of the unknown",
        description="Others further from every known class than this are left alone (m3).",
    )


class Mluda(CentredClassifier):
    """Margin-based loss for unsupervised domain alignment (Zeng et al., eq. 9).

    What the source calls other is its unknown class: a class of the softmax like the known ones,
    but one that is gathered nowhere and kept away from all of these.
    """

    name: ClassVar[str] = "mluda"
    title: ClassVar[str] = "Known classes among unknown ones"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, keeps all else away from them, and "
        "brings the picked particles in line without a label (MLUDA): some minutes on a processor."
    )
    params_type: ClassVar[type[MethodParams]] = MludaParams

    params: MludaParams

    def distances(self, features: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Discriminative loss of the known classes, cognition loss of the others."""
        if OTHER not in self.classes:
            return self.gathered(features, labels, self.params)
        other = self.classes.index(OTHER)
        unknown = labels == other
        known = [i for i in range(len(self.classes)) if i != other]
        return {
            **self.gathered(features[~unknown], labels[~unknown], self.params),
            "cognition loss": cognition_loss(
                features[unknown], self.centres[known], self.params.unknown
            ),
        }
