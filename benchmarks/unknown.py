"""A class that nobody labelled: whether it stays without a name, and how right the names are.

The demo's tomograms, of which one class after the other is never labelled: what is picked of it
should get no name. Five candidates of each other class, and ten where nothing is, are labelled from
the truth, and all candidates classified. Compared are the nearest class, however far it is ("closed
set"); the rule of the program, by which what is far from every class is other ("other"); and the
same where a name has to be as sure as a threshold, too. What labels foretell, each left out in
turn, stands beside what is found. Last comes the same with every class labelled.

    python benchmarks/unknown.py

What is done is kept in the work folder, a file a tomogram.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np

from napari_cryoshift.core.calibration import kept, reliability
from napari_cryoshift.core.demo import run_demo
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.open_set import auroc, nearest_known, oscr
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.tomogram import CrowdedParams
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import FewShotParams, classify, left_out, shipped_checkpoint

SEEDS = (101, 102, 103, 104, 105)
THRESHOLDS = (0.4, 0.5, 0.6, 0.7)
ANY = FewShotParams(reach=100.0)
"""A class reaches everywhere."""


def figures(said, held_out, actual, hidden, threshold=0.0):
    """What becomes of the candidates without a label, and what the labels foretold of it."""
    free = said.label == ""
    is_named, sure = said.predicted != OTHER, said.confidence >= threshold
    names, right = free & is_named & sure, said.predicted == actual
    of_known = free & (actual != hidden) & (actual != OTHER)
    judged = held_out.take(held_out.predicted != OTHER)
    foretold = kept(judged.confidence, judged.predicted == judged.label, threshold)
    found = {
        "nothing, unnamed": 1 - names[free & (actual == OTHER)].mean(),
        "known, named rightly": (names & right)[of_known].mean(),
        "precision of names": share(right, names),
        "precision foretold": foretold.precision,
        "share kept": names.sum() / (free & is_named).sum(),
        "share foretold": foretold.share,
    }
    if hidden is not None:
        found |= {
            "hidden, unnamed": 1 - names[free & (actual == hidden)].mean(),
            "precision among particles": share(right, names & (actual != OTHER)),
        }
    return found


def share(right, of):
    """Share that is right; NaN of nothing."""
    return right[of].mean() if of.any() else np.nan


def ranked(said, actual, hidden):
    """What depends on no threshold."""
    sure, best = nearest_known(said.probabilities, said.classes)
    free = said.label == ""
    judged = free & (actual != OTHER)
    is_known = judged & (actual != hidden)
    truth = np.where(is_known, actual, OTHER)
    return {
        "AUROC": auroc(sure[judged], is_known[judged]),
        "OSCR": oscr(sure[judged], (best == actual)[judged], is_known[judged]),
        "calibration error": reliability(
            said.confidence[free], (said.predicted == truth)[free]
        ).error,
    }


def of_a_tomogram(checkpoint, seed, args):
    """Row → figures of each choice of labels and hidden class, which are kept."""
    file = args.work / f"{checkpoint.digest} {seed} {args.clicks}.json"
    if file.exists():
        return json.loads(file.read_text())
    found = {}
    for click in range(args.clicks):
        result = finish(run_demo(checkpoint, seed=click, sample=CrowdedParams(seed=seed)))
        for hidden in (None, *sorted(set(result.truth.label))):
            label = result.particles.label.copy()
            label[label == hidden] = ""
            table = result.particles.replace(label=label)
            rule = functools.partial(classify, result.vectors)
            said, held_out = rule(table), finish(left_out(table, rule))
            judge = functools.partial(
                figures, held_out=held_out, actual=result.actual, hidden=hidden
            )
            if hidden is None:
                for threshold in THRESHOLDS:
                    row = f"all labelled, unknown below {threshold}"
                    found.setdefault(row, []).append(judge(said, threshold=threshold))
                continue
            found.setdefault("closed set", []).append(judge(rule(table, ANY)))
            found.setdefault("other", []).append(judge(said))
            for threshold in THRESHOLDS:
                row = f"other, unknown below {threshold}"
                found.setdefault(row, []).append(judge(said, threshold=threshold))
            found.setdefault("any threshold", []).append(ranked(said, result.actual, hidden))
    file.write_text(json.dumps(found))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, nargs="*", default=SEEDS, help="of the tomograms")
    parser.add_argument("--clicks", type=int, default=2, help="choices of labels a tomogram")
    parser.add_argument("--work", type=Path, default=Path("unknown-benchmark"))
    args = parser.parse_args()
    args.work.mkdir(exist_ok=True)
    checkpoint = shipped_checkpoint()
    tomograms = [of_a_tomogram(checkpoint, seed, args) for seed in args.seed]
    table = {}
    for row in tomograms[0]:
        print(f"\n{row}")
        for name in tomograms[0][row][0]:
            means = [float(np.nanmean([one[name] for one in of[row]])) for of in tomograms]
            interval = mean_interval(means) if len(means) > 1 else (means[0], float("nan"))
            table.setdefault(row, {})[name] = interval
            print(f"  {name:28}" + "{:.3f} ± {:.3f}".format(*interval))
    if tuple(args.seed) == SEEDS:
        file = Path(__file__).parent / "results" / "unknown.json"
        found = {"seeds": SEEDS, "clicks": args.clicks, "figures": table}
        file.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
