"""JDDA: classes gathered and parted, and both domains' features of the same covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from .base import MethodParams
from .centred_classifier import CentredClassifier, MarginParams


class Jdda(CentredClassifier):
    """Joint domain alignment and discriminative features, by centres (Chen et al. 2019, eq. 8)."""

    name: ClassVar[str] = "jdda"
    title: ClassVar[str] = "Known classes, gathered and aligned"
    description: ClassVar[str] = (
        "Learns the structures that you expect and tick below, with the particles of each close "
        "together, far from the others, and in line with the picked ones, without a label (JDDA): "
        "some minutes on a processor."
    )
    params_type: ClassVar[type[MethodParams]] = MarginParams

    params: MarginParams

    def distances(self, features: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Both terms of the discriminative loss, of all classes."""
        return self.gathered(features, labels, self.params)
