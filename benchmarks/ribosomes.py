"""Few clicks on a real tomogram: how many of the other expert ribosomes come out on top.

The expert list is a clean subset of the ribosomes, so what is ranked high and not listed is often
a ribosome too: precision says little, and the share of the listed ones among the best N is the
measure. Nothing is tuned on these positions but the few-shot rule's own support set.

    python benchmarks/ribosomes.py FOLDER

FOLDER holds ``empiar11658_tomo171_31.36A.mrc.gz`` and ``empiar11658_tomo171_80S_coords.csv``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.spatial import cKDTree
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.pick import PickParams, pick
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.imaging import low_pass, missing_wedge, radius
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.core.volumes import crop, random_rotations, sample_rotated
from napari_cryoshift.core.workflows import classify, embed, shipped_checkpoint

DEPTHS = (250, 500, 700)
WITHIN = 140.0  # Å
CANDIDATES = 1500
OTHERS_FROM_RANK = 1000


def share_found(truth, ranked, voxel_size):
    """Share of the true positions within reach of the best N ranked ones, for each depth."""
    return [
        float(
            np.isfinite(
                cKDTree(ranked[:n]).query(truth, distance_upper_bound=WITHIN / voxel_size)[0]
            ).mean()
        )
        for n in DEPTHS
    ]


def template_matching(volumes, voxel_size, rotations=600, seed=0):
    """Largest normalised correlation with the human 80S over rotations and ±2 voxels.

    Parameters
    ----------
    volumes
        (n, d, d, d) standardised, protein positive.
    voxel_size
        Å.
    rotations, seed
        How many random orientations, and which.
    """
    structure = library()["4v6x"]
    box = volumes.shape[-1]
    turned = sample_rotated(
        torch.from_numpy(structure.density),
        random_rotations(rotations, np.random.default_rng(seed)),
        box=box,
        step=voxel_size / structure.voxel_size,
    )
    k = radius((box,) * 3, voxel_size)
    seen = missing_wedge((box,) * 3, 30.0) * low_pass(k, 63.0, 0.002)
    axis = torch.arange(box) - box // 2
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt() * voxel_size
    mask = torch.sigmoid((structure.diameter / 2 + 20 - distance) / 10)
    templates = torch.fft.irfftn(torch.fft.rfftn(turned, dim=(1, 2, 3)) * seen, s=(box,) * 3)
    mean = (templates * mask).sum((1, 2, 3), keepdim=True) / mask.sum()
    templates = (templates - mean) * mask
    templates /= templates.square().sum((1, 2, 3), keepdim=True).sqrt()
    spectra = torch.fft.rfftn(volumes, dim=(1, 2, 3))
    best = torch.full((len(volumes),), -torch.inf)
    near = torch.tensor([-2, -1, 0, 1, 2])
    for spectrum in torch.fft.rfftn(templates, dim=(1, 2, 3)).conj():
        correlation = torch.fft.irfftn(spectra * spectrum, s=(box,) * 3)
        close = correlation[:, near][:, :, near][:, :, :, near]
        best = torch.maximum(best, close.amax((1, 2, 3)))
    return best.numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="instead of the shipped embedding")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--no-template", action="store_true", help="skip template matching")
    args = parser.parse_args()
    torch.set_num_threads(2)

    tomogram = open_tomogram(args.folder / "empiar11658_tomo171_31.36A.mrc.gz", dark=True)
    table = pd.read_csv(args.folder / "empiar11658_tomo171_80S_coords.csv")
    experts = table[["z_voxel", "y_voxel", "x_voxel"]].to_numpy()
    picks = finish(pick(tomogram, PickParams(diameter=280.0)))
    candidates = picks.take(np.arange(CANDIDATES))
    near = cKDTree(picks.positions[:1000]).query(experts)[0] * tomogram.voxel_size <= WITHIN
    print(f"picking: {near.mean():.3f} of {len(experts)} experts among the best 1000")
    distance, nearest = cKDTree(candidates.positions).query(experts)
    middle, tenth = np.percentile(distance * tomogram.voxel_size, [50, 90])
    print(f"from an expert position to the nearest pick: median {middle:.0f} Å, 90 % {tenth:.0f} Å")

    checkpoint = Checkpoint.load(args.checkpoint) if args.checkpoint else shipped_checkpoint()
    # A clicked expert position takes the picking score of the candidate nearest to it.
    both = Particles.at(
        np.concatenate([candidates.positions, experts]),
        score=np.append(candidates.score, np.full(len(experts), np.nan)),
    )
    learnt = finish(embed(tomogram, both, checkpoint))
    volumes = crop(tomogram, both, box=24, voxel_size=16.0)[:]
    flat = volumes.flatten(1).numpy()
    components = PCA(32, random_state=0).fit(flat[:CANDIDATES]).transform(flat)
    features = {"learnt embedding": learnt, "PCA, 32 components": components.astype(np.float32)}

    scores = {"DoG score": candidates.score}
    if not args.no_template:
        scores["template matching, 80S"] = template_matching(volumes[:CANDIDATES], 16.0)
    # What the looks could give if every expert position were known.
    listed = np.zeros(CANDIDATES, dtype=bool)
    listed[nearest[distance * tomogram.voxel_size <= WITHIN]] = True
    standard = (learnt - learnt.mean(0)) / np.sqrt(learnt.var(0).sum())
    scores["looks alone, all labels"] = cross_val_predict(
        LogisticRegression(C=10, max_iter=2000),
        standard[:CANDIDATES],
        listed,
        cv=5,
        method="decision_function",
    )
    rows = {name: [] for name in (*scores, *features, "looks alone")}
    for draw in range(args.draws):
        generator = np.random.default_rng(draw)
        clicked = generator.choice(len(experts), args.clicks, replace=False)
        others = generator.choice(
            np.arange(OTHERS_FROM_RANK, CANDIDATES), args.clicks, replace=False
        )
        labels = np.full(len(both), "", dtype=object)
        labels[CANDIDATES + clicked] = "ribosome"
        labels[others] = OTHER
        rest = np.delete(experts, clicked, axis=0)
        ranking = dict(scores)
        for name, vectors in features.items():
            known = classify(vectors, both.replace(label=labels))
            ranking[name] = known.probabilities[:CANDIDATES, 0]
        unscored = both.replace(label=labels, score=np.full(len(both), np.nan))
        known = classify(learnt, unscored)
        ranking["looks alone"] = known.probabilities[:CANDIDATES, 0]
        for name, score in ranking.items():
            order = np.argsort(-score, kind="stable")
            rows[name].append(share_found(rest, candidates.positions[order], tomogram.voxel_size))

    print(f"{args.clicks} clicks of each kind, {args.draws} draws, mean ± sd over draws")
    print(f"{'':28}" + "".join(f"{'best ' + str(n):>16}" for n in DEPTHS))
    for name, values in rows.items():
        cells = zip(np.mean(values, 0), np.std(values, 0), strict=True)
        print(f"{name:28}" + "".join(f"{m:9.3f} ± {s:.3f}" for m, s in cells))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "ribosomes.json").write_text(
        json.dumps({"clicks": args.clicks, "depths": DEPTHS, "share": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
