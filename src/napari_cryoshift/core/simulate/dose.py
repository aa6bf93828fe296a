"""What the electrons do to the specimen in the course of a tilt series."""

from __future__ import annotations

import torch
from torch import Tensor


def dose_symmetric_order(angles: Tensor) -> Tensor:
    """How many images were taken before each one, from 0° outwards (Hagen et al. 2017).

    Parameters
    ----------
    angles
        (t,) degrees.

    Returns
    -------
    Tensor
        (t,) int64: 0 for the tilt nearest to 0°; of +θ and −θ the former comes first.
    """
    # A little less for the positive side settles ties, also those that rounding has split.
    order = (angles.abs() - 1e-3 * angles.sign()).argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(angles), device=angles.device)
    return rank


def accumulated_dose(angles: Tensor, total: float) -> Tensor:
    """Dose up to the middle of each exposure of a dose-symmetric series of equal exposures.

    Parameters
    ----------
    angles
        (t,) degrees.
    total
        e/Å² over all tilts.

    Returns
    -------
    Tensor
        (t,) e/Å².
    """
    return (dose_symmetric_order(angles) + 0.5) * (total / len(angles))


def critical_dose(k: Tensor) -> Tensor:
    """Dose in e/Å² that takes a signal at k (1/Å) to 1/e of its power, at 300 kV.

    Grant & Grigorieff 2015, eq. 3; infinite at k = 0.
    """
    return 0.245 * k**-1.665 + 2.81


def damage(k: Tensor, dose: Tensor) -> Tensor:
    """What a dose leaves of the amplitude: exp(−N / 2 N_c(k)), Grant & Grigorieff 2015, eq. 5.

    Parameters
    ----------
    k
        (...) 1/Å.
    dose
        (t,) e/Å².

    Returns
    -------
    Tensor
        (t, ...).
    """
    doses = dose.reshape(-1, *[1] * k.ndim)
    return torch.exp(-doses / (2 * critical_dose(k)))
