"""Simulated data on disk: what is made is written with its truth, and with how to make it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

from napari_cryoshift import __version__
from napari_cryoshift.core.files import write_text
from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.sets import read_metadata, write_set
from napari_cryoshift.core.structures import Structure, library
from napari_cryoshift.core.tomograms import save_volume

from .microscope import read_mtf
from .source import SourceParams, simulate_source, source_structures
from .subtomograms import subtomogram_truth
from .tomogram import CrowdedParams, CrowdedTomogram, simulate_tomogram

_SUBTOMOGRAMS, _TOMOGRAM = "simulated subtomograms", "simulated tomogram"
_ROWS = 500
"""Of the table of a set, between two reports."""

_NEEDED = {"params", "device", "threads", "made_of"}

_SNR = {
    _SUBTOMOGRAMS: (
        "snr_power: variance of the signal over variance of the noise in the finished volume; "
        "snr_nominal: what the papers' simulator calls the ratio, before its filters"
    ),
    _TOMOGRAM: "variance of the signal where particles are over variance of the noise",
}


def store_subtomograms(
    path: Path | str, params: SourceParams, device: torch.device | str = "cpu"
) -> Job[int]:
    """Simulate a set and write it, with a table of what is in each volume beside it.

    Parameters
    ----------
    path
        As `core.sets.write_set` takes it: .zarr, .mrcs or the name of a folder. The table is
        called like it, ending in ``_truth.csv``.
    params
        Of the set.
    device
        Where it is made.

    Returns
    -------
    int
        Number of volumes.

    Raises
    ------
    ValueError
        If the parameters do not fit together, there is no such device, or the path or that of the
        table is taken.
    OSError
        If the disk is full, or the file of the detector's curve is missing.
    """
    path = Path(path)
    _check_device(device)
    _check_free(truth_of(path))
    structures = source_structures(params)
    sources = _digests(structures, params.imaging.mtf)
    record = _record(_SUBTOMOGRAMS, params, sources, device)
    made = simulate_source(params, device)
    volumes = dataclasses.replace(made, read=lambda rows: made[rows].cpu())
    tables = []
    for start in range(0, len(volumes), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(volumes)))
        table = subtomogram_truth(
            structures, params.imaging, per_class=params.per_class, seed=params.seed, rows=rows
        )
        tables.append(table)
        yield Progress("drawing", int(rows[-1]) + 1, len(volumes))
    yield from write_set(path, volumes, record)
    write_text(truth_of(path), pd.concat(tables).to_csv(index=False, lineterminator="\n"))
    return len(volumes)


def store_tomogram(
    path: Path | str, params: CrowdedParams, device: torch.device | str = "cpu"
) -> Job[CrowdedTomogram]:
    """Simulate a tomogram and write it with its truth, all of it or nothing.

    Parameters
    ----------
    path
        X.mrc. Beside it: X.csv (every particle: place, class, rotation), X_classes.mrc and
        X_occupancy.mrc (what a voxel belongs to) and X.json (how to make it again).
    params
        Of the tomogram.
    device
        Where it is made.

    Raises
    ------
    ValueError
        If the parameters do not fit together, there is no such device, the path does not end in
        .mrc, or one is taken.
    OSError
        If the disk is full, or the file of the detector's curve is missing.
    """
    path = Path(path)
    if path.suffix.lower() != ".mrc":
        raise ValueError(f"{path.name} does not end in .mrc; name it so")
    _check_device(device)
    _check_free(path, *_beside(path))
    sources = _digests([library().need(key) for key in params.classes], params.tilt_series.mtf)
    record = _record(_TOMOGRAM, params, sources, device)
    made = yield from simulate_tomogram(params, device)
    yield Progress("writing", 0, 1)
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        scratch = Path(folder) / path.name
        table, classes, occupancy, recipe = _beside(scratch)
        size = made.tomogram.voxel_size
        write_particles(table, made.particles, "csv")
        save_volume(classes, made.classes, size)
        # As floats, for MRC has no 32-bit integers; they hold numbers up to 16 million.
        save_volume(occupancy, made.occupancy, size)
        write_text(recipe, json.dumps(record | {"classes": made.names}, indent=1) + "\n")
        save_volume(scratch, made.tomogram.data, size)
        # The tomogram last: where it is, all is.
        for file in (*_beside(scratch), scratch):
            file.rename(path.with_name(file.name))
    return made


def simulate_again(path: Path | str, out: Path | str) -> Job[None]:
    """Make simulated data again from what was written with them, to the bit.

    Processors and graphics cards of other kinds round, and graphics cards draw, otherwise.

    Parameters
    ----------
    path
        A set of `store_subtomograms`, or the .mrc or .json of `store_tomogram`.
    out
        Where to write it, stored in the same way.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it does not say how it was made, a structure of the library or the detector's curve is
        another by now, or it was made on a kind of device that is not here.
    """
    record = _read_record(Path(path))
    kind = record.get("kind")
    if kind not in (_SUBTOMOGRAMS, _TOMOGRAM) or not set(record) >= _NEEDED:
        raise ValueError(
            f"{Path(path).name} does not say how it was simulated; choose a set or a tomogram that "
            "cryoshift simulate wrote"
        )
    with _threads(record["threads"]):
        if kind == _TOMOGRAM:
            crowded = CrowdedParams.model_validate(record["params"])
            structures = [library().need(key) for key in crowded.classes]
            _check_same(record, _digests(structures, crowded.tilt_series.mtf))
            yield from store_tomogram(out, crowded, record["device"])
        else:
            source = SourceParams.model_validate(record["params"])
            _check_same(record, _digests(source_structures(source), source.imaging.mtf))
            yield from store_subtomograms(out, source, record["device"])


def truth_of(path: Path) -> Path:
    """Where the table of what is in each volume of a set lies."""
    return path.with_name(f"{path.stem}_truth.csv")


def _beside(path: Path) -> tuple[Path, Path, Path, Path]:
    """Where truth and recipe of a tomogram lie: particles, classes, occupancy, parameters."""
    return (
        path.with_suffix(".csv"),
        path.with_name(f"{path.stem}_classes.mrc"),
        path.with_name(f"{path.stem}_occupancy.mrc"),
        path.with_suffix(".json"),
    )


def _check_free(*paths: Path) -> None:
    """Raise ValueError if something would be lost."""
    for path in paths:
        if path.exists():
            raise ValueError(f"{path} is there already; choose another name, or take it away")


def _check_device(device: torch.device | str) -> None:
    """Raise ValueError if there is no such device."""
    kind = torch.device(device).type
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(kind, True):
        raise ValueError(f"no {kind} device was found; go where there is one, or simulate on cpu")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Work with this many threads, for Fourier transforms round otherwise with more or fewer."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _record(
    kind: str, params: Params, made_of: dict[str, str], device: torch.device | str
) -> dict[str, Any]:
    return {
        "kind": kind,
        "snr": _SNR[kind],
        "program": f"napari-cryoshift {__version__}",
        "torch": torch.__version__,
        "device": torch.device(device).type,
        "threads": torch.get_num_threads(),
        "params": params.model_dump(mode="json"),
        "made_of": made_of,
    }


def _digests(structures: Iterable[Structure], mtf: Path | None) -> dict[str, str]:
    """A fingerprint of every density and of the detector's curve, for files may change."""
    contents = {structure.id: structure.density.tobytes() for structure in structures}
    if mtf is not None:
        curve = read_mtf(mtf, pixel_size=1.0)
        contents[mtf.name] = curve.frequency.tobytes() + curve.value.tobytes()
    return {name: hashlib.sha256(data).hexdigest()[:12] for name, data in contents.items()}


def _check_same(record: dict[str, Any], now: dict[str, str]) -> None:
    if other := [key for key, digest in record["made_of"].items() if now.get(key) != digest]:
        raise ValueError(
            f"{len(other)} of the structures and curves that it was made of have changed, "
            f"{other[0]} for one; put back what was there, or simulate anew"
        )


def _read_record(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if path.suffix.lower() not in (".mrc", ".json") or not beside.is_file():
        return read_metadata(path)
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{beside.name} is damaged ({error}); copy it again") from error
    return record if isinstance(record, dict) else {}
