"""DSRF3D_v2, a step-zero network of Cryo-Shift."""

from torch import nn

from .convolution import Conv3d
from .step_zero import StepZero, fully_connected


class DSRF3D(StepZero):
    """Three blocks of two convolutions and a pooling (Che et al. 2018, there DSRF3D-v2).

    18,297,124 parameters for 4 classes at 40³ voxels.

    Parameters
    ----------
    box
        Side of the volumes, voxels; at least 8.
    classes
        How many.

    Raises
    ------
    ValueError
        If the box is too small.
    """

    def __init__(self, box: int, classes: int) -> None:
        if box < 8:
            raise ValueError(f"box {box} is too small for three poolings; give at least 8")
        width = 128 * (box // 8) ** 3
        extractor = nn.Sequential(
            nn.Unflatten(1, (1, -1)), _block(1, 32), _block(32, 64), _block(64, 128), nn.Flatten()
        )
        super().__init__(extractor, fully_connected(width, 1024, classes, dropout=0.7), width)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        Conv3d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
    )
