"""FSDA, the small step-zero network of Cryo-Shift's comparison with few-shot adaptation."""

from torch import nn

from .convolution import pooled_block
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
            pooled_block(1, 16),
            pooled_block(16, 16),
            pooled_block(16, 16),
            pooled_block(16, 128),
            nn.Flatten(),
        )
        super().__init__(extractor, nn.Linear(width, classes), width)
