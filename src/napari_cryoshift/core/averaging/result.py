"""A mean of particles, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.matching import Fit
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.tomograms import save_volume

_THRESHOLD = 0.143
"""Of the FSC of half sets: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003)."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Average:
    """The mean of n particles, of each half of them, and how each of them lies.

    Attributes
    ----------
    mean
        (d, d, d) float32 zyx, protein positive, within a ball of the diameter.
    halves
        (2, d, d, d) the means of the even and of the odd rows.
    voxel_size
        Å.
    frequency, fsc
        (m,) 1/Å, and the Fourier shell correlation of the halves there.
    fit
        Of each particle to the mean of its half; the score is NaN where nothing was aligned.
    structure
        The mean with each shell weighted by how much of it is no noise, to be compared with other
        particles of the same tomogram.
    """

    mean: Floats
    halves: Floats
    voxel_size: float
    frequency: npt.NDArray[np.float64]
    fsc: npt.NDArray[np.float64]
    fit: Fit
    structure: Structure

    @property
    def resolution(self) -> float:
        """Å at which the FSC first falls below 0.143; infinite if nothing is above it."""
        below = np.flatnonzero(self.fsc < _THRESHOLD)
        if len(below) == 0:
            return float(1 / self.frequency[-1])
        last = int(below[0])
        if last == 0:
            return float("inf")
        share = (self.fsc[last - 1] - _THRESHOLD) / (self.fsc[last - 1] - self.fsc[last])
        lower, upper = self.frequency[last - 1 : last + 1]
        return float(1 / (lower + share * (upper - lower)))


def save_average(path: Path, average: Average) -> Path:
    """Write the mean as an MRC file, and beside it NAME.fsc.csv with the correlation of halves.

    Returns
    -------
    Path
        Of the second file.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    curve = path.with_suffix(".fsc.csv")
    save_volume(path, average.mean, average.voxel_size)
    rows = zip(average.frequency, average.fsc, strict=True)
    lines = ["frequency_per_angstrom,fsc", *(f"{k:.6f},{value:.4f}" for k, value in rows)]
    write_text(curve, "\n".join(lines) + "\n")
    return curve
