"""How good a model of Cryo-Shift is, told without a label of the target; lower is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_cryoshift.core.domains import Domains
from napari_cryoshift.core.losses import mutual_information
from napari_cryoshift.core.networks.statistics import measuring, normalises
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.types import Subtomograms

if TYPE_CHECKING:
    from .cryoshift import CryoShift

_BATCH = 32


class Figure:
    """A number that a bookmark keeps."""

    def __init__(self) -> None:
        self.value = math.nan

    def state_dict(self) -> dict[str, float]:
        """Hand it out."""
        return {"value": self.value}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Take it back."""
        self.value = state_dict["value"]


def source_loss(trained: CryoShift, domains: Domains, here: Progress) -> Job[float]:
    """Cross-entropy on the source that was held out."""
    predicted = yield from _predicted(trained, domains.source, domains.held_out, here)
    labels = domains.labels[domains.held_out].cpu()
    return float(nn.functional.nll_loss(predicted.clamp(min=1e-12).log(), labels))


def adapted_loss(trained: CryoShift, domains: Domains, here: Progress) -> Job[float]:
    """The same, less what predictions say about the volumes of the target."""
    loss = yield from source_loss(trained, domains, here)
    predicted = yield from _predicted(trained, domains.target, domains.looked_at, here)
    return loss - float(mutual_information(predicted))


def _predicted(
    trained: CryoShift, volumes: Subtomograms, rows: npt.NDArray[np.int64], here: Progress
) -> Job[Tensor]:
    """Predictions, which leave the network with the statistics of these very volumes.

    Reported is ``here``, where the training stands meanwhile.
    """
    device = next(trained.network.parameters()).device
    batches = np.array_split(rows, -(-len(rows) // _BATCH))
    if trained.params.adaptation.statistics == "own" and normalises(trained.network):
        with measuring(trained.network):
            for batch in batches:
                with torch.no_grad():
                    trained.network(volumes[batch].to(device))
                yield here
    predicted = []
    for batch in batches:
        predicted.append(trained.predict(volumes[batch]).cpu())
        yield here
    return torch.cat(predicted)
