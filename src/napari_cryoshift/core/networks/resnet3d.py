"""ResNet3D, a step-zero network of Cryo-Shift."""

from torch import Tensor, nn

from .convolution import Conv3d
from .densenet3d import stem
from .step_zero import StepZero

_BLOCKS = (3, 4, 23, 3)
_EXPANSION = 4


class ResNet3D(StepZero):
    """ResNet-101 in three dimensions (Hara et al. 2018), with projections as shortcuts.

    85,196,868 parameters for 4 classes. Its features are averages over the last map, so that it
    takes any box.

    Parameters
    ----------
    classes
        How many.
    """

    def __init__(self, classes: int) -> None:
        stages: list[nn.Module] = []
        width = 64
        for stage, blocks in enumerate(_BLOCKS):
            for block in range(blocks):
                halving = stage > 0 and block == 0
                stages.append(_Bottleneck(width, 64 * 2**stage, stride=2 if halving else 1))
                width = 64 * 2**stage * _EXPANSION
        extractor = nn.Sequential(
            nn.Unflatten(1, (1, -1)), *stem(), *stages, nn.AdaptiveAvgPool3d(1), nn.Flatten()
        )
        super().__init__(extractor, nn.Linear(width, classes), width)


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, planes: int, *, stride: int) -> None:
        super().__init__()
        outputs = planes * _EXPANSION
        self.residual = nn.Sequential(
            Conv3d(inputs, planes, 1, bias=False),
            nn.BatchNorm3d(planes),
            nn.ReLU(),
            Conv3d(planes, planes, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm3d(planes),
            nn.ReLU(),
            Conv3d(planes, outputs, 1, bias=False),
            nn.BatchNorm3d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                Conv3d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm3d(outputs)
            )

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.relu(self.residual(maps) + self.shortcut(maps))
