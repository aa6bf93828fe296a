"""Known classes among unknown ones, across domains: MLUDA, JDDA, centre loss and softmax.

    python benchmarks/mluda.py                    # tables 2 and 3 of the paper, small
    python benchmarks/mluda.py --size paper       # as large as there, for a graphics card
    python benchmarks/mluda.py --digits FOLDER    # figure 2: digits as point clouds; MNIST's files
    python benchmarks/mluda.py --classes chosen --set mluda weight=0.3     # how defaults are found

The source has four known classes and two whose volumes it calls other; the target has the four,
those two and further ones that the source knows nothing of. All methods see the same volumes in the
same order, and the statistics of the target; its labels are looked at for the tables alone. What
is done is kept in the work folder; a run that was stopped goes on there.
"""

import argparse
import dataclasses
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from cryoshift import write_results
from mluda_digits import digits
from setups import in_memory

from napari_cryoshift.core.calibration import reliability, scaled, temperature
from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.open_set import auroc, nearest_known, open_set_report, oscr
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import OTHER, Subtomograms, TrainingData

LABELS = 5
"""Of each class, by which confidence is calibrated."""

NAMES = ("softmax", "center_loss", "jdda", "mluda")

S = {"missing_wedge": (10.0, 10.0), "defocus": (-5.0, -5.0), "shift": 12.0}
R = {
    "missing_wedge": (30.0, 30.0),
    "defocus": (-4.0, -2.0),
    "shift": 24.0,
    "noise_slope": (-1.0, -1.0),
    "neighbours": 0.5,
}
"""Simulated as in the paper; and as in tomograms, in place of its real set."""

TABLES = {
    "table 2, S1 to S2": ((3.0, S), (7.0, S)),
    "table 3, S3 to R": ((10.0, S), (1.0, R)),
}
"""Source and target: nominal SNR and imaging."""


@dataclass(frozen=True)
class Classes:
    """Structures of the library.

    Attributes
    ----------
    known
        In both domains, by name.
    pooled
        In both, other in the source.
    new
        In the target alone.
    """

    known: tuple[str, ...]
    pooled: tuple[str, ...]
    new: tuple[str, ...]


CLASSES = {
    "reported": Classes(
        ("3j9i", "4zxb", "2fha", "1bxn"),
        ("1ncb", "1gyt"),
        ("1qvr", "4jsv", "1ek9", "3sn6", "2cg9", "3h84"),
    ),
    "chosen": Classes(
        ("4v8r", "1wcm", "3cf3", "1oel"), ("1e6v", "1u6g"), ("1igt", "3d2f", "7qpd", "1onx")
    ),
}
"""What figures are of, and what defaults were chosen on; no class is in both."""


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes
    ----------
    box, voxel_size
        Voxels, Å.
    per_class
        Volumes of each structure of the source.
    tested
        Of each of the target.
    steps
        Of training.
    """

    box: int
    voxel_size: float
    per_class: int
    tested: int
    steps: int


SIZES = {"small": Size(16, 17.5, 60, 40, 300), "paper": Size(40, 9.2, 500, 500, 10_000)}


def simulated(size, keys, condition, count, seed):
    """Volumes of some structures under one condition, in memory."""
    snr, optics = condition
    imaging = ImagingParams(
        box=size.box, voxel_size=size.voxel_size, snr=(snr, snr), amplitude_contrast=0.0, **optics
    )
    structures = [library()[key] for key in keys]
    return in_memory(simulate_subtomograms(structures, imaging, per_class=count, seed=seed))


def other_beyond(volumes, known):
    """The same volumes, with all classes but the first few called other."""
    labels = np.minimum(volumes.labels, known)
    return dataclasses.replace(volumes, labels=labels, classes=(*volumes.classes[:known], OTHER))


def pair(size, classes, table, seed):
    """Labelled source and labelled target of a table."""
    source, target = TABLES[table]
    known = len(classes.known)
    seeds = np.random.SeedSequence((seed, list(TABLES).index(table))).generate_state(2)
    learnt, judged = (
        other_beyond(simulated(size, keys, condition, count, int(drawn)), known)
        for keys, condition, count, drawn in (
            (classes.known + classes.pooled, source, size.per_class, seeds[0]),
            (classes.known + classes.pooled + classes.new, target, size.tested, seeds[1]),
        )
    )
    return learnt, judged


def predicted(method, volumes):
    """Probabilities of the method's classes."""
    starts = range(0, len(volumes), 64)
    return torch.cat([method.predict(volumes[i : i + 64]).cpu() for i in starts]).double().numpy()


def figures(probabilities, classes, target, seed):
    """Metrics of the paper, and those that need no threshold.

    Calibration is by a few labels a class, the rest being judged before and after.
    """
    true = np.array(target.classes, dtype=object)[target.labels]
    said = np.array(classes, dtype=object)[probabilities.argmax(1)]
    report = open_set_report(list(true), list(said))
    sure, best = nearest_known(probabilities, classes)
    known = true != OTHER
    drawn = np.random.default_rng(seed).permutation(len(true))
    told = np.concatenate([drawn[true[drawn] == name][:LABELS] for name in classes])
    rest = np.setdiff1d(drawn, told)
    by = temperature(probabilities[told], [classes.index(name) for name in true[told]])
    errors = [
        reliability(given[rest].max(1), (said == true)[rest]).error
        for given in (probabilities, scaled(probabilities, by))
    ]
    return {
        "ALL": report.overall,
        "OS": report.per_class,
        "OS*": report.known,
        "UNK": report.unknown,
        "AUROC": auroc(sure, known),
        "OSCR": oscr(sure, best == true, known),
        "ECE": errors[0],
        "ECE, calibrated": errors[1],
    }


def trial(args, table, name, seed, sets):
    """Train a method and return its figures, which are kept."""
    size, label = SIZES[args.size], args.set.get(name, {})
    told = "".join(f" {key}={value:g}" for key, value in sorted(label.items()))
    file = args.work / f"{args.size} {args.classes} {table} {name}{told} {seed}.json"
    if file.exists():
        return json.loads(file.read_text())
    source, target = sets()
    method_type = METHODS[name]
    params = method_type.params_type(seed=seed, learning={"steps": size.steps}, **label)
    method = method_type(params, source.box).to(best_device())
    started = time.process_time()
    unlabelled = dataclasses.replace(target, labels=None, classes=())
    finish(method.fit(TrainingData(source=source, target=unlabelled)))
    seconds = time.process_time() - started
    found = figures(predicted(method, target), method.classes, target, seed)
    found["seconds"] = round(seconds, 1)
    file.write_text(json.dumps(found))
    said = "  ".join(f"{key} {value:.3f}" for key, value in found.items())
    print(f"{table}, seed {seed}  {name + told:30} {said}", flush=True)
    return found


def tables(args):
    """Table → method → figures of each seed."""
    if best_device().type == "cpu":
        torch.set_num_threads(1)
    found = {}
    for table in args.tables:
        for seed in args.seeds:
            made: list[tuple[Subtomograms, Subtomograms]] = []

            def sets(table=table, seed=seed, made=made):
                if not made:  # simulated once for all methods, and not at all if all is done
                    made.append(pair(SIZES[args.size], CLASSES[args.classes], table, seed))
                return made[0]

            for name in args.methods:
                line = trial(args, table, name, seed, sets)
                found.setdefault(table, {}).setdefault(name, []).append(line)
    return found


def show(found):
    """Print mean and 95 % interval over seeds."""
    for table, methods in found.items():
        print(f"\n{table}")
        columns = list(next(iter(methods.values()))[0])
        print(f"{'':14}" + "".join(f"{column:>16}" for column in columns))
        for name, lines in methods.items():
            row = f"{name:14}"
            for column in columns:
                values = [line[column] for line in lines]
                if len(values) > 1:
                    row += f"{'{:.3f} ± {:.3f}'.format(*mean_interval(values)):>16}"
                else:
                    row += f"{values[0]:16.3f}"
            print(row)


def show_paired(found):
    """Print how much more MLUDA has than each other method, seed by seed: mean and interval."""
    for table, methods in found.items():
        print(f"\n{table}: MLUDA less the others, paired by seed")
        for name in [name for name in methods if name != "mluda" and "mluda" in methods]:
            row = f"{name:14}"
            for column in ("ALL", "OS", "OS*", "UNK", "AUROC", "OSCR"):
                pairs = zip(methods["mluda"], methods[name], strict=True)
                more = [one[column] - other[column] for one, other in pairs]
                row += f"{column:>8}{'{:+.3f} ± {:.3f}'.format(*mean_interval(more)):>16}"
            print(row)


def settings(words):
    """Method → parameters, of words as `mluda weight=0.3 outer=2`."""
    found, name = {}, ""
    for word in words:
        if "=" not in word:
            name = word
            continue
        key, value = word.split("=")
        found.setdefault(name, {})[key] = float(value)
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--digits", type=Path, help="folder of MNIST's files")
    parser.add_argument("--classes", choices=tuple(CLASSES), default="reported")
    parser.add_argument("--tables", choices=tuple(TABLES), nargs="+", default=tuple(TABLES))
    parser.add_argument("--methods", choices=NAMES, nargs="+", default=NAMES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], help="parameters, by method")
    parser.add_argument("--work", type=Path, default=Path("mluda-benchmark"))
    args = parser.parse_args()
    args.set = settings(args.set)
    args.work.mkdir(exist_ok=True)
    if args.digits:
        digits(args)
        return
    found = tables(args)
    show(found)
    if len(args.seeds) > 1:
        show_paired(found)
    whole = tuple(args.tables) == tuple(TABLES) and tuple(args.methods) == NAMES
    if args.classes == "reported" and whole and not args.set:
        write_results(
            f"mluda-{args.size}", seeds=args.seeds, size=asdict(SIZES[args.size]), results=found
        )


if __name__ == "__main__":
    main()
