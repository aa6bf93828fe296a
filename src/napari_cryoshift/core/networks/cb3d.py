"""CB3D, the main step-zero network of Cryo-Shift."""

from torch import nn

from .convolution import Conv3d
from .step_zero import StepZero, fully_connected


class CB3D(StepZero):
    """Six convolutions, four poolings, three linear layers (Che et al. 2018; Cryo-Shift, table 1).

    72,240,516 parameters for 4 classes at 40³ voxels.

    Parameters
    ----------
    box
        Side of the volumes, voxels; at least 16.
    classes
        How many.

    Raises
    ------
    ValueError
        If the box is too small.
    """

    def __init__(self, box: int, classes: int) -> None:
        if box < 16:
            raise ValueError(f"box {box} is too small for four poolings; give at least 16")
        width = 512 * (box // 8) * (box // 16) ** 2
        extractor = nn.Sequential(
            nn.Unflatten(1, (1, -1)),
            *_convolution(1, 64),
            nn.MaxPool3d((1, 2, 2)),
            *_convolution(64, 128),
            nn.MaxPool3d(2),
            *_convolution(128, 256),
            *_convolution(256, 256),
            nn.MaxPool3d(2),
            *_convolution(256, 512),
            *_convolution(512, 512),
            nn.MaxPool3d(2),
            nn.Flatten(),
        )
        super().__init__(extractor, fully_connected(width, 4096, classes, dropout=0.5), width)


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return Conv3d(inputs, outputs, 3, padding=1), nn.ReLU()
