"""Simulated subtomograms, made when they are read: density → rotation → CTF, wedge, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from napari_cryoshift.core.structures import Structure
from napari_cryoshift.core.types import Subtomograms
from napari_cryoshift.core.volumes import standardise

from . import fourier, imaging, tilts
from .layout import Template, lay_out, place
from .settings import ImagingParams, draw
from .snr import (
    mean_particle,
    mean_power,
    mean_variance,
    mix,
    power_per_nominal,
    power_ratio,
)

_AT_ONCE = 2**23
"""Voxels whose filters are in memory together where only their figures are asked for."""


def simulate_subtomograms(
    structures: Sequence[Structure],
    params: ImagingParams,
    *,
    per_class: int,
    seed: int,
    device: torch.device | str = "cpu",
    background: Tensor | None = None,
) -> Subtomograms:
    """Subtomograms of known classes, each made anew whenever it is read.

    Parameters
    ----------
    structures
        One a class.
    params
        How they are imaged.
    per_class
        Volumes a class; as nothing is stored, this may be a million.
    seed
        Volume i depends on the seed and i alone, to the bit on one kind of device.
    device
        Where they are made, and returned.
    background
        (n, d, d, d) boxes of a tomogram, protein positive, its tilt axis y: one of them, drawn and
        flipped at random, takes the place of the noise of each volume.

    Returns
    -------
    Subtomograms
        Sorted by class.

    Raises
    ------
    ValueError
        If there is no structure, one is wider than the box, or the background has other boxes.
    """
    if not structures:
        raise ValueError("0 structures to simulate; give at least one")
    _check_box(structures, params)
    if background is not None:
        if background.shape[1:] != (params.box,) * 3 or len(background) == 0:
            raise ValueError(
                f"the background has the shape {tuple(background.shape)}; give at least one box of "
                f"{params.box}³ voxels"
            )
        background = background.to(device)
    templates = [Template(torch.from_numpy(s.density).to(device), s.voxel_size) for s in structures]
    radii = [structure.diameter / 2 for structure in structures]
    power = None
    if params.noise_level == "dose":
        power = mean_power(structures, box=params.box, voxel_size=params.voxel_size).to(device)

    def read(rows: npt.NDArray[np.int64]) -> Tensor:
        generators = _generators(seed, rows)
        clean = place(templates, lay_out(radii, rows // per_class, params, generators), params)
        volumes = image(clean, params, generators, power, background)
        return standardise(volumes) if params.standardise else volumes

    n = len(structures)
    return Subtomograms(
        read=read,
        count=n * per_class,
        box=params.box,
        voxel_size=params.voxel_size,
        labels=np.repeat(np.arange(n), per_class),
        classes=tuple(structure.name for structure in structures),
    )


def subtomogram_truth(
    structures: Sequence[Structure],
    params: ImagingParams,
    *,
    per_class: int,
    seed: int,
    rows: npt.NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """What is in the volumes of `simulate_subtomograms`, without making them.

    Parameters
    ----------
    structures, params, per_class, seed
        As there.
    rows
        Which volumes; None for all of them.

    Returns
    -------
    DataFrame
        A row a volume: class; shift_z, shift_y, shift_x (Å from the centre of the box); the
        rotation r00 to r22 (active, on xyz, row by row); what it drew from the ranges, with the
        ratio in both conventions. At one dose for all, the ratio is that of the mean class.
    """
    radii = [structure.diameter / 2 for structure in structures]
    names = [structure.name for structure in structures]
    tables = []
    wanted = np.arange(len(structures) * per_class) if rows is None else rows
    at_once = max(1, _AT_ONCE // params.box**3)
    for some in np.array_split(wanted, math.ceil(len(wanted) / at_once)):
        generators = _generators(seed, some)
        layout = lay_out(radii, some // per_class, params, generators)
        own = np.flatnonzero(np.diff(layout.box, prepend=-1))
        drawn = draw(params, generators)
        filters = fourier.filters(params, drawn.shared())
        ratio = power_ratio(params, drawn, filters)
        shifts = layout.shifts[own] * params.voxel_size
        columns = {
            "class": np.array(names, dtype=object)[some // per_class],
            **{f"shift_{axis}": shifts[:, i] for i, axis in enumerate("zyx")},
            **{
                f"r{i}{j}": layout.rotations[own][:, i, j].numpy()
                for i in range(3)
                for j in range(3)
            },
            "snr_power": ratio.numpy(),
            "snr_nominal": (ratio / power_per_nominal(filters)).numpy(),
            **{name: values.reshape(-1).numpy() for name, values in drawn.named() if name != "snr"},
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def image(
    clean: Tensor,
    params: ImagingParams,
    generators: Sequence[np.random.Generator],
    power: Tensor | None = None,
    background: Tensor | None = None,
) -> Tensor:
    """Image clean volumes: CTF, missing wedge, low-pass, and noise at the stated ratio.

    Parameters
    ----------
    clean
        (b, d, d, d) protein positive.
    params
        Ranges; each volume draws its own values.
    generators
        One a volume, in a fixed order of draws.
    power
        (d, d, d // 2 + 1) spectrum of the particle that the ratio is stated for, by `mean_power`;
        None for each volume's own.
    background
        (n, d, d, d) boxes of a tomogram that take the place of the noise.

    Returns
    -------
    Tensor
        (b, d, d, d), not standardised.
    """
    drawn = draw(params, generators).to(clean.device)
    filters = fourier.filters(params, drawn.shared())
    seeds = [int(g.integers(2**63)) for g in generators]
    stated_for = None
    if params.route == "fourier":
        signal, noise = fourier.expose(clean, _white(clean, seeds), filters, drawn, params)
        if power is not None:
            stated_for = mean_variance(power, filters)
    else:
        signal, noise = tilts.expose(clean, seeds, drawn, params)
        if power is not None:
            # What tilts leave of a particle is no filter that is known beforehand.
            mean = mean_particle(power).expand_as(clean)
            stated_for = imaging.variance(tilts.expose(mean, seeds, drawn, params)[0], params.box)
    if background is not None:
        noise = torch.fft.rfftn(_flipped(background, generators), dim=(-3, -2, -1))
    mixed = mix(signal, noise, power_ratio(params, drawn, filters), stated_for)
    noisy: Tensor = torch.fft.irfftn(mixed, s=clean.shape[1:], dim=(-3, -2, -1))
    return noisy


def _generators(seed: int, rows: npt.NDArray[np.int64]) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, int(row))) for row in rows]


def _white(like: Tensor, seeds: Sequence[int]) -> Tensor:
    """White noise of variance 1, each volume from a seed of its own, drawn where it is used."""
    generator = torch.Generator(like.device)
    noise = torch.empty_like(like)
    for volume, seed in zip(noise, seeds, strict=True):
        volume.normal_(generator=generator.manual_seed(seed))
    return noise


def _flipped(background: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """A box of the background for each generator, mirrored so that its wedge stays as it is.

    Mirrored along the tilt axis, or about it by half a turn, a box has the same missing wedge, also
    where the tilt range is not symmetric.
    """
    boxes = []
    for generator in generators:
        which, along, about = generator.integers((len(background), 2, 2))
        flipped = [1] * along + [0, 2] * about
        boxes.append(background[which].flip(flipped))
    return torch.stack(boxes)


def _check_box(structures: Sequence[Structure], params: ImagingParams) -> None:
    """Raise ValueError if a structure is wider than the box."""
    width = params.box * params.voxel_size
    for structure in structures:
        # Membranes fill any box.
        if structure.diameter > width and structure.source != "procedural":
            raise ValueError(
                f"{structure.name} is {structure.diameter:.0f} Å wide but the box only "
                f"{width:.0f} Å; give a larger box or leave it out"
            )
