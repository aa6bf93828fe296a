"""Voxels of chosen particles in whole tomograms, beside the true ones.

A simulated tomogram of four kinds of particle, membranes and gold beads; the best candidates of
picking, of which those of one kind are chosen, one in ten of them wrongly and as many left out.
How many voxels are marked rightly, and in how many particles of the kind and of others.

    python benchmarks/segmentation.py
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_cryoshift.core.pick import PickParams, pick
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.segmentation import segment
from napari_cryoshift.core.simulate.tomogram import CrowdedParams, simulate_tomogram
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import OTHER

RESULTS = Path(__file__).parent / "results"
KINDS = ("4v6x", "3j9i", "1mnf", "1wcm")
VOXEL_SIZE, DIAMETER, CANDIDATES = 16.0, 200.0, 250
REACH, WRONG = 80.0, 0.1
"""Å from the centre, within which a candidate is of a kind; share of those that are chosen."""


def tomogram_of(seed):
    """Simulate a tomogram that shows its particles clearly."""
    return finish(
        simulate_tomogram(
            CrowdedParams(
                shape=(56, 220, 220),
                voxel_size=VOXEL_SIZE,
                classes=KINDS,
                particles_per_class=48,
                membranes=2,
                beads=6,
                seed=seed,
            )
        )
    )


def chosen_of(made, picks, name, seed):
    """1 for what a person chose as of a kind, (n,): nearly all of them, and some others."""
    away, nearest = cKDTree(made.particles.positions).query(picks.positions)
    kinds = np.where(away * VOXEL_SIZE < REACH, made.particles.label[nearest].astype(str), OTHER)
    right = kinds == name
    generator = np.random.default_rng(seed)
    wrong = round(WRONG * right.sum())
    chosen = right.astype(np.int64)
    chosen[generator.choice(np.flatnonzero(right), wrong, replace=False)] = 0
    chosen[generator.choice(np.flatnonzero(~right), wrong, replace=False)] = 1
    return chosen


def judged(made, marked, name):
    """Figures of the marked voxels."""
    labels = made.particles.label.astype(str)
    own = labels == name
    truth = np.concatenate([[False], own])[made.occupancy]
    centres = marked[tuple(np.rint(made.particles.positions).astype(int).T)]
    share = ndimage.mean(marked, made.occupancy, np.arange(1, len(labels) + 1))
    right = (marked & truth).sum()
    return {
        "dice": 2 * right / (marked.sum() + truth.sum()),
        "precision": right / max(marked.sum(), 1),
        "recall": right / truth.sum(),
        "marked / true": marked.sum() / truth.sum(),
        "centre marked, own": centres[own].mean(),
        "centre marked, others": centres[~own].mean(),
        "half marked, own": (share[own] > 0.5).mean(),
        "half marked, others": (share[~own] > 0.5).mean(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, nargs="*", default=(204, 205))
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=("4v6x", "3j9i"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = {}
    for seed in args.seed:
        made = tomogram_of(seed)
        picks = finish(pick(made.tomogram, PickParams(diameter=DIAMETER, max_count=CANDIDATES)))
        for kind in args.kind:
            name = library()[kind].name
            classes = chosen_of(made, picks, name, seed)
            began = time.process_time()
            marked = finish(segment(made.tomogram, picks, classes)) > 0
            figures = judged(made, marked, name)
            figures |= {"chosen": int(classes.sum()), "seconds": time.process_time() - began}
            print(f"seed {seed}, {name}")
            print("  ".join(f"{key} {value:.3g}" for key, value in figures.items()), flush=True)
            record[f"{seed} {kind}"] = {key: float(value) for key, value in figures.items()}
    (RESULTS / "segmentation.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
