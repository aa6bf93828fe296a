"""The warp network of Cryo-Shift: noise and distortions that a network thinks of."""

import torch
from torch import Tensor, nn

from .convolution import Conv3d

_KERNEL, _SIGMA = 7, 1.0


class WarpNetwork(nn.Module):
    """W: one encoder, a decoder for noise and one for distortions (Cryo-Shift, section 2.3).

    The noise is added first, then the volume is distorted:

        O_n = I_n + noise, kept within [0, 1]
        grid_d = (G * W_d2(E_dec)) · W_d1(E_dec)   (eq. 1: W_d1 gives α, W_d2 the grid, G smooths)
        O_d(v) = O_n(v + grid_d(v))                (eq. 2)

    The last convolution of each decoder has no normalisation and no ReLU, so that it alone decides
    sign and amplitude within the bound.

    Parameters
    ----------
    box
        Side of the volumes, voxels. For the encoder, the last voxels of one that is no multiple of
        8 are repeated.
    filters
        Of the first convolution, 64 in the paper; the bottleneck has four times as many.
    noise
        Bound of what is added to a voxel, whose range is [0, 1]; 0 leaves the module out.
    distortion
        Bound of the displacement along each axis, voxels; 0 leaves the module out.
    """

    kernel: Tensor
    identity: Tensor

    def __init__(
        self, box: int, filters: int = 64, *, noise: float = 0.1, distortion: float = 0.2
    ) -> None:
        super().__init__()
        f, coarse = filters, -(-box // 8)
        self.padding = 8 * coarse - box
        self.noise, self.distortion = noise, distortion
        self.encoder = nn.ModuleList(
            [
                _block(1, f),
                nn.Sequential(nn.MaxPool3d(2), _block(f, f), _block(f, 2 * f)),
                nn.Sequential(nn.MaxPool3d(2), _block(2 * f, 2 * f), _block(2 * f, 2 * f)),
                nn.Sequential(nn.MaxPool3d(2), _block(2 * f, 4 * f)),
            ]
        )
        if noise:
            self.noise_decoder = _Decoder(f, 1)
        if distortion:
            self.grid_decoder = _Decoder(f, 3)
            self.alpha = nn.Sequential(
                Conv3d(2 * f, 1, 1), nn.Flatten(), nn.Linear(coarse**3, 3), nn.Sigmoid()
            )
            self.register_buffer("kernel", _gaussian(), persistent=False)
            self.register_buffer("identity", _identity(box), persistent=False)

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, d, d, d) in [0, 1] → the same, warped."""
        skips = []
        maps = nn.functional.pad(volumes.unsqueeze(1), (0, self.padding) * 3, mode="replicate")
        for stage in self.encoder:
            # Channels last: a CPU needs a third less time. What follows keeps the order.
            maps = stage(maps).contiguous(memory_format=torch.channels_last_3d)
            skips.append(maps)
        *skips, bottleneck = skips
        for_distortion, for_noise = bottleneck.chunk(2, 1)
        warped = volumes
        if self.noise:
            noise = self._cropped(self.noise_decoder(for_noise, skips))
            # Twice a sigmoid, less 1: one scaled to (-1, 1).
            bounded = self.noise * torch.tanh(noise.float() / 2)
            warped = (warped + bounded.squeeze(1)).clamp(0, 1)
        if self.distortion:
            grid = self._cropped(self.grid_decoder(for_distortion, skips))
            warped = self._displace(warped, self.displacement(grid, self.alpha(for_distortion)))
        return warped

    def displacement(self, grid: Tensor, alpha: Tensor) -> Tensor:
        """Eq. 1: the decoded grid bounded, smoothed and scaled.

        Parameters
        ----------
        grid
            (b, 3, d, d, d) output of the decoder: x, y, z.
        alpha
            (b, 3) in (0, 1).

        Returns
        -------
        Tensor
            (b, 3, d, d, d) displacements along x, y, z; voxels, at most `distortion` each.
        """
        with torch.autocast(grid.device.type, enabled=False):  # half precision moves voxels
            bounded = self.distortion * torch.tanh(grid.float() / 2)
            # A Gaussian is separable: three passes of 7 in place of one of 7³.
            for axis in range(3):
                shape, padding = [1, 1, 1], [0, 0, 0]
                shape[axis], padding[axis] = _KERNEL, _KERNEL // 2
                weight = self.kernel.reshape(1, 1, *shape).expand(3, 1, *shape)
                bounded = nn.functional.conv3d(bounded, weight, padding=padding, groups=3)
            return bounded * alpha.float()[:, :, None, None, None]

    def _cropped(self, decoded: Tensor) -> Tensor:
        side = decoded.shape[-1] - self.padding
        return decoded[..., :side, :side, :side]

    def _displace(self, volumes: Tensor, displacement: Tensor) -> Tensor:
        with torch.autocast(volumes.device.type, enabled=False):
            # grid_sample counts from -1 at the first voxel's centre to 1 at the last one's.
            step = 2 / (volumes.shape[-1] - 1)
            at = self.identity + step * displacement.movedim(1, -1)
            sampled = nn.functional.grid_sample(
                volumes.float().unsqueeze(1), at, padding_mode="reflection", align_corners=True
            )
        return sampled.squeeze(1)


def unit_range(volumes: Tensor) -> Tensor:
    """Scale each volume (n, d, d, d) so that its lowest voxel is 0 and its highest 1."""
    low, high = extremes(volumes)
    return (volumes - low) / (high - low).clamp(min=1e-12)


def extremes(volumes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest voxel of each volume (n, d, d, d), two of (n, 1, 1, 1)."""
    return volumes.amin((1, 2, 3), keepdim=True), volumes.amax((1, 2, 3), keepdim=True)


class _Decoder(nn.Module):
    """From half the bottleneck and the skip connections to full resolution."""

    def __init__(self, f: int, outputs: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_doubled(2 * f, 2 * f), _block(2 * f, 2 * f)),
                nn.Sequential(_doubled(4 * f, 2 * f), _block(2 * f, 2 * f), _block(2 * f, 2 * f)),
                nn.Sequential(_doubled(4 * f, 2 * f), _block(2 * f, f), _block(f, f)),
            ]
        )
        self.last = nn.Sequential(_block(2 * f, f), Conv3d(f, outputs, 3, padding=1))

    def forward(self, maps: Tensor, skips: list[Tensor]) -> Tensor:
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            maps = torch.cat([stage(maps), skip], 1)
        decoded: Tensor = self.last(maps)
        return decoded


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs), nn.LeakyReLU(0.2)
    )


def _doubled(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose3d(inputs, outputs, 2, stride=2),
        nn.BatchNorm3d(outputs),
        nn.LeakyReLU(0.2),
    )


def _gaussian() -> Tensor:
    """Centred, sum 1: a normalised kernel cannot carry a displacement beyond its bound."""
    offsets = torch.arange(_KERNEL) - _KERNEL // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    return weights / weights.sum()


def _identity(box: int) -> Tensor:
    affine = torch.eye(3, 4).unsqueeze(0)
    return nn.functional.affine_grid(affine, [1, 1, box, box, box], align_corners=True)
