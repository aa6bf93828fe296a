"""DenseNet3D, a step-zero network of Cryo-Shift."""

import torch
from torch import Tensor, nn

from .convolution import Conv3d
from .step_zero import StepZero

_GROWTH, _BOTTLENECK = 32, 128
_LAYERS = (6, 12, 24, 16)


class DenseNet3D(StepZero):
    """DenseNet-121 in three dimensions (Hara et al. 2018): blocks of 6, 12, 24 and 16 layers.

    11,234,180 parameters for 4 classes. Its features are averages over the last map, so that it
    takes any box; an axis that is down to one voxel is not halved further.

    Parameters
    ----------
    classes
        How many.
    """

    def __init__(self, classes: int) -> None:
        stages: list[nn.Module] = []
        width = 64
        for layers in _LAYERS:
            if stages:
                stages.append(_Transition(width, width // 2))
                width //= 2
            for _ in range(layers):
                stages.append(_DenseLayer(width))
                width += _GROWTH
        extractor = nn.Sequential(
            nn.Unflatten(1, (1, -1)),
            *stem(),
            *stages,
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
        )
        super().__init__(extractor, nn.Linear(width, classes), width)


def stem() -> tuple[nn.Module, ...]:
    """Make the first layers of the networks of Hara et al.: (b, 1, d, d, d) → (b, 64, …)."""
    return (
        Conv3d(1, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
        nn.BatchNorm3d(64),
        nn.ReLU(),
        nn.MaxPool3d(3, stride=2, padding=1),
    )


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.new = nn.Sequential(
            nn.BatchNorm3d(inputs),
            nn.ReLU(),
            Conv3d(inputs, _BOTTLENECK, 1, bias=False),
            nn.BatchNorm3d(_BOTTLENECK),
            nn.ReLU(),
            Conv3d(_BOTTLENECK, _GROWTH, 3, padding=1, bias=False),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.new(maps)], 1)


class _Transition(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(
            nn.BatchNorm3d(inputs), nn.ReLU(), Conv3d(inputs, outputs, 1, bias=False)
        )

    def forward(self, maps: Tensor) -> Tensor:
        narrow: Tensor = self.narrow(maps)
        return nn.functional.avg_pool3d(narrow, [min(2, side) for side in narrow.shape[2:]])
