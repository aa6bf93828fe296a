"""Labelled sets of subtomograms on disk: `read_set` opens one, `write_set` writes one.

Each way of storing a set has a file of its own; what a file holds tells which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.types import Subtomograms

from .arrays import read_hdf5, read_npy, read_npz
from .base import Axes, Stored
from .card import Card, read_card
from .folders import read_folder
from .mrc_stack import open_stack
from .pickles import read_pickle
from .star_particles import (
    list_in,
    read_particle_star,
    write_particle_folder,
    write_particle_stack,
)
from .zarr_store import is_zarr, read_zarr, read_zarr_card, write_zarr

__all__ = ["Axes", "read_metadata", "read_set", "write_set"]

_WRITERS: dict[str, Callable[[Path, Path, Subtomograms, Card], Job[None]]] = {
    ".zarr": write_zarr,
    ".mrcs": write_particle_stack,
    "": write_particle_folder,
}
_HEAD_BYTES = 65536


def read_set(
    path: Path | str,
    *,
    voxel_size: float | None = None,
    dark: bool | None = None,
    axes: Axes | None = None,
    trusted_pickle: bool = False,
    as_stored: bool = False,
) -> Subtomograms:
    """Open a set of subtomograms, whatever it is stored as.

    Known are our own sets (Zarr, MRC stack, folder), folders with one sub-folder a class, volumes
    with JSON labels, arrays (.npy, .npz, HDF5, Zarr), particle STAR files with extracted volumes,
    MRC stacks, and pickles. Volumes are read when asked for, except from .npz files and pickles.

    Parameters
    ----------
    path
        File or folder.
    voxel_size
        Å; None to believe the file.
    dark
        True if particles are darker than their surroundings; None to believe the file.
    axes
        Order of the axes of an array; None to believe the file, and to take "zyx" where it does not
        say. Arrays that AITom wrote are "xyz".
    trusted_pickle
        Open pickles too. Even then they can make arrays and nothing else.
    as_stored
        Leave mean and standard deviation of each volume as they are, which may tell its class
        (`core.simulate.leak`).

    Returns
    -------
    Subtomograms
        Protein positive, mean 0 and standard deviation 1 each; but sets of ours to the last bit
        as they were written, which for simulated ones may be without either.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If it is damaged or none of these, its volumes are no cubes of one size, labels do not
        fit, nobody says voxel size or sign, or it is a pickle that is not trusted.
    """
    stored = _open(Path(path), trusted_pickle=trusted_pickle)
    return stored.subtomograms(voxel_size=voxel_size, dark=dark, axes=axes, as_stored=as_stored)


def read_metadata(path: Path | str) -> dict[str, Any]:
    """Return what `write_set` was told of how a set was made.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If the set is not one of ours.
    """
    path = _existing(Path(path))
    if path.is_dir() and is_zarr(path):
        card = read_zarr_card(path)
    else:
        star = (list_in(path) if path.is_dir() else path) or path
        card = read_card(star.with_suffix(".json"))
    if card is None:
        raise ValueError(
            f"{path.name} does not say how it was made, as sets do that this program wrote; "
            "choose one of these"
        )
    return card.metadata


def write_set(
    path: Path | str, subtomograms: Subtomograms, metadata: Mapping[str, Any]
) -> Job[None]:
    """Write a set, whole or not at all, as its volumes are read.

    Parameters
    ----------
    path
        ``X.zarr``; or ``X.mrcs``, which gets X.star and X.json beside it; or the name of a folder,
        which gets one .mrc a volume and the particles.star that RELION takes.
    subtomograms
        What to write; the bits of its volumes are kept.
    metadata
        How the set was made, every parameter and seed, in what JSON can hold.

    Raises
    ------
    ValueError
        If the name has another suffix or is taken, there is nothing to write, classes lack names,
        or the metadata do not fit into JSON.
    OSError
        If the disk is full.
    """
    path = Path(path).absolute()
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(
            f"{path.name} ends in {path.suffix}; end it in .zarr or .mrcs, or name a folder"
        )
    if not len(subtomograms):
        raise ValueError(f"there are 0 volumes to write into {path.name}; choose some first")
    _check_free(path)
    card = Card.of(subtomograms, metadata)
    try:
        with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            yield from writer(Path(folder), path, subtomograms, card)
            # The volumes last: where they are, all is.
            for made in sorted(Path(folder).iterdir(), key=lambda made: made.name == path.name):
                target = path.with_name(made.name)
                if target.is_dir():
                    target.rmdir()
                made.rename(target)
    except OSError as error:
        raise OSError(
            f"could not write {path} ({error.strerror or error}), nothing was written; "
            "free some space or choose another folder"
        ) from error


def _check_free(path: Path) -> None:
    """Raise ValueError if a set cannot be written here without losing something."""
    if not path.parent.is_dir():
        raise ValueError(
            f"there is no folder {path.parent} to write {path.name} into; make it first"
        )
    targets = [path]
    if path.suffix.lower() == ".mrcs":
        targets += [path.with_suffix(".star"), path.with_suffix(".json")]
    for target in targets:
        empty = target.is_dir() and target == path and not any(target.iterdir())
        if target.exists() and not empty:
            raise ValueError(f"{target} is there already; choose another name, or take it away")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}; check the name and the folder")
    return path


def _open(path: Path, *, trusted_pickle: bool) -> Stored:
    """Tell by its content what a set is stored as, and open it."""
    if _existing(path).is_dir():
        if is_zarr(path):
            return read_zarr(path)
        star = list_in(path)
        return read_folder(path) if star is None else read_particle_star(star)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    suffix = path.suffix.lower()
    if not head:
        raise ValueError(f"{path.name} is empty; choose another file")
    if head.startswith(b"\x93NUMPY"):
        return read_npy(path)
    if head.startswith(b"PK"):
        return read_npz(path)
    if head.startswith(b"\x89HDF"):
        return read_hdf5(path)
    if suffix == ".star" or b"\ndata_" in head:
        return read_particle_star(path)
    if suffix == ".mrcs" or head[208:211] == b"MAP":
        star = path.with_suffix(".star")
        return read_particle_star(star) if star.is_file() else _stack(path)
    if suffix in (".pickle", ".pkl") or head[0] == 0x80:
        if not trusted_pickle:
            raise ValueError(
                f"{path.name} is a pickle, which can run any program; if you know who made it, "
                "open it as trusted (trusted_pickle=True)"
            )
        return read_pickle(path)
    raise ValueError(
        f"{path.name} is no set of subtomograms known here; choose a folder of volumes, a Zarr "
        "store, or a .npy, .npz, .h5, .star or .mrcs file"
    )


def _stack(path: Path) -> Stored:
    volumes, size = open_stack(path)
    return Stored(
        name=path.name,
        read=lambda rows: volumes[rows],
        count=len(volumes),
        shape=volumes.shape[1:],
        voxel_size=size,
        axes="zyx",
    )
