"""Autoencoder3D: a volume as a short vector, from which it can be drawn again."""

from torch import Tensor, nn

from .convolution import Conv3d, rectified


class Autoencoder3D(nn.Module):
    """Two convolutions and poolings down to a vector, and the same way back (Zeng et al. 2018).

    1,149,793 parameters at 32³ voxels. The decoder has one convolution more, without ReLU.

    Parameters
    ----------
    box
        Side of the volumes, voxels; a multiple of 4.
    width
        Length of the vector.
    filters
        Of each convolution.

    Raises
    ------
    ValueError
        If the box cannot be halved twice.
    """

    def __init__(self, box: int, width: int = 32, filters: int = 32) -> None:
        super().__init__()
        if box % 4:
            raise ValueError(f"box {box} cannot be halved twice; give a multiple of 4")
        side = box // 4
        inner = filters * side**3
        self.width = width
        self.encoder = nn.Sequential(
            nn.Unflatten(1, (1, -1)),
            *rectified(1, filters),
            nn.MaxPool3d(2),
            *rectified(filters, filters),
            nn.MaxPool3d(2),
            nn.Flatten(),
            nn.Linear(inner, width),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.Linear(width, inner),
            nn.ReLU(),
            nn.Unflatten(1, (filters, side, side, side)),
            nn.Upsample(scale_factor=2),
            *rectified(filters, filters),
            nn.Upsample(scale_factor=2),
            *rectified(filters, filters),
            Conv3d(filters, 1, 3, padding=1),
            nn.Flatten(1, 2),
        )

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """(b, d, d, d) → vectors (b, width) of values from 0 on, and volumes drawn from them."""
        vectors: Tensor = self.encoder(volumes)
        return vectors, self.decoder(vectors)
