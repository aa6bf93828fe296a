"""Groups found without a label in whole tomograms, beside what the particles are.

Sample tomograms of seeds that nothing was chosen on: picked as in the window, grouped, and each
group compared with the truth. The real tomogram: which of the groups of the best 1,500 candidates
holds the ribosomes of the expert list, a clean subset of them all. *Compared* groups are found in
what known structures say, too: of the samples without those of its particles and their relatives,
of the real one with all.

    python benchmarks/disca_tomograms.py sample
    python benchmarks/disca_tomograms.py real FOLDER --picture docs/images/clusters.png

FOLDER holds ``empiar11658_tomo171_31.36A.mrc.gz`` and ``empiar11658_tomo171_80S_coords.csv``.
"""

import argparse
import json
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from sample import foreign_structures, matched
from scipy.spatial import cKDTree

from napari_cryoshift.core.averaging import AveragingParams, average_particles
from napari_cryoshift.core.grouping import MOST, NUMBERS, WAYS, find_groups
from napari_cryoshift.core.methods.disca_params import DiscaParams
from napari_cryoshift.core.metrics import evaluate_clusters
from napari_cryoshift.core.pick import PickParams, pick
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.sample import sample_tomogram
from napari_cryoshift.core.simulate.tomogram import CrowdedParams
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import compare, crop_for, shipped_checkpoint
from napari_cryoshift.widgets.queue import first_threshold

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
SEEDS = (101, 102, 103)
SAMPLE_DIAMETER, REACH = 200.0, 100.0  # Å
REAL_DIAMETER, WITHIN = 280.0, 140.0  # Å, as in ribosomes.py
CANDIDATES = 1500
AS_PUBLISHED = DiscaParams(network="embedding", iterations=1, clusters=NUMBERS)
"""The first round with full covariances, one pose and the lowest criterion."""


def rows(args):
    """Name → parameters, and whether known structures are asked: each way and number of groups."""
    found = {}
    for way in args.ways:
        params = WAYS.get("quick" if way == "compared" else way, AS_PUBLISHED)
        for groups in args.groups:
            if groups == 0:
                found[f"{way}, number found"] = params, way == "compared"
            else:
                changed = params.model_copy(update={"clusters": (groups,)})
                found[f"{way}, {groups} groups"] = changed, way == "compared"
    return found


def purity(truth, labels):
    """Share of particles that are what most of their group is."""
    counts = [
        np.unique(truth[labels == group], return_counts=True)[1].max() for group in set(labels)
    ]
    return sum(counts) / len(truth)


def sample(args):
    """Purity, adjusted Rand index and mutual information on sample tomograms."""
    record = {}
    for seed in args.seed:
        tomogram, true = finish(sample_tomogram(CrowdedParams(seed=seed)))
        picks = finish(pick(tomogram, PickParams(diameter=SAMPLE_DIAMETER)))
        picks = picks.take(picks.score >= first_threshold(picks.score))
        away, nearest = cKDTree(true.positions).query(picks.positions)
        truth = np.where(away * tomogram.voxel_size < REACH, true.label[nearest].astype(str), OTHER)
        print(f"seed {seed}: {len(picks)} candidates of {len(set(truth))} kinds", flush=True)
        volumes = crop_for(tomogram, picks, shipped_checkpoint())
        scores = matched(volumes, foreign_structures(CrowdedParams()), CrowdedParams())
        for name, (params, compared) in rows(args).items():
            began = time.perf_counter()
            known = scores if compared else None
            labels = finish(find_groups(tomogram, picks, params, known)).labels
            seconds = time.perf_counter() - began
            report = evaluate_clusters(np.unique(truth, return_inverse=True)[1], labels)
            figures = {
                "groups": len(set(labels)),
                "purity": purity(truth, labels),
                "accuracy": report.accuracy,
                "ari": report.ari,
                "nmi": report.nmi,
                "seconds": seconds,
            }
            said = "  ".join(f"{key} {value:.3g}" for key, value in figures.items())
            print(f"  {name:28}{said}", flush=True)
            record.setdefault(name, {})[seed] = figures
    return record


def real(args):
    """Which group holds the ribosomes, how large it is, and what it looks like."""
    tomogram = open_tomogram(args.folder / "empiar11658_tomo171_31.36A.mrc.gz", dark=True)
    table = pd.read_csv(args.folder / "empiar11658_tomo171_80S_coords.csv")
    experts = table[["z_voxel", "y_voxel", "x_voxel"]].to_numpy()
    picks = finish(pick(tomogram, PickParams(diameter=REAL_DIAMETER)))
    picks = picks.take(np.arange(CANDIDATES))
    away, nearest = cKDTree(picks.positions).query(experts)
    # Each expert position counts once, at the candidate nearest to it.
    listed = nearest[away * tomogram.voxel_size <= WITHIN]
    print(f"{len(listed)} of {len(experts)} expert positions have one of {CANDIDATES} candidates")
    record = {}
    scores = finish(compare(tomogram, picks))
    for name, (params, compared) in rows(args).items():
        began = time.perf_counter()
        labels = finish(find_groups(tomogram, picks, params, scores if compared else None)).labels
        seconds = time.perf_counter() - began
        sizes = np.bincount(labels)
        held = np.bincount(labels[listed], minlength=len(sizes))
        order = np.argsort(-held / sizes)
        print(f"{name} ({seconds:.0f} s): {len(sizes)} groups; of each, size and listed ribosomes")
        for group in order:
            mean = picks.score[labels == group].mean()
            share = held[group] / len(experts)
            print(
                f"    {sizes[group]:6} {held[group]:6}  {share:.3f} of the list, score {mean:.2f}"
            )
        record[name] = {"sizes": sizes[order].tolist(), "listed": held[order].tolist()}
        if args.picture and name.startswith(args.pictured):
            record[name]["resolutions"] = picture(
                args.picture, tomogram, picks, labels, order, held
            )
    return record


def picture(path, tomogram, picks, labels, order, held):
    """Averages of the groups richest in ribosomes, and their FSC."""
    params = AveragingParams(diameter=REAL_DIAMETER + 60, rotation_step=20.0, rounds=2)
    shown = order[:4]
    figure, axes = plt.subplots(3, len(shown), figsize=(2.2 * len(shown), 6.6), squeeze=False)
    resolutions = []
    for column, group in zip(axes.T, shown, strict=True):
        members = picks.take(np.flatnonzero(labels == group)[:MOST])
        mean = finish(average_particles(tomogram, members, params))
        for axis, side in zip(column, range(3), strict=True):
            cut = mean.mean.take(len(mean.mean) // 2, axis=side)
            axis.imshow(cut, cmap="gray_r", interpolation="bicubic")
            axis.set(xticks=[], yticks=[])
        size = int((labels == group).sum())
        column[0].set_title(
            f"{size} members, {held[group]} listed\n{mean.resolution:.0f} Å", fontsize=9
        )
        resolutions.append(mean.resolution)
        print(f"    average of {len(members)}: {mean.resolution:.0f} Å at an FSC of 0.143")
    for axis, plane in zip(axes[:, 0], ("xy", "xz", "yz"), strict=True):
        axis.set_ylabel(plane)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    return resolutions


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("sample", "real"))
    parser.add_argument("folder", type=Path, nargs="?", help="of the real tomogram")
    parser.add_argument("--seed", type=int, nargs="*", default=SEEDS, help="of the samples")
    ways = (*WAYS, "compared", "as published")
    parser.add_argument("--ways", nargs="*", choices=ways, default=ways[:1] + ways[-2:])
    parser.add_argument("--groups", type=int, nargs="*", default=(0,), help="0: found by BIC")
    parser.add_argument("--picture", type=Path, help="file for the averages of groups")
    parser.add_argument("--pictured", default="quick", help="how their row's name begins")
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = sample(args) if args.what == "sample" else real(args)
    file = args.results or RESULTS / f"disca-{args.what}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
