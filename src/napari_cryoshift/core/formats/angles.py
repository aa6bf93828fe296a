"""Orientations as lists have them: three angles in degrees, of RELION's kind or of TOM's.

Orientations are active rotations, (n, 3, 3), reference to tomogram, acting on x, y, z.
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

_Floats = npt.NDArray[np.float64]


def relion_angles(orientations: _Floats) -> _Floats:
    """Return rot, tilt and psi, (n, 3): about z, y' and z'' they turn the tomogram back."""
    return _angles(Rotation.from_matrix(orientations).inv(), "ZYZ")


def from_relion_angles(angles: _Floats) -> _Floats:
    """Return the orientations, (n, 3, 3), of rot, tilt and psi, (n, 3)."""
    return _matrices(Rotation.from_euler("ZYZ", angles, degrees=True).inv())


def tom_angles(orientations: _Floats) -> _Floats:
    """Return phi, theta and psi, (n, 3), as TOM, PyTom and STOPGAP have them.

    They turn the reference about z by phi, about x by theta and about z by psi, about axes that
    stay where they are. Dynamo's tdrot, tilt and narot are those of the transposed matrices.
    """
    return _angles(Rotation.from_matrix(orientations), "zxz")


def from_tom_angles(angles: _Floats) -> _Floats:
    """Return the orientations, (n, 3, 3), of phi, theta and psi, (n, 3)."""
    return _matrices(Rotation.from_euler("zxz", angles, degrees=True))


def _angles(rotations: Rotation, axes: Literal["ZYZ", "zxz"]) -> _Floats:
    with warnings.catch_warnings():
        # Where nothing tilts, only the sum of the other two counts; any choice is right.
        warnings.filterwarnings("ignore", message="Gimbal lock")
        return np.asarray(rotations.as_euler(axes, degrees=True))


def _matrices(rotations: Rotation) -> _Floats:
    return np.asarray(rotations.as_matrix())
