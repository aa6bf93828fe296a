"""How subtomograms are imaged: ranges to draw from, what a batch drew, and the papers' settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from napari_cryoshift.core.params import Params

from .microscope import MtfFile

Range = tuple[float, float]

_RANGES = (
    "snr",
    "defocus",
    "cs",
    "envelope",
    "missing_wedge",
    "resolution",
    "noise_slope",
)


class ImagingParams(Params):
    """How subtomograms are imaged; a pair is a range from which each volume draws its own value."""

    box: int = Field(32, ge=8, le=128, title="Box", description="Side of a volume, voxels.")
    voxel_size: float = Field(12.0, gt=0, title="Voxel size", description="Å.")
    route: Literal["fourier", "tilts"] = Field(
        "fourier",
        title="Route",
        description=(
            "fourier: wedge, CTF and noise are filters in three dimensions; fast. tilts: every "
            "tilt is projected, filtered and back-projected; slow, and coloured as real "
            "tomograms are."
        ),
    )
    snr: Range = Field(
        (0.05, 3.0),
        title="Signal-to-noise ratio",
        description="Drawn log-uniformly; in the convention below.",
    )
    snr_convention: Literal["nominal", "power"] = Field(
        "nominal",
        title="Convention of the ratio",
        description=(
            "power: variance of the signal over variance of the noise in the finished volume. "
            "nominal: that of the papers' simulator, before the filters; about 2.6 × the power "
            "ratio for 32³ voxels of 12 Å at a defocus of −5 µm."
        ),
    )
    noise_level: Literal["particle", "dose"] = Field(
        "particle",
        title="Noise level",
        description=(
            "particle: every class gets the stated ratio, as in the papers. dose: all get the "
            "same noise, so that small particles are harder; the ratio is the mean over classes."
        ),
    )
    defocus: Range = Field((-6.0, -2.0), title="Defocus", description="µm, negative is underfocus.")
    cs: Range = Field((2.7, 2.7), title="Spherical aberration", description="mm.")
    voltage: float = Field(300.0, gt=0, title="Voltage", description="kV.")
    amplitude_contrast: float = Field(
        0.07, ge=0, lt=1, title="Amplitude contrast", description="Fraction."
    )
    envelope: Range = Field(
        (60.0, 60.0),
        title="Envelope",
        description="Å at which the contrast transfer has fallen to 1/e.",
    )
    detector: float = Field(
        60.0,
        ge=0,
        title="Detector",
        description=(
            "Å at which the detector's transfer has fallen to 1/e, 0 for a perfect one; on the "
            "fast route that of its own noise alone."
        ),
    )
    mtf: MtfFile = Field(
        None,
        title="Detector curve",
        description=(
            "STAR file with the detector's modulation transfer, which filters all that it sees; "
            "tilt route, in place of the 1/e resolution above."
        ),
    )
    mtf_pixel_size: float = Field(
        1.35,
        gt=0,
        title="Pixel of the detector",
        description="Å, of the unbinned images that the detector's curve counts in; tilt route.",
    )
    dose: float = Field(
        0.0,
        ge=0,
        le=500,
        title="Dose",
        description="e/Å² over all tilts, from 0° outwards, which damages; tilt route.",
    )
    dose_weighting: bool = Field(
        False,
        title="Dose weighting",
        description=(
            "Whether each image is weighted by what the damage has left of its signal; tilt route."
        ),
    )
    missing_wedge: Range = Field(
        (30.0, 30.0),
        title="Missing wedge",
        description="Half angle; 30 is a tilt range of 120°. Degrees.",
    )
    tilt_centre: float = Field(
        0.0,
        gt=-60,
        lt=60,
        title="Middle of the tilt range",
        description="Degrees; 10 with a missing wedge of 30 is a range from −50° to +70°.",
    )
    tilt_step: float = Field(
        3.0, gt=0, le=30, title="Tilt step", description="Degrees; tilt route."
    )
    shift: float = Field(
        24.0, ge=0, title="De-centring", description="Largest displacement along each axis, Å."
    )
    resolution: Range = Field(
        (32.0, 32.0), title="Low-pass", description="Å; each volume draws its own cut-off."
    )
    noise_slope: Range = Field(
        (0.0, 0.0),
        title="Noise colour",
        description=(
            "Exponent of the frequency in the amplitude of the noise on top of the microscope's "
            "filters; −1 is pink, +1 a ramp."
        ),
    )
    neighbours: float = Field(
        0.0,
        ge=0,
        le=12,
        title="Crowding",
        description="Mean number of other particles of the set around each one.",
    )
    standardise: bool = Field(
        True,
        title="Standardise",
        description=(
            "Mean 0 and standard deviation 1 each. Without it the classes may differ by their "
            "variance alone."
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> ImagingParams:
        for name in _RANGES:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is ({low}, {high}); give the smaller number first")
        for name in ("snr", "envelope", "resolution"):
            low, _ = getattr(self, name)
            if low <= 0:
                raise ValueError(f"the lowest {name} is {low}; give one above 0")
        low, high = self.missing_wedge
        if low < 0 or high >= 90:
            raise ValueError(
                f"missing_wedge is ({low}, {high}); give half angles of at least 0° and below 90°"
            )
        if abs(self.tilt_centre) > low:
            raise ValueError(
                f"the tilt range about {self.tilt_centre:g}° with a missing wedge of {low:g}° goes "
                "beyond 90°; give a wider wedge or a middle nearer to 0°"
            )
        if self.tilt_step > 180 - 2 * high:
            raise ValueError(
                f"the tilt step of {self.tilt_step:g}° is wider than the tilt range of "
                f"{180 - 2 * high:g}°; give a smaller step"
            )
        return self


@dataclass(frozen=True, eq=False)
class Drawn:
    """What every volume of a batch drew from the ranges: tensors (b, 1, 1, 1) in the same units."""

    snr: Tensor
    defocus: Tensor
    cs: Tensor
    envelope: Tensor
    missing_wedge: Tensor
    resolution: Tensor
    noise_slope: Tensor

    def named(self) -> list[tuple[str, Tensor]]:
        """Return the names of the settings and their values."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def shared(self) -> Drawn:
        """Return those of one volume if all have the same but for the ratio, else all of them.

        What depends on them is then worked out once for the batch.
        """
        others = [values for name, values in self.named() if name != "snr"]
        if any((values != values[:1]).any() for values in others):
            return self
        return Drawn(**{name: values[:1] for name, values in self.named()})

    def to(self, device: torch.device | str) -> Drawn:
        """Return the same on a device."""
        return Drawn(**{name: values.to(device) for name, values in self.named()})


def draw(params: ImagingParams, generators: Sequence[np.random.Generator]) -> Drawn:
    """Draw the settings of a batch, each volume from a generator of its own."""

    def one(generator: np.random.Generator) -> list[float]:
        ranges = [getattr(params, name) for name in _RANGES[1:]]
        snr = np.exp(generator.uniform(*np.log(params.snr)))
        return [float(snr), *(float(generator.uniform(low, high)) for low, high in ranges)]

    values = torch.tensor([one(g) for g in generators], dtype=torch.float32)
    return Drawn(*values.reshape(-1, len(_RANGES), 1, 1, 1).unbind(1))


def _paper(box: int, voxel_size: float, **given: Any) -> ImagingParams:
    """Fill in what a paper leaves out by the public simulator that it names."""
    filled = {
        "resolution": (box * voxel_size / (box * voxel_size // 40),) * 2,
        "envelope": (5 * voxel_size,) * 2,
        "detector": 5 * voxel_size,
        "defocus": (-5.0, -5.0),
        "cs": (2.0, 2.0),
        "amplitude_contrast": 0.0,
        "shift": 0.0,
    }
    return ImagingParams(box=box, voxel_size=voxel_size, **filled | given)


PAPERS: dict[str, ImagingParams] = {
    "practical-analysis": _paper(32, 12.0, snr=(0.1, 0.1)),
    "cryo-shift": _paper(
        40,
        13.68,
        snr=(0.03, 10.0),
        missing_wedge=(0.0, 50.0),
        defocus=(-12.0, 0.0),
        cs=(1.5, 3.0),
    ),
    "fsft-s1": _paper(35, 10.0, snr=(0.1, 0.1), defocus=(-10.0, -10.0), cs=(2.2, 2.2)),
    "fsft-s2": _paper(35, 10.0, snr=(0.1, 0.1)),
    "mluda-s1": _paper(40, 9.2, snr=(3.0, 3.0), missing_wedge=(10.0, 10.0)),
    "mluda-s2": _paper(40, 9.2, snr=(7.0, 7.0), missing_wedge=(10.0, 10.0)),
    "mluda-s3": _paper(40, 9.2, snr=(10.0, 10.0), missing_wedge=(10.0, 10.0)),
}
"""The papers' settings by name, at their nominal ratio (one of several in two of the papers).

What a paper leaves out is that of the public simulator it names: the pass band ends at 40 Å, in
whole Fourier pixels; envelope and detector fall to 1/e at 0.4 of the Nyquist frequency; −5 µm,
2 mm, 300 kV; centred. FSFT gives no voxel size; it is taken as 10 Å.
"""
