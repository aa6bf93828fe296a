"""Encoders of the few-shot methods: a volume in, an embedding out."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from .convolution import Conv3d, pooled_block


class ProtoNet3D(nn.Module):
    """The encoder of Li et al. 2020: four blocks of convolution, batch norm, ReLU and max-pool.

    64 filters a block, then flattened: 334,272 parameters, and 512 features at 32³ voxels.

    Parameters
    ----------
    box
        Side of the volumes, voxels; at least 16.
    filters
        A block.
    """

    def __init__(self, box: int, filters: int = 64) -> None:
        super().__init__()
        if box < 16:
            raise ValueError(f"box {box} is too small for four poolings; give at least 16")
        widths = [1, filters, filters, filters, filters]
        self.blocks = nn.Sequential(*(pooled_block(a, b) for a, b in pairwise(widths)))
        self.width = filters * (box // 16) ** 3

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, d, d, d) → (b, width)."""
        features: Tensor = self.blocks(volumes.unsqueeze(1))
        return features.flatten(1)


class StridedEncoder(nn.Module):
    """A small encoder for CPUs: strided convolutions instead of pooling at full resolution.

    Max-pooling full-resolution feature maps is what a CPU spends its time on; a strided 5³ stem
    leaves an eighth of the voxels after the first layer.

    Parameters
    ----------
    box
        Side of the volumes, voxels; a multiple of 8.
    width
        Length of the embedding.
    filters
        Of the stem; later stages have two and four times as many.
    """

    def __init__(self, box: int, width: int = 128, filters: int = 32) -> None:
        super().__init__()
        if box % 8:
            raise ValueError(f"box {box} cannot be halved three times; give a multiple of 8")
        self.stages = nn.Sequential(
            _strided_block(1, filters, kernel=5, stride=2),
            _strided_block(filters, 2 * filters, kernel=3, stride=2),
            _strided_block(2 * filters, 2 * filters, kernel=3, stride=1),
            _strided_block(2 * filters, 4 * filters, kernel=3, stride=2),
            _strided_block(4 * filters, 4 * filters, kernel=3, stride=1),
        )
        self.head = nn.Linear(4 * filters * (box // 8) ** 3, width)
        self.width = width

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, d, d, d) → (b, width)."""
        embedding: Tensor = self.head(self.stages(volumes.unsqueeze(1)).flatten(1))
        return embedding


def few_shot_encoder(
    network: Literal["strided", "protonet3d"], box: int, width: int
) -> ProtoNet3D | StridedEncoder:
    """Make an encoder by its name; only the strided one has a width to choose."""
    return ProtoNet3D(box) if network == "protonet3d" else StridedEncoder(box, width)


def _strided_block(inputs: int, outputs: int, *, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
    )
