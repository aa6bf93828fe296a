"""Writing a particle list and reading it back, without a window."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from napari_cryoshift.core.formats import FORMATS, ListContext, write_particles, written_files
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.types import Particles

_ROWS = 5


@dataclass(frozen=True, eq=False)
class Written:
    """A list that was written.

    Attributes
    ----------
    path
        As a person named it.
    files
        What is in each file that it became.
    format, context
        How it was written.
    said
        What to know about it, one sentence each.
    """

    path: Path
    files: Mapping[Path, Particles]
    format: str
    context: ListContext
    said: list[str]

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """(n, 3) zyx voxels, of all files."""
        return np.concatenate([rows.positions for rows in self.files.values()])


def write_list(
    path: Path,
    particles: Particles,
    format: str,  # noqa: A002
    context: ListContext,
) -> Job[Written]:
    """Write a list as `write_particles` does."""
    yield Progress(f"writing {path.name}", 0, 0)
    said = write_particles(path, particles, format, context=context)
    files = written_files(path, particles, format, context=context)
    return Written(path, files, format, context, said)


def read_back(written: Written) -> Job[npt.NDArray[np.float64]]:
    """Return (n, 3) zyx voxels of what the files say, wherever that is."""
    reader = FORMATS[written.format].reader
    positions: list[npt.NDArray[np.float64]] = []
    for file in written.files:
        yield Progress(f"reading {file.name}", len(positions), len(written.files))
        positions.append(reader(file, written.context).positions)
    return np.concatenate(positions)


def how_far_off(back: npt.NDArray[np.float64], written: Written) -> str:
    """Say how far (n, 3) zyx voxels that were read back are from what was written."""
    sent = written.positions
    if len(sent) != len(back):
        return f"Read back: {len(back):,} of {len(sent):,} particles."
    # To the nearest, both ways, as some formats put particles in an order of their own.
    voxels = max(_farthest(sent, back), _farthest(back, sent))
    size = written.context.voxel_size
    away = f"{voxels:.1f} voxels" if size is None else f"{voxels * size:.1f} Å"
    return f"Read back: all {len(back):,} particles, at most {away} from where they are here."


def _farthest(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    distances, _ = cKDTree(one).query(other)
    return float(np.max(distances))


def first_rows(
    particles: Particles,
    format: str,  # noqa: A002
    context: ListContext,
) -> str:
    """Return the first rows as they will be written; of a file that is no text, what it says.

    Raises
    ------
    ValueError
        As `write_particles` does.
    """
    some = particles.take(np.arange(min(_ROWS, len(particles))))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"preview{FORMATS[format].suffix}"
        write_particles(path, some, format, context=context)
        files = written_files(path, some, format, context=context)
        return "\n".join(_text(file, format, context) for file in files)


def _text(file: Path, format: str, context: ListContext) -> str:  # noqa: A002
    data = file.read_bytes()
    if b"\0" not in data:
        return "\n".join(line for line in data.decode("utf-8").splitlines() if line.strip())
    found = FORMATS[format].reader(file, context)
    rows = [
        f"{x:9.2f} {y:9.2f} {z:9.2f}  {name}"
        for (z, y, x), name in zip(found.positions, found.predicted, strict=True)
    ]
    return "\n".join(
        ["no text; it says, in voxels:", "        x         y         z  class", *rows]
    )
