"""A simulated training set: which structures, how many volumes of each, how they are imaged."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.structures import Structure, library
from napari_cryoshift.core.types import Subtomograms

from .procedural import assemblies, chimeras, distractors
from .settings import ImagingParams
from .subtomograms import simulate_subtomograms


class SourceParams(Params):
    """What a simulated training set is made of."""

    structures: tuple[str, ...] = Field(
        (),
        title="Structures",
        description="Ids in the library; none means all that fit into the box.",
    )
    hold_out: tuple[str, ...] = Field(
        (), title="Hold out", description="Families of which no member is used."
    )
    chimeras: int = Field(
        240, ge=0, le=10_000, title="Chimeras", description="Invented from one to three parents."
    )
    assemblies: int = Field(
        120, ge=0, le=10_000, title="Assemblies", description="Random clusters of domains."
    )
    distractors: int = Field(
        20, ge=0, le=10_000, title="Distractors", description="Membranes and beads."
    )
    per_class: int = Field(
        400, ge=1, title="Volumes a class", description="Each made when it is read."
    )
    seed: int = Field(0, ge=0, title="Seed", description="Same seed, same volumes.")
    imaging: ImagingParams = Field(
        ImagingParams(
            box=24,
            voxel_size=16.0,
            snr=(0.01, 1.5),
            snr_convention="power",
            defocus=(-8.0, -1.5),
            cs=(1.5, 3.0),
            envelope=(20.0, 65.0),
            missing_wedge=(25.0, 40.0),
            shift=30.0,
            resolution=(32.0, 70.0),
            noise_slope=(-1.0, 0.75),
            neighbours=1.5,
        ),
        title="Imaging",
        description="How the volumes are imaged.",
    )


def simulate_source(
    params: SourceParams,
    device: torch.device | str = "cpu",
    background: Tensor | None = None,
) -> Subtomograms:
    """A labelled, simulated set of library structures and invented ones, made on a device.

    Parameters
    ----------
    params
        What, and how it is imaged.
    device
        Where.
    background
        Boxes of a tomogram to put the particles into, as in `simulate_subtomograms`.

    Raises
    ------
    ValueError
        If a structure or a family is not in the library, or nothing is left.
    """
    return simulate_subtomograms(
        source_structures(params),
        params.imaging,
        per_class=params.per_class,
        seed=params.seed,
        device=device,
        background=background,
    )


def source_structures(params: SourceParams) -> list[Structure]:
    """The classes of a set, in their order: those of the library, then the invented ones.

    Raises
    ------
    ValueError
        As `simulate_source` does.
    """
    known = library()
    families = {entry.family for entry in known.entries.values()}
    if unknown := set(params.hold_out) - families:
        raise ValueError(
            f"{len(unknown)} families are not in the library ({', '.join(sorted(unknown))}); "
            f"choose from {', '.join(sorted(families))}"
        )
    width = params.imaging.box * params.imaging.voxel_size
    ids = params.structures or [key for key in known if known.entries[key].diameter <= width]
    parents = [
        structure for structure in map(known.need, ids) if structure.family not in params.hold_out
    ]
    if not parents:
        raise ValueError("0 structures are left; hold out fewer families or name more structures")
    return [
        *parents,
        *chimeras(parents, params.chimeras, params.seed),
        *assemblies(params.assemblies, params.seed),
        *distractors(params.distractors, params.seed),
    ]
