"""YOPO, the network of DISCA: features that do not depend on where in the box the particle is."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .convolution import Conv3d

_FILTERS = tuple(range(64, 209, 16))
_SMALL = (32, 48, 64, 80, 96)


class YOPO(nn.Module):
    """You only pool once (Zeng et al. 2023): the largest value of every map of every layer.

    Ten valid convolutions of 3³ with ELU and batch norm; the global maximum after each of them is
    kept, and a linear layer makes 1024 features of these 1360: 6,295,888 parameters. Noise is
    multiplied to the input while it is trained.

    Parameters
    ----------
    box
        Side of the volumes, voxels.
    filters
        Of each convolution.
    width
        Number of features.
    stem, stride
        Kernel and stride of the first convolution, voxels.
    noise
        Rate p of the multiplied noise, which is N(1, p / (1 − p)).

    Raises
    ------
    ValueError
        If the box is too small for so many convolutions.
    """

    def __init__(
        self,
        box: int,
        filters: tuple[int, ...] = _FILTERS,
        width: int = 1024,
        *,
        stem: int = 3,
        stride: int = 1,
        noise: float = 0.5,
    ) -> None:
        super().__init__()
        least = 2 * stride * (len(filters) - 1) + stem
        if box < least:
            raise ValueError(
                f"box {box} is too small for {len(filters)} valid convolutions; "
                f"give at least {least}"
            )
        self.noise = GaussianDropout(noise)
        first = _block(1, filters[0], kernel=stem, stride=stride)
        self.blocks = nn.ModuleList([first, *(_block(a, b) for a, b in pairwise(filters))])
        self.norm = nn.BatchNorm1d(sum(filters))
        self.dense = nn.Linear(sum(filters), width)
        self.width = width
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.orthogonal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    @classmethod
    def small(cls, box: int, *, noise: float = 0.5) -> YOPO:
        """A small one for CPUs: a strided stem of 5³, and five layers or as many as the box allows.

        At 24³ voxels it computes 70 times less than the published one.
        """
        layers = max(1, min(len(_SMALL), (box - 5) // 4 + 1))
        return cls(box, _SMALL[:layers], 256, stem=5, stride=2, noise=noise)

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, d, d, d) → (b, width)."""
        maps = self.noise(volumes.unsqueeze(1))
        largest = []
        for block in self.blocks:
            maps = block(maps)
            largest.append(maps.amax((2, 3, 4)))
        features: Tensor = self.dense(self.norm(torch.cat(largest, 1)))
        return features


class GaussianDropout(nn.Module):
    """Multiply by noise of mean 1 while training (Srivastava et al. 2014, section 10).

    Nothing is silenced: at rate p the variance of the noise is that of dropout, p / (1 − p).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.deviation = (rate / (1 - rate)) ** 0.5

    def forward(self, values: Tensor) -> Tensor:
        """Any shape → the same."""
        if not self.training or self.deviation == 0:
            return values
        noisy: Tensor = values * (1 + self.deviation * torch.randn_like(values))
        return noisy


def _block(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(inputs, outputs, kernel, stride=stride), nn.ELU(), nn.BatchNorm3d(outputs)
    )
