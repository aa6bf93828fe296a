"""`cryoshift info`: the header of a tomogram, with all that a person should know about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from napari_cryoshift.core.tomograms import check_values, guess_dark, open_tomogram, read_header

from .command import Command


@dataclass(frozen=True, kw_only=True)
class Info(Command):
    """Say what the header of a tomogram says, and whether its particles look dark or light."""

    tomogram: Positional[Path]
    """Tomogram: .mrc .rec .map .ccp4 .st or .em, each also with .gz."""

    def run(self) -> None:
        """Print the report."""
        header = read_header(self.tomogram)
        print(header.report())
        # The guess needs some size; this is a common one.
        tomogram = open_tomogram(self.tomogram, voxel_size=header.voxel_size or 10.0)
        check_values(tomogram)
        dark = guess_dark(tomogram)
        print(f"  particles   look {'dark' if dark else 'light (--light)'}")
