"""What lists of bare numbers have in common (Dynamo's tables, EM motive lists).

Each column holds a number in every row: names become numbers, and 0 stands for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from napari_cryoshift.core.types import Particles

from .base import numbered_classes


def describe(particles: Particles, tomograms: Mapping[str, int]) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns tag, tomogram, class and score, and what is to be said about them.

    Parameters
    ----------
    particles
        What to write.
    tomograms
        Their numbers, by name.

    Raises
    ------
    ValueError
        If there is no particle.
    """
    if not len(particles):
        raise ValueError("there are 0 particles, and such a list cannot be empty; pick some first")
    said = []
    first = int(particles.id.min())
    if first < 1:
        said.append(f"Tags are ids + {1 - first}, because tags count from 1.")
    classes, kinds = numbered_classes(particles)
    named = [
        f"{number} is {name}"
        for number, name in classes.items()
        if name not in (str(number), f"class {number}")
    ]
    if named:
        said.append(f"Classes are numbers in this list: {', '.join(named)}.")
    unscored = int((~np.isfinite(particles.score)).sum())
    if 0 < unscored < len(particles):
        said.append(f"{unscored} particles without a score have the score 0.")
    if particles.orientations is None:
        said.append("No particle has an orientation: all angles are 0.")
    table = pd.DataFrame(
        {
            "tag": particles.id + max(0, 1 - first),
            "tomogram": pd.Series(particles.tomogram).map(tomograms),
            "class": kinds,
            "score": np.nan_to_num(particles.score, nan=0.0, posinf=0.0, neginf=0.0),
        }
    )
    return table, said
