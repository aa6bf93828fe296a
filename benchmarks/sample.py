"""The demo on simulated tomograms that nothing was chosen on: other seeds than the sample's.

Each holds 40 particles of each of eight classes, membranes and beads. Five candidates of each class
and ten where nothing is are labelled from the truth, and the others classified: by the program, by
each thing that it may look at alone, and by template matching with the eight structures themselves,
which needs no labels but has to be told how many particles there are.

    python benchmarks/sample.py
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.demo import run_demo
from napari_cryoshift.core.features import fits
from napari_cryoshift.core.matching import MatchParams, matched_filter, standard_scores
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.sample import cache_folder
from napari_cryoshift.core.simulate.tomogram import CrowdedParams
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import classify, crop_for, embed, shipped_checkpoint

SEEDS = (101, 102, 103, 104, 105)
CLICKS = 4  # choices of the labelled candidates, a tomogram
WIDEST = 384.0
"""Å, of the box in which candidates are compared with structures."""


def foreign_structures(params):
    """Structures of the library that are no relatives of the sample's."""
    known = library()
    families = {known.entries[key].family for key in params.classes}
    return [
        known[key]
        for key, entry in known.entries.items()
        if entry.family not in families and entry.diameter <= WIDEST
    ]


def matched(volumes, structures, params):
    """Scores of the matched filter with the optics of the sample."""
    series = params.tilt_series
    optics = MatchParams(
        defocus=params.defocus,
        amplitude_contrast=series.amplitude_contrast,
        envelope=series.envelope,
    )
    return finish(matched_filter(volumes, structures, optics))


def by_template(result, scores, names):
    """Each candidate is the structure that it fits best, among the best as many as are true."""
    standard = standard_scores(scores)
    said = np.array(names, dtype=object)[standard.argmax(1)]
    said[np.argsort(-standard.max(1))[len(result.truth) :]] = OTHER
    return result.particles.replace(predicted=said)


def answers(result, vectors, scores, templates, names):
    """Row of the table → candidates with what is said of them."""
    particles = result.particles
    unscored = particles.replace(score=np.full(len(particles), np.nan))
    nothing, fit = np.zeros((len(particles), 1), np.float32), fits(scores)
    said = {
        "the program": particles,
        "picking score alone": classify(nothing, particles),
        "learned embedding alone": classify(vectors, unscored),
        "matched filter alone": classify(nothing, unscored, more=[fit]),
        "all three": classify(vectors, particles, more=[fit]),
        "template matching, no labels": by_template(result, templates, names),
    }
    # Candidates are judged best score first, whatever was made of the score.
    return {row: each.replace(score=particles.score) for row, each in said.items()}


def figures(result):
    """F1 of each class and the other figures of one set of answers."""
    nothing = (result.matching < 0) & (result.particles.label == "")
    classes = result.classes
    return {
        **classes.f1,
        "mean F1": classes.macro_f1,
        "accuracy": classes.accuracy,
        "no particle recognised": np.mean(result.particles.predicted[nothing] == OTHER),
    }


def of_a_tomogram(checkpoint, seed):
    """Row → figure → mean over the choices of labels; and the recall of picking."""
    params = CrowdedParams(seed=seed)
    known = [library()[key] for key in params.classes]
    names = [structure.name.split(" (")[0] for structure in known]
    found, scores = {}, None
    for clicks in range(CLICKS):
        result = finish(run_demo(checkpoint, seed=clicks, sample=params))
        if scores is None:  # The candidates are the same, whoever clicks.
            volumes = crop_for(result.tomogram, result.particles, checkpoint)
            scores = matched(volumes, foreign_structures(params), params)
            templates = matched(volumes, known, params)
            vectors = finish(
                embed(result.tomogram, result.particles, checkpoint, cache_folder() / "embeddings")
            )
        for row, said in answers(result, vectors, scores, templates, names).items():
            judged = dataclasses.replace(result, particles=said)
            found.setdefault(row, []).append(figures(judged))
    return result.picking.recall, {
        row: {name: float(np.mean([one[name] for one in of_row])) for name in of_row[0]}
        for row, of_row in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="instead of the shipped embedding")
    parser.add_argument("--seed", type=int, nargs="*", default=SEEDS, help="of the tomograms")
    args = parser.parse_args()
    checkpoint = Checkpoint.load(args.checkpoint) if args.checkpoint else shipped_checkpoint()
    recalls, tomograms = zip(*(of_a_tomogram(checkpoint, seed) for seed in args.seed), strict=True)
    print(f"tomograms of seeds {args.seed}, {CLICKS} choices of labels each; 95 % interval")
    interval = mean_interval(recalls)
    print("picking recall {:.3f} ± {:.3f}".format(*interval))
    rows = list(tomograms[0])
    print(f"\n{'':28}" + "".join(f"{row:>30}" for row in rows))
    table = {row: {} for row in rows}
    for name in tomograms[0][rows[0]]:
        for row in rows:
            table[row][name] = mean_interval([of_one[row][name] for of_one in tomograms])
        cells = (f"{'{:.3f} ± {:.3f}'.format(*table[row][name]):>30}" for row in rows)
        print(f"{name:28}" + "".join(cells))
    if args.checkpoint or tuple(args.seed) != SEEDS:
        return
    file = Path(__file__).parent / "results" / "sample.json"
    found = {"seeds": SEEDS, "clicks": CLICKS, "picking recall": interval, "figures": table}
    file.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
