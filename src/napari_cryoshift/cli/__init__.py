"""`cryoshift …`: the work of the engine as commands.

The table names them; what does the work is imported when a command is chosen, so that
``cryoshift --help`` answers at once.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_cryoshift import __version__

from .console import sentence

if TYPE_CHECKING:
    from .command import Command

COMMANDS = {
    "demo": ("demo:Demo", "Run the whole way on a simulated sample, and report on it."),
    "info": ("info:Info", "Say what the header of a tomogram says."),
    "library list": ("library:List", "List the structures of the library."),
    "library show": ("library:Show", "Show what the library knows of a structure."),
    "library alike": ("library:Alike", "Say which structures look most like one of the library."),
    "library add": ("library:Add", "Add a structure or a density map to your own library."),
    "check": ("check:Check", "Say what a labelled set of subtomograms gives away."),
    "simulate subtomograms": ("simulate:SimulateSubtomograms", "Simulate labelled subtomograms."),
    "simulate tomogram": ("simulate:SimulateTomogram", "Simulate a tomogram with its truth."),
    "simulate again": ("simulate:SimulateAgain", "Make simulated data once more."),
    "pick": ("pick:Pick", "List candidate particles of a tomogram."),
    "recentre": ("recentre:Recentre", "Move picks to the middle of their particles."),
    "match": ("match:Match", "Look for a structure in a tomogram, in all orientations."),
    "fit": ("match:Fit", "Fit a structure into the particles of a list."),
    "average": ("average:MeanOfParticles", "Align the particles of a list to their mean."),
    "train": ("train:Train", "Train the embedding anew on simulated particles."),
    "tune": ("tune:Tune", "Train the embedding on for one tomogram."),
    "subtomograms": (
        "subtomograms:CutSubtomograms",
        "Cut subtomograms out of a tomogram, at the particles of a list.",
    ),
    "adapt": ("adapt:Adapt", "Classify particles by known structures."),
    "embed": ("embed:Embed", "Compute the embeddings of particles."),
    "cluster": ("cluster:Cluster", "Sort particles into groups that look alike, unlabelled."),
    "classify": ("classify:Classify", "Classify particles from a few labelled ones."),
    "export": ("export:Export", "Write a particle list for another program."),
    "convert": ("convert:Convert", "Write a particle list of one program for another."),
    "formats": ("convert:Formats", "List the formats of particle lists."),
    "evaluate": ("evaluate:Evaluate", "Compare a particle list with the truth."),
}
"""Words on the command line → the class that does it, and what it does."""

_BAD_INPUT = 2
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cryoshift`` and return its exit code.

    Parameters
    ----------
    argv
        The words after ``cryoshift``; by default those of this process.

    Returns
    -------
    int
        0; 2 after bad input, with one sentence on stderr; 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        If flags are unknown or missing (2), or help was asked for (0).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(__version__)
        return 0
    name = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), None)
    if name is None:
        return _list_commands(words)
    flags = words[len(name.split()) :]
    try:
        _parse(name, flags).run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Who reads this has had enough (`| head`); what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        if "--debug" in flags:
            traceback.print_exc()
        print(f"cryoshift {name}: {sentence(error)}", file=sys.stderr)
        return _BAD_INPUT
    return 0


def _parse(name: str, flags: list[str]) -> Command:
    """Build a command from its flags.

    Raises
    ------
    ValueError
        If the values of flags do not fit together.
    SystemExit
        If flags are unknown or missing (2), or help was asked for (0).
    """
    import tyro

    from .flags import BadFlags, registry

    module, _, kind = COMMANDS[name][0].partition(":")
    named: type[Command] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)
    try:
        command: Command = tyro.cli(
            named.of(flags),
            prog=f"cryoshift {name}",
            args=flags,
            config=(
                tyro.conf.DisallowNone,
                tyro.conf.FlagCreatePairsOff,
                tyro.conf.PositionalMetavarFromFieldName,
            ),
            registry=registry(),
        )
    except BadFlags as refused:
        raise ValueError(str(refused)) from refused
    return command


def _list_commands(words: list[str]) -> int:
    """Print the commands that begin with these words."""
    typed = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    fitting = [name for name in COMMANDS if name.split()[: len(typed)] == typed]
    if not fitting:
        groups = {name.split()[0] for name in COMMANDS if " " in name}
        wrong = " ".join(typed[: 2 if typed[0] in groups else 1])
        print(f"there is no command {wrong!r}; cryoshift --help lists them", file=sys.stderr)
        return _BAD_INPUT
    print("usage: cryoshift COMMAND [OPTIONS]\n")
    for name in fitting:
        print(f"  {name:23}{COMMANDS[name][1]}")
    print("\nEach command explains itself: cryoshift COMMAND --help")
    return 0 if not typed or words != typed else _BAD_INPUT
