"""The specimen of a crowded tomogram: ice, membranes, gold beads, particles, small proteins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from scipy.special import ndtr

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.structures.density import SIGMA_PER_RESOLUTION

from .cytosol import crowd
from .ice import Ice, IceParams, freeze
from .membranes import FORMS, Form, add_membranes, draw_membranes
from .packing import BoolArray, find_place, occupy, overlap
from .particles import Placed, Template, place_particles
from .scattering import GOLD

BEAD_RADIUS = 50.0
"""Å, of a gold bead."""

_PER_MICROMOLAR = 6.022e-10
"""Molecules in 1 Å³ of a solution of 1 µM."""

Side = Annotated[int, Field(ge=24, le=4096)]
Count = Annotated[int, Field(ge=0, le=100_000)]
Concentration = Annotated[float, Field(gt=0, le=1000)]
FloatArray = npt.NDArray[np.floating[Any]]


class SpecimenParams(Params):
    """What is in a simulated tomogram."""

    shape: tuple[Side, Side, Side] = Field(
        (80, 320, 320), title="Shape", description="Voxels along z, y, x."
    )
    voxel_size: float = Field(12.0, ge=4, le=40, title="Voxel size", description="Å.")
    classes: tuple[str, ...] = Field(
        ("4v6x", "3jb9", "4v8r", "1mnf", "3j9i", "1qvr", "2fha", "1wcm"),
        min_length=1,
        title="Classes",
        description="Ids of structures of the library.",
    )
    particles_per_class: Count | tuple[Count, ...] = Field(
        40,
        title="Particles per class",
        description="Number of copies: one for all classes, or one a class.",
    )
    concentrations: Concentration | tuple[Concentration, ...] | None = Field(
        None,
        title="Concentrations",
        description=(
            "In the ice, µM: one for all classes, or one a class; in place of the number of copies."
        ),
    )
    gap: float = Field(
        10.0, ge=0, le=500, title="Gap", description="Least distance between surfaces, Å."
    )
    crowding: float = Field(
        0.0,
        ge=0,
        le=0.3,
        title="Crowding",
        description=(
            "Fraction of the ice that small proteins of 30 to 100 kDa fill, which are no particles."
        ),
    )
    membranes: int = Field(
        2, ge=0, le=50, title="Membranes", description="Number, which are no particles."
    )
    membrane_forms: tuple[Form, ...] = Field(
        FORMS,
        min_length=1,
        title="Forms of membranes",
        description="Taken in turn: vesicle, tube or sheet.",
    )
    beads: int = Field(
        8, ge=0, le=1000, title="Gold beads", description="Beads of 10 nm, which are no particles."
    )
    ice: IceParams = Field(IceParams(), title="Ice", description="What all of it lies in.")
    seed: int = Field(0, ge=0, title="Seed", description="Same seed, same tomogram.")

    @model_validator(mode="after")
    def _check(self) -> SpecimenParams:
        n = len(self.classes)
        if len(set(self.classes)) < n:
            raise ValueError(
                f"classes names {n} structures but only {len(set(self.classes))} different ones; "
                "name each once"
            )
        for name in ("particles_per_class", "concentrations"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != n:
                raise ValueError(
                    f"{n} classes but {len(value)} {name.replace('_', ' ')}; "
                    "give one number for all, or one a class"
                )
        return self

    def counts(self, volume: float) -> list[int]:
        """Copies of each class in a volume of ice in Å³."""
        n = len(self.classes)
        if self.concentrations is None:
            copies = self.particles_per_class
            return list(copies) if isinstance(copies, tuple) else [copies] * n
        amounts = self.concentrations
        each = amounts if isinstance(amounts, tuple) else (amounts,) * n
        return [round(_PER_MICROMOLAR * amount * volume) for amount in each]


@dataclass(frozen=True, eq=False)
class Specimen:
    """What a microscope looks at.

    Attributes
    ----------
    density
        (z, y, x) float32: scattering beyond the mean of the frozen specimen, which is taken to go
        on around the tomogram, Å/Å³.
    placed
        The particles, sorted by class.
    counts
        Copies of each class.
    ice
        The layer that it lies in.
    packing
        Share of the ice that the particles fill.
    """

    density: npt.NDArray[np.float32]
    placed: Placed
    counts: list[int]
    ice: Ice
    packing: float


def build_specimen(
    structures: list[Structure], params: SpecimenParams, generator: np.random.Generator
) -> Job[Specimen]:
    """Put a specimen together.

    The largest things come first: membranes, gold beads, particles, and then small proteins in
    the space that is left. Nothing overlaps, and all of it lies in the ice.

    Parameters
    ----------
    structures
        One a class of ``params``.
    params
        What, and how much of it.
    generator
        Of everything.

    Raises
    ------
    ValueError
        If a structure is larger than the tomogram, or not everything fits.
    """
    size = params.voxel_size
    _check_sizes(structures, params)
    ice = freeze(params.shape, size, params.ice, generator)
    inside = ice.inside(params.shape[0], size)
    volume = float(inside.sum()) * size**3
    counts = params.counts(volume)
    if sum(counts) == 0:
        raise ValueError(
            f"{volume / 1e12:.2g} µm³ of ice hold no particle at these numbers; "
            "raise the concentrations or enlarge the tomogram"
        )
    density, taken = np.zeros(params.shape, dtype=np.float32), ~inside
    membranes = yield from draw_membranes(
        params.membranes,
        params.membrane_forms,
        *_cuboid(ice, params),
        gap=params.gap,
        generator=generator,
    )
    yield from add_membranes(
        density, taken, membranes, voxel_size=size, blur=_blur(size), gap=params.gap
    )
    yield from _add_beads(density, taken, params, generator)
    placed = yield from place_particles(
        density,
        taken,
        [Template(structure, size) for structure in structures],
        counts,
        gap=params.gap / size,
        generator=generator,
    )
    yield from crowd(
        density,
        taken,
        params.crowding * volume,
        voxel_size=size,
        blur=_blur(size),
        generator=generator,
    )
    density[inside] -= density[inside].mean()
    packing = float((placed.occupancy > 0).sum() / inside.sum())
    return Specimen(density, placed, counts, ice, packing)


def _check_sizes(structures: list[Structure], params: SpecimenParams) -> None:
    extents = params.voxel_size * np.array(params.shape)
    if params.ice.thickness is not None:
        extents[0] = min(extents[0], params.ice.thickness)
    for structure in structures:
        if structure.diameter > extents.min():
            raise ValueError(
                f"{structure.name} is {structure.diameter:.0f} Å wide but the ice of the tomogram "
                f"measures only {extents.min():.0f} Å along {'zyx'[int(extents.argmin())]}; "
                "enlarge it or leave that class out"
            )


def _cuboid(ice: Ice, params: SpecimenParams) -> tuple[FloatArray, FloatArray]:
    """Corners (zyx, Å) of the part of the tomogram between the mean surfaces of the ice."""
    highest = (np.array(params.shape) - 1) * params.voxel_size
    highest[0] = min(highest[0], float(ice.upper.mean()))
    return np.array([max(0.0, float(ice.lower.mean())), 0.0, 0.0]), highest


def _add_beads(
    density: npt.NDArray[np.float32],
    taken: BoolArray,
    params: SpecimenParams,
    generator: np.random.Generator,
) -> Job[None]:
    """Add balls of gold, in place."""
    size = params.voxel_size
    reach = int(np.ceil((BEAD_RADIUS + 3 * _blur(size)) / size)) + 1
    index = np.indices((2 * reach + 1,) * 3) - reach
    for bead in range(params.beads):
        shift = generator.uniform(-0.5, 0.5, (3, 1, 1, 1))
        depth = np.linalg.norm(index - shift, axis=0) * size - BEAD_RADIUS
        body = depth <= 0
        place = find_place(taken, body, generator)
        if place is None:
            raise ValueError(
                f"only {bead} of {params.beads} gold beads fit; ask for fewer or a larger tomogram"
            )
        occupy(taken, body, place, params.gap / size)
        inside, part = overlap(place, depth.shape, density.shape)
        density[inside] += GOLD * ndtr(-depth[part] / _blur(size)).astype(np.float32)
        yield Progress("adding gold beads", bead + 1, params.beads)


def _blur(voxel_size: float) -> float:
    """Standard deviation in Å of the Gaussian of a resolution of twice the voxel size."""
    return 2 * SIGMA_PER_RESOLUTION * voxel_size
