"""The discriminator of few-shot adaptation, of pairs: is it one domain, and is it one class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .convolution import pooled_block
from .partly_shared import WIDTHS, Encoded

_HIDDEN = 64


class PairDiscriminator(nn.Module):
    """Tell four groups of pairs apart (FADA, Motiian et al. 2017; Yu et al. 2020, fig. 3).

    The groups are G1 source and source, same class; G2 source and target, same class; G3 and G4
    the same, different classes.

    Parameters
    ----------
    width
        Number of features.
    of_maps
        Whether it sees the maps after the front too, by its 3-D part; as in FSFT, not in FADA.
    """

    def __init__(self, width: int, *, of_maps: bool) -> None:
        super().__init__()
        self.of_features = nn.Sequential(
            nn.Linear(2 * width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()
        )
        channels = 2 * WIDTHS[2]
        self.of_maps = (
            nn.Sequential(
                pooled_block(channels, channels),
                pooled_block(channels, WIDTHS[-1]),
                nn.Flatten(),
                nn.Linear(width, _HIDDEN),
            )
            if of_maps
            else None
        )
        self.groups: nn.Module = nn.Linear(_HIDDEN, 4)
        if of_maps:
            self.groups = nn.Sequential(
                nn.Linear(2 * _HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 4)
            )
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, first: Encoded, second: Encoded) -> Tensor:
        """Members of b pairs → (b, 4) logits of the groups."""
        seen = self.of_features(torch.cat([first.features, second.features], 1))
        if self.of_maps is not None:
            both = self.of_maps(torch.cat([first.maps, second.maps], 1))
            seen = torch.cat([seen, both], 1)
        logits: Tensor = self.groups(seen)
        return logits
