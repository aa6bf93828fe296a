"""Where things lie in a crowded specimen: random sequential packing of spheres around shells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_cryoshift.core.progress import Job, Progress

_TRIES = 20
_BATCH = 500

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shell:
    """A closed spherical wall that nothing may touch from either side.

    Attributes
    ----------
    centre
        (3,) zyx, Å.
    radius
        Å, of the middle of the wall.
    thickness
        Å.
    """

    centre: FloatArray
    radius: float
    thickness: float


def pack(
    radii: FloatArray,
    extent: FloatArray,
    *,
    gap: float,
    shells: tuple[Shell, ...] = (),
    generator: np.random.Generator,
) -> Job[FloatArray]:
    """Place spheres one after the other, the largest first, each where nothing is yet.

    Parameters
    ----------
    radii
        (n,) Å.
    extent
        (3,) zyx, Å; every sphere lies inside the cuboid from 0 to here.
    gap
        Å, between any two surfaces at least.
    shells
        Walls that are there already.
    generator
        Of the trial positions.

    Returns
    -------
    numpy.ndarray
        (n, 3) zyx centres in Å, in the order of the radii.

    Raises
    ------
    ValueError
        If a sphere is larger than the cuboid, or finds no place in 10,000 trials.
    """
    if len(radii) and 2 * radii.max() > extent.min():
        raise ValueError(
            f"the largest object is {2 * radii.max():.0f} Å wide but the tomogram measures only "
            f"{extent.min():.0f} Å along one axis; enlarge it or leave that class out"
        )
    centres = np.empty((len(radii), 3))
    placed: list[int] = []
    for index in np.argsort(-radii, kind="stable"):
        radius = float(radii[index])
        reach = radii[placed] + radius + gap
        for _ in range(_TRIES):
            trial = generator.uniform(radius, extent - radius, (_BATCH, 3))
            apart = np.linalg.norm(trial[:, None] - centres[placed], axis=-1) - reach
            free = (apart >= 0).all(axis=1) & _clear_of(shells, trial, radius + gap)
            if free.any():
                centres[index] = trial[np.argmax(free)]
                break
        else:
            raise ValueError(
                f"only {len(placed)} of {len(radii)} objects fit with gaps of {gap:g} Å; "
                "ask for fewer particles, a smaller gap or a larger tomogram"
            )
        placed.append(int(index))
        yield Progress("packing particles", len(placed), len(radii))
    return centres


def _clear_of(
    shells: tuple[Shell, ...], centres: FloatArray, distance: float
) -> npt.NDArray[np.bool_]:
    """Say which of (n, 3) centres are at least this far from every wall."""
    clear = np.ones(len(centres), dtype=bool)
    for shell in shells:
        from_middle = np.abs(np.linalg.norm(centres - shell.centre, axis=1) - shell.radius)
        clear &= from_middle >= distance + shell.thickness / 2
    return clear
