"""An encoder that two domains share in part, and a classifier."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .convolution import Conv3d, pooled_block

Domain = Literal["source", "target"]

WIDTHS = (1, 16, 16, 16, 128)
"""Channels before, between and after the four blocks."""

FRONT = 2
"""Blocks in the front, after which maps of two volumes can still be compared."""


class Encoded(NamedTuple):
    """What an encoder makes of volumes.

    Attributes
    ----------
    maps
        (b, 16, d // 4, d // 4, d // 4) after the front.
    features
        (b, width).
    """

    maps: Tensor
    features: Tensor


class PartlyShared(nn.Module):
    """Four blocks, of which the first belong to a domain, and a linear classifier.

    Yu et al. 2020, fig. 2. Blocks that are shared have one set of weights and statistics of batch
    norm for each domain, so that either is normalised by its own. With none but shared blocks it
    is the network `FSDA`, of as many parameters.

    Parameters
    ----------
    box
        Side of the volumes, voxels; at least 16.
    classes
        How many.
    own
        Blocks that each domain has for itself, 2 in the paper.

    Raises
    ------
    ValueError
        If the box is too small.
    """

    def __init__(self, box: int, classes: int, own: int) -> None:
        super().__init__()
        if box < 16:
            raise ValueError(f"box {box} is too small for four poolings; give at least 16")
        blocks = [
            OwnBlock(*channels) if i < own else SharedBlock(*channels)
            for i, channels in enumerate(pairwise(WIDTHS))
        ]
        self.blocks = nn.ModuleList(blocks)
        self.width = WIDTHS[-1] * (box // 16) ** 3
        self.classifier = nn.Linear(self.width, classes)
        # A CPU needs half the time for it.
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def encode(self, volumes: Tensor, domain: Domain) -> Encoded:
        """(b, d, d, d) of a domain → maps after the front, and features."""
        maps = front = volumes.unsqueeze(1)
        for i, block in enumerate(self.blocks):
            maps = block(maps, domain)
            if i + 1 == FRONT:
                front = maps
        return Encoded(front, maps.flatten(1))

    def forward(self, volumes: Tensor, domain: Domain) -> Tensor:
        """(b, d, d, d) of a domain → (b, classes) logits."""
        logits: Tensor = self.classifier(self.encode(volumes, domain).features)
        return logits

    def of(self, domain: Domain) -> nn.ModuleList:
        """What a domain has for itself: its blocks, and its statistics in the others."""
        return nn.ModuleList(block.get_submodule(f"each.{domain}") for block in self.blocks)

    def begin_target(self) -> None:
        """Let what the target has for itself be as what the source has."""
        self.of("target").load_state_dict(self.of("source").state_dict())


class OwnBlock(nn.Module):
    """A block for each domain, at first the same."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        block = pooled_block(inputs, outputs)
        self.each = nn.ModuleDict({"source": block, "target": copy.deepcopy(block)})

    def forward(self, maps: Tensor, domain: Domain) -> Tensor:
        """(b, inputs, z, y, x) → (b, outputs, z // 2, y // 2, x // 2)."""
        pooled: Tensor = self.each[domain](maps)
        return pooled


class SharedBlock(nn.Module):
    """A block for both domains, whose batch norm has statistics of each."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = Conv3d(inputs, outputs, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        self.each = nn.ModuleDict({"source": _Statistics(outputs), "target": _Statistics(outputs)})

    def forward(self, maps: Tensor, domain: Domain) -> Tensor:
        """(b, inputs, z, y, x) → (b, outputs, z // 2, y // 2, x // 2)."""
        maps = self.each[domain](self.convolution(maps), self.scale, self.shift)
        return nn.functional.max_pool3d(maps.relu(), 2)


class _Statistics(nn.BatchNorm3d):
    """Batch norm whose scale and shift are not its own."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False)

    def forward(self, maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:  # type: ignore[override]
        """(b, channels, z, y, x) → the same, normalised, then scaled and shifted."""
        count = self.num_batches_tracked
        assert count is not None
        if self.training:
            count += 1
        # Without a momentum, every batch counts alike.
        share = self.momentum or 1 / max(1, int(count))
        return nn.functional.batch_norm(
            maps, self.running_mean, self.running_var, scale, shift, self.training, share, self.eps
        )
