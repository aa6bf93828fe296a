"""How a tomogram was taken, as far as comparing with a structure needs it."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.simulate import imaging

from .fields import Envelope, Resolution


class BandParams(Params):
    """Which frequencies of a tomogram are compared."""

    resolution: Resolution = 40.0
    missing_wedge: float = Field(
        30.0,
        ge=0,
        lt=90,
        title="Missing wedge",
        description="Half angle in degrees; 30 is a tilt range of 120°.",
    )
    tilt_centre: float = Field(
        0.0, gt=-60, lt=60, title="Middle of the tilt range", description="Degrees."
    )

    def seen(self, k: Tensor) -> Tensor:
        """Whether the tilt series has seen frequencies (..., 3) xyz: (...) bool.

        What `imaging.missing_wedge` says on the grid of a box, for any frequency.
        """
        slack = 1e-6 * float(k.abs().max())
        x, z = k[..., 0].abs(), k[..., 2] * torch.where(k[..., 0] < 0, -1.0, 1.0)
        half = 90 - self.missing_wedge
        lowest, highest = (math.radians(self.tilt_centre + side * half) for side in (-1, 1))
        below = z * math.cos(highest) <= x * math.sin(highest) + slack
        return below & (z * math.cos(lowest) >= x * math.sin(lowest) - slack)


class OpticsParams(BandParams):
    """What the microscope let through, which a template has to go through too."""

    defocus: float = Field(
        0.0,
        ge=-20,
        le=0,
        title="Defocus",
        description="µm, negative is underfocus; 0 where the contrast transfer was corrected.",
    )
    cs: float = Field(2.7, ge=0, le=10, title="Spherical aberration", description="mm.")
    voltage: float = Field(300.0, gt=0, le=2000, title="Voltage", description="kV.")
    amplitude_contrast: float = Field(
        0.07, ge=0, lt=1, title="Amplitude contrast", description="Fraction."
    )
    envelope: Envelope = 60.0

    def transfer(self, k: Tensor, defocus: Tensor | float | None = None) -> Tensor:
        """CTF with its envelope.

        Parameters
        ----------
        k
            Spatial frequency, 1/Å.
        defocus
            µm, in place of that of the parameters; broadcasts against ``k``.
        """
        passed = imaging.envelope(k, self.envelope)
        underfocus = torch.as_tensor(self.defocus if defocus is None else defocus).to(k)
        contrast = imaging.ctf(
            k,
            underfocus,
            cs=self.cs,
            voltage=self.voltage,
            amplitude_contrast=self.amplitude_contrast,
        )
        return passed * torch.where(underfocus == 0, torch.ones_like(contrast), contrast)
