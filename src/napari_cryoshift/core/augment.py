"""Volumes changed as another imaging might, without making another missing wedge of theirs."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_REVERSED = ((), (-2, -1), (-3, -1), (-3, -2))
"""Axes that are reversed by no turn, and by a half turn about z, y and x."""
_MOVED = 2
_TERMS = 4


def half_turns(volumes: Tensor, generator: np.random.Generator) -> Tensor:
    """Turn each volume by 180° about z, y or x, or not at all.

    These turns map the missing wedge on itself, whatever its width, if the tilt axis is y and the
    tilt range symmetric. The voxel in the centre, d // 2, stays where it is; of an even side, the
    outermost plane comes back on its own side.

    Parameters
    ----------
    volumes
        (n, d, d, d).
    generator
        Draws one of the four for each.
    """
    which = generator.integers(len(_REVERSED), size=len(volumes))
    turned = [_turned(v, _REVERSED[turn]) for v, turn in zip(volumes, which, strict=True)]
    return torch.stack(turned)


def every_half_turn(volumes: Tensor) -> Tensor:
    """(n, d, d, d) → (4, n, d, d, d): as they are, and turned by 180° about z, y and x."""
    return torch.stack([_turned(volumes, axes) for axes in _REVERSED])


def randomised(volumes: Tensor, generator: np.random.Generator) -> Tensor:
    """Move, blur or sharpen, and cover with noise each volume in another way.

    What is learnt from such volumes depends less on the defocus, the noise and the centring that
    they were simulated with (domain randomisation, Tobin et al. 2017).

    A volume is moved by at most two voxels along each axis, what leaves it coming back on the other
    side. The noise has the mean power spectrum of the volumes, thus their missing wedge, and at
    most their power. Then a smooth function of the frequency, exp(Σ c_j cos jπr / √j) of four terms
    with c_j from a normal distribution of standard deviation 0.5, multiplies the spectrum; r is 1
    at the Nyquist frequency.

    Parameters
    ----------
    volumes
        (n, d, d, d), of like grey values.
    generator
        Draws all of it.
    """
    n, side = len(volumes), volumes.shape[-1]
    moves = generator.integers(-_MOVED, _MOVED + 1, (n, 3)).tolist()
    moved = torch.stack([v.roll(move, (0, 1, 2)) for v, move in zip(volumes, moves, strict=True)])
    spectra = torch.fft.rfftn(moved, dim=(1, 2, 3))

    def drawn(numbers: npt.NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(numbers.astype(np.float32)).to(volumes.device)

    white = torch.fft.rfftn(drawn(generator.normal(size=volumes.shape)), dim=(1, 2, 3))
    colour = spectra.abs().square().mean(0).sqrt() / side**1.5
    noise = drawn(generator.uniform(0, 1, (n, 1, 1, 1))) * colour * white

    axis, half = torch.fft.fftfreq(side), torch.fft.rfftfreq(side)
    frequency = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + half**2).sqrt()
    r = (2 * frequency).clamp(max=1).to(volumes.device)
    terms = torch.arange(1, _TERMS + 1, device=volumes.device)
    waves = torch.cos(torch.pi * terms[:, None, None, None] * r) / terms.sqrt()[:, None, None, None]
    gain = torch.exp(torch.tensordot(drawn(generator.normal(0, 0.5, (n, _TERMS))), waves, 1))
    changed: Tensor = torch.fft.irfftn((spectra + noise) * gain, s=(side,) * 3, dim=(1, 2, 3))
    return changed


def _turned(volumes: Tensor, axes: tuple[int, ...]) -> Tensor:
    turned = volumes.flip(axes)
    # Reversing an axis of even length moves its central voxel by one.
    back = (1 - volumes.shape[-1] % 2,) * len(axes)
    return turned.roll(back, axes) if axes else turned
