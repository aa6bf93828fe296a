"""Centre loss: the features of each class are gathered around their centre."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from napari_cryoshift.core.losses import intra_class_loss

from .base import MethodParams
from .centred_classifier import CentredClassifier, CentredParams


class CenterLoss(CentredClassifier):
    """Cross-entropy and centre loss (Wen et al. 2016, eq. 5)."""

    name: ClassVar[str] = "center_loss"
    title: ClassVar[str] = "Known classes, gathered"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, with the particles of each close "
        "together (centre loss): some minutes on a processor."
    )
    params_type: ClassVar[type[MethodParams]] = CentredParams

    def distances(self, features: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Centre loss, of all classes."""
        return {"intra-class loss": intra_class_loss(features, labels, self.centres)}
