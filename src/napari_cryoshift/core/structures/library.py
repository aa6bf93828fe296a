"""The library of structures: those that come with the package and those that a person added."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from napari_cryoshift.core.files import replacing, write_text

from .atoms import read_atoms
from .density import SIGMA_PER_RESOLUTION, Density
from .maps import read_map

LIBRARY_VOXEL_SIZE = 8.0
"""Å, of the stored densities; their resolution is twice that."""

BUNDLED = Path(__file__).parents[1] / "data" / "library"
"""Folder of the structures that come with the package."""

_INDEX = "library.json"
_MAP_SUFFIXES = {".mrc", ".map", ".ccp4", ".rec"}


@dataclass(frozen=True, kw_only=True)
class LibraryEntry:
    """What the library says of a structure.

    Attributes
    ----------
    id
        Short and unique; the wwPDB id in lower case for what comes with the package.
    name
        In plain words.
    mass_kda
        kDa.
    source
        Where it came from, e.g. "wwPDB 4v6x".
    family
        Relatives share it: hold a whole family out to test on unseen classes.
    diameter
        Å; the sphere around the centre of mass that holds 99.5 % of the particle; NaN where nobody
        measured it.
    licence
        Of the source, "" where nobody knows.
    assembly
        What of the file was taken.
    """

    id: str
    name: str
    mass_kda: float
    source: str
    family: str = ""
    diameter: float = math.nan
    licence: str = ""
    assembly: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Structure(LibraryEntry):
    """A library entry with its density.

    Attributes
    ----------
    density
        (n, n, n) float32 zyx, Å/Å³ (scattering per volume), centre of mass at index n // 2.
    voxel_size
        Å; the resolution is twice that.
    """

    density: npt.NDArray[np.float32] = field(repr=False)
    voxel_size: float

    def at(self, voxel_size: float, box: int) -> npt.NDArray[np.float32]:
        """Resample the density to another voxel size and box.

        Parameters
        ----------
        voxel_size
            Å. A coarser one is low-passed first, to a resolution of twice the new voxel size.
        box
            Side of the box, voxels.

        Returns
        -------
        numpy.ndarray
            (box, box, box) float32 zyx, Å/Å³, centre of mass at index box // 2.

        Raises
        ------
        ValueError
            If the structure is larger than the box.
        """
        if self.diameter > box * voxel_size:
            raise ValueError(
                f"{self.name} ({self.id}) is {self.diameter:.0f} Å wide but a box of {box} voxels "
                f"of {voxel_size:g} Å holds {box * voxel_size:.0f} Å; "
                "take a larger box or leave this structure out"
            )
        matrix = _resampling(self.density.shape[0], self.voxel_size, box, voxel_size)
        resampled: npt.NDArray[np.float64] = np.einsum(
            "zk,yj,xi,kji->zyx", matrix, matrix, matrix, self.density, optimize=True
        )
        return resampled.astype(np.float32)


def _resampling(
    size: int, voxel_size: float, new_size: int, new_voxel_size: float
) -> npt.NDArray[np.float64]:
    """Return the (new_size, size) matrix that blurs and resamples one axis.

    Trigonometric interpolation about the centres of both boxes, with a Gaussian that takes the
    resolution from twice the old voxel size to twice the new one; zero outside the old box.
    """
    offsets = (np.arange(new_size) - new_size // 2) * (new_voxel_size / voxel_size)
    distance = offsets[:, None] + size // 2 - np.arange(size)[None, :]
    frequency = np.fft.fftfreq(size)
    variance = (2 * SIGMA_PER_RESOLUTION) ** 2 * max((new_voxel_size / voxel_size) ** 2 - 1, 0)
    transfer = np.exp(-2 * np.pi**2 * variance * frequency**2)
    waves = np.exp(2j * np.pi * frequency[None, None, :] * distance[:, :, None])
    matrix: npt.NDArray[np.float64] = (waves * transfer).mean(axis=-1).real
    matrix[np.abs(offsets) > size / 2] = 0
    return matrix


class Library(Mapping[str, Structure]):
    """Structures by id; a density is read when it is first asked for.

    Parameters
    ----------
    folders
        Each holds ``library.json`` and one ``ID.npz`` an entry; a missing folder is empty.

    Attributes
    ----------
    entries
        What the library says of each structure, by id; reading it reads no density.
    """

    def __init__(self, *folders: Path) -> None:
        found = {e.id: (e, folder) for folder in folders for e in _read_index(folder)}
        self.entries = {key: entry for key, (entry, _) in found.items()}
        self._folders = {key: folder for key, (_, folder) in found.items()}
        self._read: dict[str, Structure] = {}

    def __getitem__(self, key: str) -> Structure:
        if key not in self._read:
            entry = self.entries[key]
            with np.load(self._folders[key] / f"{key}.npz", allow_pickle=False) as stored:
                self._read[key] = Structure(
                    **dataclasses.asdict(entry),
                    density=stored["density"].astype(np.float32),
                    voxel_size=float(stored["voxel_size"]),
                )
        return self._read[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def need(self, key: str) -> Structure:
        """Return a structure by id.

        Raises
        ------
        ValueError
            If there is none, with the ids that look like it.
        """
        if key in self.entries:
            return self[key]
        close = difflib.get_close_matches(key, self.entries, cutoff=0.4) or [*self.entries][:3]
        raise ValueError(
            f"the library of {len(self)} structures has no {key!r}; "
            f"list them with `cryoshift library list`, e.g. {', '.join(close)}"
        )


def user_folder() -> Path:
    """Return the folder of a person's own structures; CRYOSHIFT_LIBRARY overrides it."""
    chosen = os.environ.get("CRYOSHIFT_LIBRARY")
    return Path(chosen) if chosen else platformdirs.user_data_path("napari-cryoshift") / "library"


def library() -> Library:
    """Return the structures that come with the package and those that a person added."""
    return Library(BUNDLED, user_folder())


def library_index() -> list[LibraryEntry]:
    """Return what the library holds, without reading any density."""
    return list(library().entries.values())


def add_structure(
    path: Path | str,
    key: str | None = None,
    name: str | None = None,
) -> Structure:
    """Add a structure file or a map to a person's own library.

    Parameters
    ----------
    path
        PDB or mmCIF, or a map in MRC or CCP4 format; gzipped or not.
    key
        Its id: letters, digits, "-" and "_"; by default the name of the file without its endings.
    name
        In plain words; by default the id.

    Raises
    ------
    ValueError
        If the file is no structure, the id is taken or has other characters.
    """
    path = Path(path)
    key = path.name.split(".")[0].lower() if key is None else key
    if not key.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"the id {key!r} cannot be a file name; use letters, digits, - and _")
    if key in library():
        raise ValueError(f"the id {key!r} is taken in the library; give another id")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    is_map = bool(suffixes) and suffixes[-1] in _MAP_SUFFIXES
    density = (read_map if is_map else read_atoms)(path, LIBRARY_VOXEL_SIZE)
    entry = LibraryEntry(
        id=key,
        name=name or key,
        mass_kda=round(density.mass_kda, 1),
        source=path.name,
        family=key,
        diameter=round(density.diameter, 1),
        assembly="" if is_map else "biological assembly 1 where the file has one",
    )
    save_entry(user_folder(), entry, density)
    return library()[key]


def save_entry(folder: Path, entry: LibraryEntry, density: Density) -> None:
    """Write an entry into a library folder: first its density, then the index that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{entry.id}.npz") as scratch:
        np.savez_compressed(
            scratch,
            density=density.values.astype(np.float16),
            voxel_size=np.float32(density.voxel_size),
        )
    entries = [*(old for old in _read_index(folder) if old.id != entry.id), entry]
    text = json.dumps(
        [dataclasses.asdict(entry) for entry in entries], indent=1, ensure_ascii=False
    )
    write_text(folder / _INDEX, text + "\n")


def _read_index(folder: Path) -> list[LibraryEntry]:
    index = folder / _INDEX
    if not index.is_file():
        return []
    return [LibraryEntry(**entry) for entry in json.loads(index.read_text(encoding="utf-8"))]
