"""EDSS3D: which voxels of a volume belong to a particle."""

from torch import Tensor, nn

from .convolution import Conv3d, rectified


class EDSS3D(nn.Module):
    """Encoder-decoder for semantic segmentation (Zeng et al. 2018).

    Convolution, pooling, twice; convolution and doubling, twice; a class a voxel: 111,748
    parameters for four classes.

    Parameters
    ----------
    classes
        How many, the background among them.
    filters
        Of each convolution.
    """

    def __init__(self, classes: int, filters: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, -1)),
            *rectified(1, filters),
            nn.MaxPool3d(2),
            *rectified(filters, filters),
            nn.MaxPool3d(2),
            *rectified(filters, filters),
            nn.Upsample(scale_factor=2),
            *rectified(filters, filters),
            nn.Upsample(scale_factor=2),
            *rectified(filters, filters),
            Conv3d(filters, classes, 1),
        )
        # Begun as torch does, hardly anything comes through so many layers, and nothing is learnt.
        for layer in self.layers:
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, d, d, d) → (b, classes, d, d, d) logits; d is a multiple of 4."""
        logits: Tensor = self.layers(volumes)
        return logits
