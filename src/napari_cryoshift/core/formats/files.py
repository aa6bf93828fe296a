"""Which files a list becomes in formats that hold one tomogram, or one class, a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from napari_cryoshift.core.files import file_stem
from napari_cryoshift.core.types import Particles

from .base import spoken_class


def share_out(path: Path, particles: Particles, apart: Iterable[str]) -> dict[Path, Particles]:
    """Share particles out to files.

    Parameters
    ----------
    path
        Of the list.
    particles
        What is in it.
    apart
        What no file holds two of: "tomogram", "class".

    Returns
    -------
    dict
        ``path`` itself where one file is enough, else ``stem_<tomogram>_<class>.suffix``, named by
        what differs alone, where "unnamed" is the class of particles that have none.
    """
    columns = {"tomogram": particles.tomogram, "class": spoken_class(particles)}
    differing = [what for what in columns if what in apart and len(set(columns[what])) > 1]
    if not differing:
        return {path: particles}
    files: dict[Path, Particles] = {}
    taken: set[str] = set()
    groups = pd.DataFrame(columns).groupby(differing, sort=True).indices
    for key, rows in groups.items():
        names = key if isinstance(key, tuple) else (key,)
        stem = "_".join([path.stem, *(file_stem(str(name)) for name in names)])
        # Two names may differ in unfit characters, or in case, which some disks do not tell apart.
        fresh = (f"{stem}{more}" for more in ("", *(f"_{k}" for k in range(2, len(groups) + 1))))
        stem = next(stem for stem in fresh if stem.lower() not in taken)
        taken.add(stem.lower())
        files[path.with_name(f"{stem}{path.suffix}")] = particles.take(rows)
    return files


def name_files(files: Iterable[Path]) -> list[str]:
    """Say which files a list was written as if it is not one; return a sentence or none."""
    names = [file.name for file in files]
    if len(names) < 2:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"Written as {len(names)} files: {', '.join(names[:5])}{more}."]
