"""FSDA, the small step-zero network of Cryo-Shift's comparison with few-shot adaptation."""

from torch import nn

from .convolution import Conv3d
from .step_zero import StepZero


class FSDA(StepZero):
    """Four blocks of 16, 16, 16 and 128 filters (Yu et al. 2021; Cryo-Shift, table 6).

    74,180 parameters for 4 classes at 40³ voxels.

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
        width = 128 * (box // 16) ** 3
        extractor = nn.Sequential(
            nn.Unflatten(1, (1, -1)),
            _block(1, 16),
            _block(16, 16),
            _block(16, 16),
            _block(16, 128),
            nn.Flatten(),
        )
        super().__init__(extractor, nn.Linear(width, classes), width)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(inputs, outputs, 3, padding=1),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
        nn.MaxPool3d(2),
    )
