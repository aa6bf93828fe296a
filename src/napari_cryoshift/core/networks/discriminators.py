"""The discriminators of Cryo-Shift, which tell the real domain from the simulated one."""

import torch
from torch import Tensor, nn

from .convolution import Conv3d
from .step_zero import fully_connected

_SLOPE = 0.2


class VolumeDiscriminator(nn.Module):
    """D, which tells warped from real volumes (Cryo-Shift, section 2.4).

    At 40³ voxels the last pooling is one of 2³, as published; other boxes are pooled to one voxel
    likewise.

    Parameters
    ----------
    filters
        Of the first convolution; the last has eight times as many. 64, with 3,984,385 parameters,
        in the paper.
    """

    def __init__(self, filters: int = 64) -> None:
        super().__init__()
        f = filters
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, -1)),
            Conv3d(1, f, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.MaxPool3d(4),
            Conv3d(f, 4 * f, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.MaxPool3d(4),
            Conv3d(4 * f, 8 * f, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.AdaptiveMaxPool3d(1),
            nn.Flatten(),
            nn.Linear(8 * f, 1),
        )

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, d, d, d) → (b,) logits of being real; d is at least 16."""
        logits: Tensor = self.layers(volumes)
        return logits.squeeze(1)


class FeatureDiscriminators(nn.Module):
    """F_d, one discriminator of features a class (Cryo-Shift, section 2.5; MADA, Pei et al. 2018).

    Parameters
    ----------
    width
        Number of features.
    classes
        How many.
    deep
        Two hidden layers of 4096 with dropout, as published for CB3D and DSRF3D; else one of 512.
    """

    def __init__(self, width: int, classes: int, *, deep: bool) -> None:
        super().__init__()
        self.each = nn.ModuleList(
            fully_connected(width, 4096, 1, dropout=0.5)
            if deep
            else nn.Sequential(nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, 1))
            for _ in range(classes)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(b, classes, width), what each of them sees → (b, classes) logits of being real."""
        logits = [judge(seen) for judge, seen in zip(self.each, features.unbind(1), strict=True)]
        return torch.cat(logits, 1)
