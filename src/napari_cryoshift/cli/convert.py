"""`cryoshift convert` and `cryoshift formats`: particle lists of one program for another."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from napari_cryoshift.core.formats import FORMATS

from .command import Command, output
from .particles import WritingCommand, list_format, write

_INDENT = " " * 14
_WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class Convert(WritingCommand):
    """Write a particle list as another program has it.

    What the list does not say itself is taken from the tomogram or the flags below; what the other
    program has to know, and what its format cannot hold, is printed.
    """

    out: Positional[Path]
    """Particle list to write."""
    to: Annotated[str, arg(help=f"Format to write: {', '.join(FORMATS)}.")]

    def run(self) -> None:
        """Write the list, and print what is in it and how to use it."""
        entry = list_format(self.to)
        read = [file for file in (self.picks, self.tomograms_star, self.tomogram) if file]
        path = output(self.out, entry.suffix, inputs=read)
        _check_beside(path, read)
        given, particles = self.read()
        where, said = write(path, particles, entry, self.context())
        print(f"{len(particles)} particles of {self.picks} ({given.title}) in {where}")
        print(entry.notes, *said, sep="\n")


def _check_beside(path: Path, read: list[Path]) -> None:
    """Raise ValueError if a file that is read may be one that is written beside the list."""
    for file in read:
        beside = file.resolve().parent == path.resolve().parent and file.suffix == path.suffix
        if beside and file.stem.startswith(f"{path.stem}_"):
            raise ValueError(
                f"{file} is read here and could be lost, because files beside {path.name} get such "
                "names; give the result another name"
            )


@dataclass(frozen=True, kw_only=True)
class Formats(Command):
    """List the formats of particle lists: what they hold beside positions, and how to use them."""

    def run(self) -> None:
        """Print a paragraph a format."""
        for entry in FORMATS.values():
            holds = f"holds {', '.join(sorted(entry.holds))}" if entry.holds else "positions alone"
            print(f"{entry.name:{len(_INDENT)}}{entry.title} ({entry.suffix}), {holds}")
            print(textwrap.indent(textwrap.fill(entry.notes, _WIDTH - len(_INDENT)), _INDENT))
