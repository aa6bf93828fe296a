"""Cryo-Shift between two imaging conditions: what warping and adaptation add to step zero.

Classes are the paper's four. A classifier that learnt them under one condition is adapted, without
a label, to volumes of another, and tested on further volumes of that other. Rows are those of the
paper's tables 2 and 5; `--table` has the ablations of tables 2 and 3, the networks of table 6, and
those of its supplement, from one SNR to another.

    python benchmarks/cryoshift.py                  # boxes of 24³, small networks, two processes
    python benchmarks/cryoshift.py --size paper     # its networks at 40³, on a graphics card
    python benchmarks/cryoshift.py --table ablations

What is done is kept in the work folder: a run that was stopped goes on there, and what was run one
seed after the other gives the table and the JSON when it is run with all of them.
"""

import argparse
import copy
import functools
import itertools
import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import precision_recall_fscore_support

from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.methods.cryoshift import CryoShift
from napari_cryoshift.core.methods.cryoshift_params import PAPER, CryoShiftParams
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.networks.statistics import measuring
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.procedural import distractors
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Subtomograms, TrainingData

STRUCTURES = ("4v6x", "3j9i", "4v8r")
CLASSES = ("ribosome", "proteasome", "TRiC", "membrane")
NO_WARP = {"warp": {"noise": 0.0, "distortion": 0.0}}
NO_INFORMATION = {"adaptation": {"information": 0.0}}
NO_ADAPTATION = {"adaptation": {"weighting": "none", "information": 0.0}}

ROWS = {
    "step zero": NO_WARP | NO_ADAPTATION,
    "+ adaptation": NO_WARP | NO_INFORMATION,
    "+ adaptation, information": NO_WARP,
    "+ warp": NO_ADAPTATION,
    "+ warp, adaptation": NO_INFORMATION,
    "+ warp, adaptation, information": {},
    "+ noise": {"warp": {"distortion": 0.0}} | NO_ADAPTATION,
    "+ distortion": {"warp": {"noise": 0.0}} | NO_ADAPTATION,
    "+ warp against the task": {"warp": {"against": "task"}} | NO_ADAPTATION,
    "+ warp, MADA": {"adaptation": {"weighting": "features", "information": 0.0}},
}
"""What differs from the method's defaults, to whose last row the paper has no counterpart."""

MAIN = ("step zero", "AdaBN", *list(ROWS)[1:6])
ABLATIONS = tuple(list(ROWS)[6:])

PUBLISHED = {
    "step zero": 0.71,
    "+ warp": 0.77,
    "+ warp, adaptation": 0.84,
    "+ noise": 0.72,
    "+ distortion": 0.75,
    "+ warp against the task": 0.72,
}
"""Mean accuracy over classes, on rat neurons: tables 2 and 3 (CB3D) and 6 (FSDA)."""


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    box: int
    voxel_size: float
    params: CryoShiftParams
    networks: tuple[str, ...]
    learnt: int
    unlabelled: int
    tested: int


SIZES = {
    "small": Size(
        box=24,
        voxel_size=16.0,
        params=CryoShiftParams(
            step_zero={"epochs": 15},
            discriminator={"pretraining": 60},
            iterations=30,
            epochs=4,
            batch=8,
            randomise=False,
        ),
        networks=("strided", "fsda"),
        learnt=300,
        unlabelled=100,
        tested=150,
    ),
    "paper": Size(
        box=40,
        voxel_size=13.68,
        params=PAPER,
        networks=("cb3d", "dsrf3d", "densenet3d", "resnet3d", "fsda"),
        learnt=2000,
        unlabelled=100,
        tested=250,
    ),
}

SOURCE = {"snr": (0.3, 3.0), "defocus": (-8.0, -5.0), "shift": 10.0}
TARGET = {
    "snr": (0.2, 0.6),
    "defocus": (-3.5, -2.0),
    "shift": 20.0,
    "noise_slope": (-1.0, -0.7),
    "neighbours": 1.0,
}
"""Chosen by step zero alone, for an accuracy of about 0.7, as in the paper: contrast, defocus,
colour of the noise, de-centring and crowding."""

SNRS = (0.03, 0.5, 10.0)
"""Of the supplement's table S1."""


def simulated(size, condition, per_class, seed, device):
    """Volumes of the four classes under a condition, in memory."""
    structures = [*(library()[key] for key in STRUCTURES), distractors(1, 0)[0]]
    imaging = ImagingParams(
        box=size.box, voxel_size=size.voxel_size, snr_convention="power", **condition
    )
    made = simulate_subtomograms(structures, imaging, per_class=per_class, seed=seed, device=device)
    volumes = torch.cat([made[start : start + 64] for start in range(0, len(made), 64)])
    return Subtomograms.from_memory(volumes, size.voxel_size, made.labels, CLASSES)


def changed(params, groups):
    """`CryoShiftParams` with some fields of some groups changed."""
    fields = params.model_dump()
    for name, value in groups.items():
        fields[name] = fields[name] | value if isinstance(value, dict) else value
    return CryoShiftParams.model_validate(fields)


def judged(method, test):
    """Accuracy of each class and their mean, precision, recall and F1, as table 5 has them."""
    parts = [method.predict(test[start : start + 64]) for start in range(0, len(test), 64)]
    said = torch.cat(parts).argmax(1).cpu().numpy()
    precision, recall, f1, support = precision_recall_fscore_support(
        test.labels, said, labels=np.arange(len(test.classes)), zero_division=0
    )
    return {
        "average": float(recall.mean()),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
    }


def with_statistics_of(method, target):
    """Batch norm by what unlabelled volumes have: AdaBN."""
    with measuring(method.network), torch.no_grad():
        for start in range(0, len(target), 32):
            method.network(target[start : start + 32])
    return method


class Notes:
    """One line of JSON for each row that is done, so that none is done twice."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.done = {line["row"]: line for line in map(json.loads, lines)}

    def add(self, row, **found):
        """Write down what was found."""
        self.done[row] = {"row": row, **found}
        with self.path.open("a") as file:
            file.write(json.dumps(self.done[row]) + "\n")
        print(f"{self.path.stem:44}{row:34}{found.get('average', float('nan')):.3f}", flush=True)


@dataclass(frozen=True)
class Trial:
    """One network and seed between two sets: what one process does.

    Attributes
    ----------
    group, seed
        What it is called; what differs by the seed alone is one group.
    params
        Of the whole method.
    read
        Device → labelled source, target without labels, labelled volumes to test by.
    rows
        Of `ROWS`, or "AdaBN".
    work
        Folder for what is done.
    judge
        Method, test volumes → figures, of which "average" is shown as it goes.
    """

    group: str
    seed: int
    params: CryoShiftParams
    read: Callable[[torch.device], tuple[Subtomograms, Subtomograms, Subtomograms]]
    rows: tuple[str, ...]
    work: Path
    judge: Callable[[CryoShift, Subtomograms], dict] = judged

    def run(self):
        """Learn the source once, then adapt it as each row says."""
        device = best_device()
        if device.type == "cpu":
            torch.set_num_threads(1)
        name = f"{self.group} {self.seed}"
        notes = Notes(self.work / f"{name}.jsonl")
        rows = [row for row in self.rows if row not in notes.done]
        if not rows:
            return notes.done
        source, target, test = self.read(device)
        data = TrainingData(source=source, target=target)
        base = changed(self.params, {"seed": self.seed})
        learnt = CryoShift(changed(base, ROWS["step zero"]), source.box, source.classes).to(device)
        weights = self.work / f"{name}.safetensors"
        if weights.exists():
            learnt.load_state_dict(load_file(weights))
        else:
            finish(learnt.fit(data))
            save_file(learnt.state_dict(), weights)
        for row in rows:
            start = time.process_time()
            if row == "AdaBN":
                method = with_statistics_of(copy.deepcopy(learnt), target)
            else:
                method = CryoShift(changed(base, ROWS[row]), source.box, source.classes)
                method.to(device).network.load_state_dict(learnt.network.state_dict())
                finish(method.adapt(data))
                if method.warper is not None:  # to be looked at
                    save_file(method.warper.state_dict(), self.work / f"{name} {row}.safetensors")
            notes.add(row, **self.judge(method, test), seconds=time.process_time() - start)
        return notes.done


def run_all(all_trials, processes):
    """Run them, some at a time, and group what they found: group → row → a line a seed."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        found = list(pool.map(Trial.run, all_trials))
    groups = {}
    for trial, done in zip(all_trials, found, strict=True):
        for row in trial.rows:
            groups.setdefault(trial.group, {}).setdefault(row, []).append(done[row])
    return groups


def show(groups, classes):
    """Print accuracies: the mean over classes with its interval over seeds, and of each class."""
    print("accuracy: mean over classes, ± 95 % interval over seeds, then of each class")
    for group, rows in groups.items():
        for row, lines in rows.items():
            averages = [line["average"] for line in lines]
            interval = f" ± {mean_interval(averages)[1]:.3f}" if len(lines) > 1 else ""
            recall = np.mean([line["recall"] for line in lines], 0)
            each = " ".join(f"{n} {r:.2f}" for n, r in zip(classes, recall, strict=True))
            print(f"{group:40}{row:34}{np.mean(averages):.3f}{interval:10}{each}")


def write_results(name, **content):
    """Write JSON beside the benchmarks."""
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1))


def read_simulated(size, conditions, seed, device):
    """Source, target and test volumes under two conditions."""
    counts = (size.learnt, size.unlabelled, size.tested)
    where = (conditions[0], conditions[1], conditions[1])
    return tuple(
        simulated(size, condition, count, 10 * seed + part, device)
        for part, (condition, count) in enumerate(zip(where, counts, strict=True))
    )


def trials(args):
    """What a table needs."""
    size = SIZES[args.size]
    if args.table == "s1":
        for known, other in itertools.permutations(SNRS, 2):
            pair = tuple(SOURCE | {"snr": (snr, snr)} for snr in (known, other))
            yield Trial(
                group=f"{args.size} SNR {known:g} to {other:g}",
                seed=0,
                params=size.params,
                read=functools.partial(read_simulated, size, pair, 0),
                rows=("step zero", "+ warp, adaptation"),
                work=args.work,
            )
        return
    others = args.table == "networks"
    for network in size.networks[1:] if others else size.networks[:1]:
        for seed in args.seeds[:1] if others else args.seeds:
            varied = args.table == "varied"
            yield Trial(
                group=f"{args.size} {network}{', varied' if varied else ''}",
                seed=seed,
                params=changed(
                    size.params, {"step_zero": {"network": network}, "randomise": varied}
                ),
                read=functools.partial(read_simulated, size, (SOURCE, TARGET), seed),
                rows=tuple(args.rows),
                work=args.work,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument(
        "--table",
        choices=("main", "varied", "ablations", "networks", "s1"),
        default="main",
        help=(
            "main is tables 2 and 5; varied the same with the imaging of the source varied, which "
            "the paper has not; ablations what else is in tables 2 and 3"
        ),
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=2, help="1 on a graphics card")
    parser.add_argument("--work", type=Path, default=Path("cryoshift-benchmark"))
    parser.add_argument("--rows", nargs="+", choices=MAIN, help="of the table; all")
    args = parser.parse_args()
    args.rows = args.rows or (ABLATIONS if args.table == "ablations" else MAIN)
    args.work.mkdir(exist_ok=True)
    groups = run_all(list(trials(args)), args.processes)
    show(groups, CLASSES)
    print("paper: " + ", ".join(f"{row} {value:.2f}" for row, value in PUBLISHED.items()))
    suffix = "" if args.table == "main" else f"-{args.table}"
    size = SIZES[args.size]
    write_results(
        f"cryoshift-{args.size}{suffix}",
        seeds=args.seeds,
        source=SOURCE,
        target=TARGET,
        size={k: v for k, v in asdict(size).items() if k != "params"},
        params=size.params.model_dump(mode="json"),
        paper=PUBLISHED,
        results=groups,
    )


if __name__ == "__main__":
    main()
