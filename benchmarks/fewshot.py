"""Unseen classes: how well a few labelled subtomograms tell them apart.

The five classes and all their relatives are held out of the training of the embedding (its card
lists the families) and of the matched filter's library. Accuracy of the nearest class mean, over
few-shot tasks of 15 queries a class; all rows of a table have the same volumes and tasks.

    python benchmarks/ceiling.py
    python benchmarks/fewshot.py
    python benchmarks/fewshot.py --checkpoint seed0.safetensors seed1.safetensors seed2.safetensors

Several checkpoints are training seeds of one embedding: the figure is their mean, its interval
that of the seeds (Student's) and that of the tasks, added in squares.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from setups import (
    QUERIES,
    SETUPS,
    SNRS,
    UNSEEN,
    accuracies,
    batches,
    draw_tasks,
    relatives,
    simulate,
)

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.features import Block, fits, joined, learned
from napari_cryoshift.core.matching import MatchParams, matched_filter, standard_scores
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.sets import read_set
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.source import SourceParams, source_structures
from napari_cryoshift.core.volumes import resampled
from napari_cryoshift.core.workflows import shipped_checkpoint

RESULTS = Path(__file__).parent / "results"
TASKS = {"2-way 5-shot": (2, 5), "2-way 1-shot": (2, 1), "5-way 5-shot": (5, 5)} | {
    "5-way 1-shot": (5, 1)
}
PAPER = {
    "2-way 5-shot": (0.963, 0.867, 0.798, 0.776, 0.570),
    "2-way 1-shot": (0.892, 0.745, 0.657, 0.677, 0.525),
}
GUESSED_DEFOCUS = -4.0
"""µm, where the defocus is drawn but not known."""


def embedded(checkpoint, volumes):
    """Embed subtomograms of any box."""
    fitting = resampled(volumes, box=checkpoint.box, voxel_size=checkpoint.voxel_size)
    method = checkpoint.build()
    return learned(torch.cat([method.embed(part) for part in batches(fitting)]).numpy())


def templates(held_out):
    """Make the matched filter's library: nothing in it is a relative of the unseen classes.

    All of the package's that are left and 60 invented ones, but for those too wide for a box.
    """
    params = SourceParams(
        hold_out=tuple(held_out), chimeras=40, assemblies=20, distractors=0, seed=1
    )
    width = ImagingParams().box * ImagingParams().voxel_size
    return [each for each in source_structures(params) if each.diameter <= width]


def matched(volumes, structures, shift, defocus):
    """Scores (n, k) of the structures.

    Angular step and shifts are those that the program has by default; where particles are centred
    to within a voxel, no shifts are tried.
    """
    largest = 0.0 if shift < volumes.noisy.voxel_size else MatchParams().shift
    params = MatchParams(amplitude_contrast=volumes.params.amplitude_contrast, shift=largest)
    known = np.broadcast_to(defocus, len(volumes.noisy))
    return finish(matched_filter(volumes.noisy, structures, params, defocus=known))


def rows_of(volumes, setup, checkpoints, protonet3d, structures):
    """Name of a row → its features (n, e), one a training seed.

    "Both" gives the same weight to the embedding and to the scores of the filter, each score
    standardised over the volumes; "both, as in the program" joins them as that does.
    """
    seeds = [embedded(checkpoint, volumes.noisy) for checkpoint in checkpoints]
    rows = {"learned": [[own] for own in seeds]}
    if protonet3d is not None:
        rows["ProtoNet3D"] = [[embedded(protonet3d, volumes.noisy)]]
    low, high = SETUPS[setup].defocus
    known = {"": volumes.truth["defocus"].to_numpy()}
    if low < high:
        known[", defocus guessed"] = GUESSED_DEFOCUS
    for how, defocus in known.items() if structures else ():
        scores = matched(volumes, structures, SETUPS[setup].shift, defocus)
        plain = Block.of(standard_scores(scores))
        rows[f"matched filter{how}"] = [[plain]]
        rows[f"both{how}"] = [[own, plain] for own in seeds]
        rows[f"both, as in the program{how}"] = [[own, fits(scores)] for own in seeds]
    return {
        name: [torch.from_numpy(joined(blocks)) for blocks in of_seeds]
        for name, of_seeds in rows.items()
    }


def judge(rows, labels, count, seed):
    """Accuracies of every row and kind of task: (seeds, tasks), and the classes of the tasks."""
    found, classes = {}, {}
    for kind, (ways, shots) in TASKS.items():
        tasks, classes[kind] = draw_tasks(labels, ways=ways, shots=shots, count=count, seed=seed)
        for row, of_seeds in rows.items():
            found[row, kind] = np.array([accuracies(own, tasks, shots) for own in of_seeds])
    return found, classes


def figures(values, classes):
    """Mean, interval, mean of each seed and of each pair of classes, of accuracies (seeds, tasks).

    The tasks' interval is that of their means over the seeds.
    """
    mean, of_tasks = mean_interval(values.mean(0))
    seeds = values.mean(1)
    of_seeds = mean_interval(seeds)[1] if len(seeds) > 1 else 0.0
    pairs = {
        " ".join(UNSEEN[i] for i in pair): float(values[:, [own == pair for own in classes]].mean())
        for pair in dict.fromkeys(classes)
    }
    return {
        "mean": mean,
        "interval": float(np.hypot(of_tasks, of_seeds)),
        "seeds": seeds.tolist(),
        "pairs": pairs if len(pairs) > 1 else {},
    }


def table(setup, args, checkpoints, protonet3d, structures):
    """Measure all rows in a set-up, print them and return them."""
    measured, ratios = {}, []
    for column in range(len(SNRS)):
        volumes = simulate(setup, column, per_class=args.per_class, seed=args.seed)
        ratios.append(volumes.power_ratio)
        rows = rows_of(volumes, setup, checkpoints, protonet3d, structures)
        found, classes = judge(rows, volumes.noisy.labels, args.tasks, args.seed)
        for (row, kind), values in found.items():
            measured.setdefault(f"{row}, {kind}", []).append(figures(values, classes[kind]))
    print(f"\n{setup}: {SETUPS[setup].title}; {args.per_class} volumes a class")
    print(f"{'nominal SNR':56}" + "".join(f"{snr:>15g}" for snr in SNRS))
    print(f"{'measured power ratio':56}" + "".join(f"{ratio:>15.4f}" for ratio in ratios))
    for kind, values in PAPER.items():
        print(f"{f'paper (its own classes), {kind}':56}" + "".join(f"{v:>15.3f}" for v in values))
    for name, values in measured.items():
        cells = "".join(f"{v['mean']:>8.3f} ± {v['interval']:.3f}" for v in values)
        print(f"{name:56}" + cells)
    for name, values in ceiling(setup).items():
        print(f"{f'ceiling, {name}':56}" + "".join(f"{m:>8.3f} ± {i:.3f}" for m, i in values))
    by_pair(measured)
    return {"power_ratio": ratios, "accuracy": measured}


def by_pair(measured):
    """Print the pairs of classes at 2-way 5-shot, SNR 0.1."""
    column = SNRS.index(0.1)
    shown = {
        name.split(", 2-way")[0]: values[column]["pairs"]
        for name, values in measured.items()
        if name.endswith("2-way 5-shot")
    }
    print(f"\n{'2-way 5-shot at 0.1':24}" + "".join(f"{name:>34}" for name in shown))
    for pair in next(iter(shown.values())):
        print(f"{pair:24}" + "".join(f"{values[pair]:>34.3f}" for values in shown.values()))


def ceiling(setup):
    """Read what `ceiling.py` found: 2-way and 5-way with known templates."""
    file = RESULTS / f"ceiling-{setup}.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text())
    return {name: found[name] for name in ("2-way", "5-way")}


def of_a_set(volumes, checkpoints, args):
    """Accuracies on a labelled set from disk: 2-way and all-way, 1 and 5 shots."""
    print(f"{len(volumes)} volumes of {', '.join(volumes.classes)}")
    vectors = [torch.from_numpy(embedded(each, volumes).values) for each in checkpoints]
    every = len(volumes.classes)
    for ways, shots in ((2, 5), (2, 1), (every, 5), (every, 1)):
        tasks, _ = draw_tasks(
            volumes.labels, ways=ways, shots=shots, count=args.tasks, seed=args.seed
        )
        values = np.array([accuracies(own, tasks, shots) for own in vectors])
        mean, interval = mean_interval(values.mean(0))
        print(f"{f'{ways}-way {shots}-shot':20}{mean:>8.3f} ± {interval:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", nargs="*", choices=SETUPS, default=list(SETUPS))
    parser.add_argument("--checkpoint", type=Path, nargs="*", help="instead of the shipped one")
    parser.add_argument("--protonet3d", type=Path, help="checkpoint of the published network")
    parser.add_argument("--per-class", type=int, default=150)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--learned", action="store_true", help="no matched filter, no results file")
    parser.add_argument("--set", type=Path, help="test on a labelled set from disk instead")
    parser.add_argument("--voxel-size", type=float, help="Å, of that set")
    parser.add_argument("--particles", choices=("dark", "light"), help="in that set")
    parser.add_argument("--axes", choices=("zyx", "xyz"), help="of that set")
    args = parser.parse_args()
    paths = args.checkpoint or []
    checkpoints = [Checkpoint.load(path) for path in paths] or [shipped_checkpoint()]
    if args.set:
        dark = None if args.particles is None else args.particles == "dark"
        volumes = read_set(args.set, voxel_size=args.voxel_size, dark=dark, axes=args.axes)
        of_a_set(volumes, checkpoints, args)
        return
    protonet3d = args.protonet3d and Checkpoint.load(args.protonet3d)
    held_out = relatives()
    for checkpoint in [*checkpoints, *filter(None, [protonet3d])]:
        if missing := set(held_out) - set(checkpoint.card["held_out"]):
            raise SystemExit(f"a checkpoint was trained on relatives: {', '.join(sorted(missing))}")
    structures = None if args.learned else templates(held_out)
    print(f"unseen: {', '.join(UNSEEN)}; {len(checkpoints)} training seeds")
    for family, ids in held_out.items():
        print(f"held out: {family} ({', '.join(ids)})")
    print(f"{args.tasks} tasks of {QUERIES} queries a class, seed {args.seed}")
    if structures:
        print(f"matched filter: {len(structures)} structures")
    for setup in args.setup:
        found = table(setup, args, checkpoints, protonet3d, structures)
        if args.learned:
            continue
        about = {
            "snr": SNRS,
            "unseen": UNSEEN,
            "held_out": held_out,
            "seed": args.seed,
            "per_class": args.per_class,
            "tasks": args.tasks,
            "templates": [structure.id for structure in structures],
            "checkpoints": [checkpoint.digest for checkpoint in checkpoints],
            "paper": PAPER,
        }
        file = RESULTS / f"fewshot-{setup}.json"
        file.write_text(json.dumps({**about, **found, "ceiling": ceiling(setup)}, indent=1))


if __name__ == "__main__":
    main()
