"""How sure a mean of a few runs is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t


def mean_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """Return the mean of independent values and the half width of its 95 % interval.

    The interval is Student's: mean ± t(0.975, n − 1) · s / √n with the sample deviation s.

    Raises
    ------
    ValueError
        If there are fewer than two values.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    n = len(sample)
    if n < 2:
        raise ValueError(f"{n} value has no interval; give at least two")
    width = student_t.ppf(0.975, n - 1) * sample.std(ddof=1) / np.sqrt(n)
    return float(sample.mean()), float(width)
