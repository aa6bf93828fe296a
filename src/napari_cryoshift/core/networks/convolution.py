"""Convolution that is right at every size of the feature map, and what networks are made of."""

import torch
from torch import Tensor, nn


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d`, computed in float32 where the map is one or two voxels wide.

    There oneDNN (seen in 3.12) gets the bfloat16 gradient of the weights wrong: it reads memory
    that was never written, so that the loss becomes NaN after some steps, or worse, does not.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (its name in torch)
        """(b, c, z, y, x) → (b, channels, z', y', x')."""
        if input.device.type != "cpu" or min(input.shape[-3:]) > 2:
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


def pooled_block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU and max-pooling, which halves the map."""
    return nn.Sequential(
        Conv3d(inputs, outputs, 3, padding=1),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
        nn.MaxPool3d(2),
    )


def rectified(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Convolution of 3³ that keeps the size of the map, and ReLU."""
    return Conv3d(inputs, outputs, 3, padding=1), nn.ReLU()
