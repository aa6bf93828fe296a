"""Angles as a program that many lists come from means them, written down from its source."""

from collections.abc import Callable

import numpy as np
import pytest


def _relion_matrix(rot: float, tilt: float, psi: float) -> np.ndarray:
    (sp, st, sc), (cp, ct, cc) = (f(np.radians([rot, tilt, psi])) for f in (np.sin, np.cos))
    return np.array(
        [
            [cc * ct * cp - sc * sp, cc * ct * sp + sc * cp, -cc * st],
            [-sc * ct * cp - cc * sp, -sc * ct * sp + cc * cp, sc * st],
            [st * cp, st * sp, ct],
        ]
    )


@pytest.fixture(scope="session")
def relion_matrix() -> Callable[[float, float, float], np.ndarray]:
    """The matrix of rot, tilt, psi: anglesToMatrix3 of RELION's Euler_angles_relion.h."""
    return _relion_matrix
