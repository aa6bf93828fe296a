"""What commands have in common: flags, and how they open what they work on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tyro.conf import Positional

from napari_cryoshift.core.progress import Job, Progress, finish
from napari_cryoshift.core.tomograms import check_values, open_tomogram
from napari_cryoshift.core.types import Tomogram

from .console import ProgressLine

if TYPE_CHECKING:
    from napari_cryoshift.core.checkpoint import Checkpoint

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """A command: its fields are its flags."""

    quiet: bool = False
    """Say nothing about the progress."""
    debug: bool = False
    """Show where in the program an error arose."""

    @classmethod
    def of(cls, flags: Sequence[str]) -> type[Command]:
        """Return the command that these flags are for: itself, or one with more flags."""
        return cls

    @abstractmethod
    def run(self) -> None:
        """Do the work; what it finds goes to stdout."""

    def finish(self, job: Job[T]) -> T:
        """Run a job to its end, with its progress on stderr.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C. The first lets the job come to its next report, where it can put down
            how far it is; a second stops it at once.
        """
        line = ProgressLine(sys.stderr)
        with _interrupt_noted() as interrupted:

            def report(progress: Progress) -> None:
                if not self.quiet:
                    line.show(progress)
                if interrupted():
                    raise KeyboardInterrupt

            try:
                return finish(job, report)
            finally:
                line.end()


@dataclass(frozen=True, kw_only=True)
class TrainingCommand(Command):
    """A command that trains a method."""

    out: Path
    """File to write, .safetensors."""
    resume: Path | None = None
    """File that keeps how far the training is; where it is there, the training goes on from it."""

    def files(self) -> tuple[Path, Path | None]:
        """Return the path of the checkpoint and that of the run, if it is kept.

        Raises
        ------
        ValueError
            If one cannot be written, or both are the same.
        """
        if self.resume is None:
            return output(self.out, ".safetensors"), None
        kept = output(self.resume, ".safetensors")
        return output(self.out, ".safetensors", inputs=[kept]), kept

    def learn(self, job: Job[Checkpoint]) -> Checkpoint:
        """Run a training to its end.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C, once it is said how to go on.
        """
        try:
            return self.finish(job)
        except KeyboardInterrupt:
            if self.resume is None:
                print("nothing is kept; with --resume FILE it could go on", file=sys.stderr)
            elif self.resume.exists():
                print(f"to go on, type the same with --resume {self.resume}", file=sys.stderr)
            raise


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


@contextlib.contextmanager
def _interrupt_noted() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C and say so; a second is the usual one.

    Yields
    ------
    callable
        Tells whether Ctrl-C was pressed. In a thread, or where Ctrl-C is not Python's own (as
        after nohup), everything stays as it is.
    """
    usual = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or usual is not signal.default_int_handler:
        yield lambda: False
        return
    noted = False

    def note(*_: object) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, usual)
        # Past the buffers of Python, which the signal may have come in the midst of.
        os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, usual)
