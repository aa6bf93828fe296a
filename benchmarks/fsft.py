"""Few labels across a domain shift: FSFT, its ablations and its baselines.

    python benchmarks/fsft.py                     # tables 1, 2, 4 and 5 of the paper, small
    python benchmarks/fsft.py --size paper        # as large as there, for a graphics card
    python benchmarks/fsft.py --set FOLDER        # the shift set: S.npz, T.npz and set.json
    python benchmarks/fsft.py --tomogram FOLDER   # ribosomes of a cell from 3, 5 and 7 clicks

Labels of the target are looked at for the tables alone, except those of the shots, which are in no
test set. What is done is kept in the work folder; a run that was stopped goes on there.
"""

import argparse
import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from cryoshift import write_results
from fsft_ribosomes import ribosomes
from fsft_trials import (
    BASELINES,
    VARIANTS,
    Shots,
    Trial,
    run_all,
    show,
    show_confusion,
    show_stages,
)
from setups import in_memory

from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Subtomograms

OPTICS = {
    "S1": {"cs": (2.2, 2.2), "defocus": (-10.0, -10.0)},
    "S2": {"cs": (2.0, 2.0), "defocus": (-5.0, -5.0)},
    "S2, as in cells": {
        "cs": (2.0, 2.0),
        "defocus": (-5.0, -5.0),
        "noise_slope": (-1.0, -1.0),
        "shift": 24.0,
        "neighbours": 0.5,
    },
}
"""Of the paper, section 3.1.1; and with pink noise, de-centring and neighbours on top."""


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes
    ----------
    box, voxel_size
        Voxels, Å.
    structures
        Of the library, one a class.
    per_class
        Volumes of each domain.
    snr
        Nominal, of the tables 4 and 5.
    levels
        Of table 1, from each to each; of the source in table 2.
    shots
        Of tables 2, 4 and 5; table 1 takes the first.
    """

    box: int
    voxel_size: float
    structures: tuple[str, ...]
    per_class: int
    snr: float
    levels: tuple[float, ...]
    shots: tuple[int, ...]


ALIGNING = {"steps": 100, "batch": 64, "learning_rate": 5e-4}
STAGES = {
    "set": {
        "learning": {"steps": 400},
        "alignment": ALIGNING,
        "projections": ALIGNING,
        "grouping": {"steps": 60, "batch": 40},
        "tuning": {"batch": 20, "learning_rate": 3e-4},
    },
    "paper": {},
}
STAGES["small"] = STAGES["set"] | {"learning": {"steps": 300}}
STAGES["tomogram"] = STAGES["set"] | {"learning": {"steps": 200}}
"""Where it differs from the defaults of the methods."""

TEN = ("4v6x", "3jb9", "1wcm", "3j9i", "1mnf", "4v8r", "1qvr", "3cf3", "1bxn", "2fha")
MORE = ("4v5d", "1ffk", "5uz4", "1oel", "1auy", "4yvs", "1gyt", "1ncb", "4zxb", "1u6g", "2cg9")
SIZES = {
    "small": Size(20, 17.5, TEN, 50, 0.5, (1000.0, 0.5), (3, 7)),
    "paper": Size(
        35, 10.0, (*TEN, *MORE, "1igt", "1e6v"), 100, 0.5, (1000, 0.5, 0.1, 0.05, 0.03), (3, 7)
    ),
}


def simulated(size, optics, snr, seed):
    """Volumes of every class under one condition, in memory."""
    band = size.box * size.voxel_size / (size.box * size.voxel_size // 40)
    settings = {"shift": 12.0, "resolution": (band, band), "amplitude_contrast": 0.0}
    imaging = ImagingParams(
        box=size.box,
        voxel_size=size.voxel_size,
        snr=(snr, snr),
        **settings | OPTICS[optics],
    )
    structures = [library()[key] for key in size.structures]
    return in_memory(
        simulate_subtomograms(structures, imaging, per_class=size.per_class, seed=seed)
    )


def read_pair(size, conditions, seed):
    """Source and target under two conditions, each (optics, SNR)."""
    return tuple(
        simulated(size, *condition, seed=100 + 2 * seed + part)
        for part, condition in enumerate(conditions)
    )


def draw_shots(size, seed):
    """The shots of one draw, the more including the fewer."""
    generator = np.random.default_rng(1000 + seed)
    orders = [
        k * size.per_class + generator.permutation(size.per_class)
        for k in range(len(size.structures))
    ]
    return tuple(
        Shots(count, seed, tuple(tuple(map(int, order[:count])) for order in orders))
        for count in size.shots
    )


def tables(args):
    """Trials of the tables of the paper, all of the first seed first."""
    size = SIZES[args.size]

    def trial(group, variant, seed, source, target):
        return Trial(
            group=f"{args.size}, {group}",
            variant=variant,
            seed=seed,
            changes=STAGES[args.size],
            read=functools.partial(read_pair, size, (source, target)),
            shots=draw_shots(size, seed),
            work=args.work,
        )

    for seed in args.seeds:
        for target in OPTICS:
            # To other volumes of S1 to see what the source classifier is worth without a shift.
            for variant in ("fine-tune",) if target == "S1" else VARIANTS:
                sets = ("S1", size.snr), (target, size.snr)
                yield trial(f"tables 4 and 5, S1 to {target}", variant, seed, *sets)
    for known in size.levels:
        for other in size.levels:
            for variant in BASELINES:
                sets = ("S1", known), ("S2", other)
                yield trial(f"table 1, SNR {known:g} to {other:g}", variant, 0, *sets)
        for variant in ("FADA", "FSFT"):
            sets = ("S1", known), ("S2, as in cells", 0.3)
            yield trial(f"table 2, SNR {known:g}", variant, 0, *sets)


def read_shift_set(folder, seed):
    """Source and target, the same for every seed; stored x, y, z and read z, y, x."""
    card = json.loads((folder / "set.json").read_text())
    sets = []
    for name in ("S", "T"):
        stored = np.load(folder / f"{name}.npz")
        zyx = np.ascontiguousarray(stored["volumes"].astype(np.float32).transpose(0, 3, 2, 1))
        labels = stored["labels"].astype(np.int64)
        volumes = torch.from_numpy(zyx)
        classes = tuple(card["names"][key] for key in card["classes"])
        sets.append(Subtomograms.from_memory(volumes, card["voxel_A"], labels, classes))
    return tuple(sets)


def shift_set(args):
    """Trials of the shift set, with half turns and without."""
    drawn = json.loads((args.set / "set.json").read_text())["shots"]
    shots = tuple(
        Shots(count, draw, tuple(map(tuple, drawn[str(count)][draw])))
        for draw in args.draws
        for count in args.shots
    )
    for seed in args.seeds:
        for augment in args.augment:
            for variant in args.variants:
                yield Trial(
                    group=f"shift set, {'half turns' if augment else 'as it is'}",
                    variant=variant,
                    seed=seed,
                    changes=STAGES["set"] | {"augment": augment},
                    read=functools.partial(read_shift_set, args.set),
                    shots=shots,
                    work=args.work,
                )


REFERENCE = """
stated with the set, mean ± sd over draws        0 shots            3            5            7
reference FSFT, last epoch                          .684  .679 ± .042               .723 ± .012
reference FSFT, epoch chosen by test labels               .728 ± .022               .766 ± .015
source only / AdaBN                            .448/.580
Deep CORAL, then fine-tuned                         .556  .648 ± .010  .664 ± .011  .684 ± .020
fine-tuned                                                .630 ± .026  .662 ± .021  .682 ± .006
half turns, AdaBN, prototypes                       .727  .737 ± .014  .778 ± .033  .795 ± .019
half turns, AdaBN, fine-tuned                             .647 ± .082               .818 ± .032
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--size", choices=tuple(SIZES), default="small")
    what.add_argument("--set", type=Path, help="folder of the shift set")
    what.add_argument("--tomogram", type=Path, help="folder of the tomogram and its list")
    of_set = parser.add_argument_group("on the shift set")
    of_set.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=BASELINES)
    of_set.add_argument("--augment", type=int, nargs="+", choices=(0, 1), default=(0, 1))
    parser.add_argument(
        "--shots", type=int, nargs="+", default=(3, 5, 7), help="on the set and the tomogram"
    )
    parser.add_argument(
        "--draws", type=int, nargs="+", help="of the shots or clicks: 5 and 20, if not given"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--processes", type=int, default=2, help="1 on a graphics card; 0 only shows what is there"
    )
    parser.add_argument("--work", type=Path, default=Path("fsft-benchmark"))
    args = parser.parse_args()
    args.work.mkdir(exist_ok=True)
    args.draws = args.draws or range(20 if args.tomogram else 5)
    if args.tomogram:
        ribosomes(args, STAGES["tomogram"])
        return
    groups = run_all(list(shift_set(args) if args.set else tables(args)), args.processes)
    if args.set:
        show(groups, (0, 3, 5, 7), over="draw")
        print(REFERENCE)
        write_results("fsft-shift-set", seeds=args.seeds, parameters=STAGES["set"], results=groups)
        return
    size = SIZES[args.size]
    show(groups, (0, *size.shots), over="seed")
    for group, variants in groups.items():
        if "table 1" in group:
            continue
        for variant in ("FADA", "FSFT"):
            for count in size.shots if variant in variants else ():
                print(f"\n{group}: {variant}, {count} shots")
                show_stages(variants[variant], count)
                show_confusion(variants[variant], count, size.structures)
    write_results(
        f"fsft-{args.size}",
        seeds=args.seeds,
        size=asdict(size),
        parameters=STAGES[args.size],
        results=groups,
    )


if __name__ == "__main__":
    main()
