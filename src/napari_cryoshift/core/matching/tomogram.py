"""Template matching: where in a tomogram a structure lies, and in which orientation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.ndimage import maximum_filter
from torch import Tensor

from napari_cryoshift.core.pick import separate
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.types import Particles, Tomogram

from .grids import rotation_grid
from .optics import OpticsParams
from .templates import Band, Template, computing_device, interpolate
from .windows import Corner, Windows

_ROTATIONS = 8
"""Templates that are correlated with a window at once."""

_SPECTRUM_WINDOWS = 8
"""Windows, of all, from which the spectrum of the tomogram is taken."""

_FLAT = 0.1
"""Standard deviation, of that of the whole, below which a place counts as having this one."""

_WEAKEST = 1e-6
"""Least power of a shell, of the greatest."""


class TemplateMatchingParams(OpticsParams):
    """How a structure is looked for in a tomogram."""

    rotation_step: float = Field(
        20.0,
        ge=4,
        le=90,
        title="Angular step",
        description="Between the orientations tried, degrees: 20 is 1856 of them, 10 is 14850.",
    )
    whiten: bool = Field(
        True,
        title="Whiten",
        description="Divide by the mean spectrum of the tomogram, most of which is noise.",
    )
    min_distance: float = Field(
        0.5,
        gt=0,
        le=2,
        title="Least distance",
        description="Of two places that are closer than this, the better one stays; in diameters "
        "of the structure.",
    )
    max_count: int = Field(
        2000, ge=0, title="Most places", description="How many of the best to keep; 0 keeps all."
    )


def match_tomogram(
    tomogram: Tomogram,
    structure: Structure,
    params: TemplateMatchingParams = TemplateMatchingParams(),  # noqa: B008 (frozen)
    *,
    device: torch.device | str | None = None,
) -> Job[Particles]:
    """Find the places of a tomogram that look like a structure in some orientation.

    The score of a place is the largest correlation coefficient, over the orientations, of the
    structure with what lies in a sphere around that place: Roseman, "Particle finding in electron
    micrographs using a fast local correlation algorithm", Ultramicroscopy 94, 225 (2003). The
    structure is seen through CTF and missing wedge, and filtered as the tomogram is.

    A tomogram with voxels finer than half the resolution is averaged over blocks of them first. It
    is read in windows, at a memory use that does not grow with it.

    Parameters
    ----------
    tomogram
        Where to look.
    structure
        What to look for.
    params
        How.
    device
        Where it is computed; by default the accelerator that was found.

    Returns
    -------
    Particles
        Best first, with score (above 0, at most 1) and orientation; positions lie between voxels.

    Raises
    ------
    ValueError
        If the tomogram is smaller than the structure, too coarse for it, constant or not finite.
    """
    place = computing_device(device)
    windows = Windows.of(tomogram, structure.diameter, params.resolution)
    across = structure.diameter / windows.voxel_size
    # Half a particle of room, so that what the wedge smears out does not fold over onto it.
    band = Band.of(2 * math.ceil(0.75 * across) + 4, windows.voxel_size, params, place)
    whitening = yield from _whitening(windows, band, params.whiten)
    seen = (params.transfer(band.radii) * whitening.template)[band.radius]
    rotations = rotation_grid(params.rotation_step).to(place)
    template = Template.of(structure, params.resolution, place)
    mask = _mask(across, band.box).to(place)

    peaks = []
    total = len(windows.corners) * len(rotations)
    for step, corner in enumerate(windows.corners):
        search = _Search.of(windows.read(corner).to(place), whitening.window, mask)
        for first in range(0, len(rotations), _ROTATIONS):
            some = rotations[first : first + _ROTATIONS]
            search.compare(band.volumes(template.rotated(some, band) * seen), first)
            yield Progress("template matching", step * len(rotations) + first + len(some), total)
        peaks.append(_peaks(search, windows, corner))

    places, scores, best = (np.concatenate(values) for values in zip(*peaks, strict=True))
    positions = windows.positions(places)
    ranked = np.lexsort((*positions.T[::-1], -scores))
    distance = params.min_distance * structure.diameter / tomogram.voxel_size
    chosen = ranked[separate(positions[ranked], distance, max_count=params.max_count)]
    positions = positions[chosen]
    from_face = np.minimum(positions + 0.5, np.array(tomogram.shape) - 0.5 - positions)
    return Particles.at(
        positions,
        score=scores[chosen],
        source="match",
        tomogram=tomogram.name,
        edge=(from_face * tomogram.voxel_size < structure.diameter / 2).any(axis=1),
        orientations=rotations.cpu().numpy()[best[chosen]].astype(np.float64),
    )


def _mask(across: float, box: int) -> Tensor:
    """Ball (box, box, box) half a voxel wider than a particle, its edge a voxel wide."""
    axis = torch.arange(box) - box // 2
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    return (across / 2 + 1 - distance).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class _Whitening:
    """Radial filter by which the spectrum of the tomogram is flat within the resolution.

    Attributes
    ----------
    window
        (z, y, x // 2 + 1) over the half spectrum of a window, 0 beyond the resolution; it brings
        the standard deviation of the tomogram to 1.
    template
        (u,) the same at the radii of the band.
    """

    window: Tensor
    template: Tensor


def _whitening(windows: Windows, band: Band, whiten: bool) -> Job[_Whitening]:
    """Measure the spectrum in some windows; without whitening, only its power."""
    k = imaging.radius(windows.window, windows.voxel_size, band.radii.device)
    width = windows.window[-1]
    few = np.unique(np.linspace(0, len(windows.corners) - 1, _SPECTRUM_WINDOWS).astype(int))
    power = torch.zeros_like(k)
    for step, row in enumerate(few):
        image = windows.read(windows.corners[row]).to(k.device)
        power += torch.fft.rfftn(image - image.mean(), norm="ortho").abs() ** 2 / len(few)
        yield Progress("measuring the spectrum", step + 1, len(few))

    # Cubes and windows have other frequencies; shells of one cycle a cube serve for both.
    cycles = k * (band.box * band.voxel_size)
    shell = cycles.round().long().flatten()
    mean = torch.zeros(int(shell.max()) + 2, device=k.device).index_add_(0, shell, power.flatten())
    mean /= torch.bincount(shell, minlength=len(mean)).clamp(min=1)
    if not whiten:
        mean = torch.ones_like(mean)
    amplitude = mean.clamp(min=_WEAKEST * float(mean.max())).sqrt()
    window = (k <= band.radii[-1] * 1.0001) / interpolate(amplitude, cycles)
    deviation = imaging.spectrum_mean(power * window**2, width).sqrt()
    if not deviation > 0:
        raise ValueError(
            f"{windows.tomogram.name} has the same value everywhere; open a reconstructed tomogram"
        )
    return _Whitening(window / deviation, 1 / band.at_radii(amplitude))


@dataclass(eq=False)
class _Search:
    """The best orientation at every voxel of a window so far.

    Attributes
    ----------
    spectrum
        Of the filtered window.
    mask
        (m, m, m) the sphere that is compared.
    deviation
        Of the window within the sphere around each voxel.
    correlation, rotation
        The greatest product with a template yet, and the index of its rotation.
    """

    spectrum: Tensor
    mask: Tensor
    deviation: Tensor
    correlation: Tensor
    rotation: Tensor

    @classmethod
    def of(cls, image: Tensor, whitening: Tensor, mask: Tensor) -> _Search:
        """Begin with a window."""
        shape = image.shape
        spectrum = torch.fft.rfftn(image - image.mean()) * whitening
        filtered = torch.fft.irfftn(spectrum, s=shape)
        ball = _spectra((mask / mask.sum())[None], shape)[0].conj()
        mean = torch.fft.irfftn(spectrum * ball, s=shape)
        square = torch.fft.irfftn(torch.fft.rfftn(filtered**2) * ball, s=shape)
        deviation = (square - mean**2).clamp(min=_FLAT**2).sqrt()
        return cls(
            spectrum=spectrum,
            mask=mask,
            deviation=deviation,
            correlation=torch.full_like(image, -torch.inf),
            rotation=torch.zeros(shape, dtype=torch.int32, device=image.device),
        )

    def compare(self, templates: Tensor, first: int) -> None:
        """Correlate the window with templates (r, m, m, m), the rotations from ``first`` on."""
        mean = (templates * self.mask).sum((1, 2, 3), keepdim=True) / self.mask.sum()
        centred = (templates - mean) * self.mask
        norm = ((templates - mean) * centred).sum((1, 2, 3), keepdim=True).sqrt()
        spectra = _spectra(centred / norm, self.correlation.shape)
        for step, spectrum in enumerate(spectra):
            products = torch.fft.irfftn(self.spectrum * spectrum.conj(), s=self.correlation.shape)
            self.rotation.masked_fill_(products > self.correlation, first + step)
            torch.maximum(self.correlation, products, out=self.correlation)

    def scores(self) -> Tensor:
        """Correlation coefficients: products over the norm of what lies within the sphere."""
        return self.correlation / (self.deviation * self.mask.sum().sqrt())


def _spectra(small: Tensor, shape: Sequence[int]) -> Tensor:
    """Half spectra (r, z, y, x // 2 + 1) of volumes (r, m, m, m), their centre at the origin.

    By products with the Fourier matrix of each axis: of so small volumes in so large a window,
    this is faster than the fast transform.
    """
    offset = torch.arange(small.shape[-1], device=small.device) - small.shape[-1] // 2
    values = small.to(torch.complex64)
    z, y, x = shape
    for side, count in ((z, z), (y, y), (x, x // 2 + 1)):
        frequency = torch.arange(count, device=small.device)
        phase = -2 * torch.pi / side * torch.outer(offset, frequency)
        waves = torch.polar(torch.ones_like(phase), phase)
        # Three turns bring z, y, x back into their order, each transformed once.
        values = torch.tensordot(values, waves, ([1], [0]))
    return values


def _peaks(
    search: _Search, windows: Windows, corner: Corner
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return places (n, 3) in averaged voxels, scores and rotations of the peaks of a tile."""
    first, size = (
        windows.margin,
        [min(t, n - c) for t, n, c in zip(windows.tile, windows.shape, corner, strict=True)],
    )
    around = tuple(slice(first - 1, first + side + 1) for side in size)
    scores = search.scores()[around].cpu().numpy()
    peak = (scores == maximum_filter(scores, 3)) & (scores > 0)
    inner = np.argwhere(peak[1:-1, 1:-1, 1:-1])
    at = tuple(inner.T + 1)
    middle = scores[at]
    places = (inner + corner).astype(np.float64)
    for axis in range(3):
        # The top of the parabola through the peak and its two neighbours.
        step = np.eye(3, dtype=int)[axis]
        below, above = (scores[tuple((inner + 1 + side * step).T)] for side in (-1, 1))
        bend = 2 * middle - below - above
        places[:, axis] += np.clip((above - below) / np.where(bend > 0, 2 * bend, 1), -0.5, 0.5)
    rotation = search.rotation[around].cpu().numpy()[at]
    return places, middle.astype(np.float64), rotation.astype(np.int64)
