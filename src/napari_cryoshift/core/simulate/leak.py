"""Can classes be told apart by their variance alone? Then a figure on such data means little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.types import Subtomograms

_BATCH = 64
_DIGITS = 4  # of a natural logarithm: finer differences are rounding errors of standardised volumes


@dataclass(frozen=True)
class VarianceLeak:
    """How well one number a volume, its standard deviation, tells the class.

    Attributes
    ----------
    accuracy
        Mean over classes of the share of volumes whose class is right.
    chance
        What guessing gives: one over the number of classes.
    error
        Half of the 95 % interval of the accuracy.
    """

    accuracy: float
    chance: float
    error: float

    def __str__(self) -> str:
        return (
            f"by its variance alone {self.accuracy:.0%} ± {self.error:.0%} of the volumes get "
            f"their class right (chance {self.chance:.0%})"
        )

    @property
    def leaks(self) -> bool:
        """True where the accuracy is above chance beyond its interval."""
        return self.accuracy - self.error > self.chance


def variance_leak(volumes: Subtomograms) -> Job[VarianceLeak]:
    """Classify every volume by the logarithm of its standard deviation.

    By the nearest class mean, with the volume itself left out. Volumes that were standardised
    have nothing to tell; sets of the papers' simulator, whose noise follows each particle's own
    signal, do.

    Parameters
    ----------
    volumes
        Labelled, two or more of at least two classes, as they are stored: not standardised.

    Raises
    ------
    ValueError
        If there are fewer labels than that.
    """
    labels = np.zeros(0) if volumes.labels is None else volumes.labels
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise ValueError(
            f"{len(classes)} classes with at least {counts.min() if len(counts) else 0} volumes "
            "each; give two or more labelled volumes of two or more classes"
        )
    spread = np.empty(len(volumes))
    for start in range(0, len(volumes), _BATCH):
        batch = volumes[start : start + _BATCH]
        spread[start : start + len(batch)] = batch.cpu().double().std(dim=(1, 2, 3)).log().numpy()
        yield Progress("measuring variances", start + len(batch), len(volumes))
    spread = spread.round(_DIGITS)
    right = []
    for own, count in zip(classes, counts, strict=True):
        mine = spread[labels == own]
        distances = np.stack([np.abs(mine - spread[labels == other].mean()) for other in classes])
        distances[classes == own] = np.abs(mine - (mine.sum() - mine) / (count - 1))
        # Where several classes are equally near, the guess is right one time in so many.
        nearest = np.isclose(distances, distances.min(0))
        right.append((nearest[classes == own][0] / nearest.sum(0)).mean())
    accuracy = float(np.mean(right))
    errors = np.array(right) * (1 - np.array(right)) / counts
    return VarianceLeak(
        accuracy=accuracy,
        chance=1 / len(classes),
        error=float(1.96 * np.sqrt(errors.sum()) / len(classes)),
    )
