"""What commands have in common: flags, and how they open what they work on."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tyro.conf import Positional

from napari_cryoshift.core.progress import Job, finish
from napari_cryoshift.core.tomograms import check_values, open_tomogram
from napari_cryoshift.core.types import Tomogram

from .console import ProgressLine

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """A command: its fields are its flags."""

    quiet: bool = False
    """Say nothing about the progress."""
    debug: bool = False
    """Show where in the program an error arose."""

    @abstractmethod
    def run(self) -> None:
        """Do the work; what it finds goes to stdout."""

    def finish(self, job: Job[T]) -> T:
        """Run a job to its end, with its progress on stderr."""
        if self.quiet:
            return finish(job)
        line = ProgressLine(sys.stderr)
        try:
            return finish(job, line.show)
        finally:
            line.end()


@dataclass(frozen=True, kw_only=True)
class TomogramCommand(Command):
    """A command that reads a tomogram."""

    tomogram: Positional[Path]
    """Tomogram: .mrc .rec .map .ccp4 .st or .em, each also with .gz."""
    voxel_size: float | None = None
    """Å, if the header is wrong."""
    light: bool = False
    """Particles are lighter than their surroundings."""

    def open(self) -> Tomogram:
        """Open the tomogram.

        Raises
        ------
        ValueError
            If it is damaged or blank, or nobody says its voxel size.
        """
        tomogram = open_tomogram(self.tomogram, voxel_size=self.voxel_size, dark=not self.light)
        check_values(tomogram)
        return tomogram


def output(path: Path, suffix: str, *, inputs: Sequence[Path] = ()) -> Path:
    """Return the path of a file to write, once it is sure that it can be.

    Asked before the work, so that an hour of it is not lost to a slip of the keyboard.

    Raises
    ------
    ValueError
        If its name does not end in the suffix, its folder is missing or may not be written to, or
        it is a folder or one of the inputs.
    """
    folder = path.absolute().parent
    if path.suffix.lower() != suffix:
        raise ValueError(f"{path.name} does not end in {suffix}; name it so")
    if not folder.is_dir():
        raise ValueError(
            f"there is no folder {path.parent} to write {path.name} into; make it first"
        )
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{path.name} may not be written into {folder}; choose another folder")
    if path.resolve() in [file.resolve() for file in inputs]:
        raise ValueError(f"{path} is read here and would be lost; give the result another name")
    return path


def output_folder(path: Path) -> Path:
    """Return the path of a folder to write into, which is made if it is missing.

    Raises
    ------
    ValueError
        If it is a file.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; name a folder")
    path.mkdir(parents=True, exist_ok=True)
    return path
