"""What a ranking by these features could reach if it were told of every expert ribosome.

On the tomogram and the candidates of `ribosomes.py`. All expert positions are given, but for a
fifth which is ranked, in turn (five folds, mean of three divisions): by a logistic regression on
what the program knows of a candidate, and by a network that goes on from the shipped embedding and
learns this one tomogram. No few clicks can do better by the same means. The strength of the
regression is chosen anew in each fold, by the likelihood of labels held out of it.

    python benchmarks/ribosomes_told.py FOLDER
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ribosomes import CANDIDATES, DEPTHS, DIAMETER, WITHIN, share_found, template_matching
from scipy.spatial import cKDTree
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from torch import nn

from napari_cryoshift.core.augment import every_half_turn, half_turns
from napari_cryoshift.core.comparing import compare
from napari_cryoshift.core.features import fits
from napari_cryoshift.core.matching import MatchParams
from napari_cryoshift.core.pick import PickParams, pick
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import embed, shipped_checkpoint

RESULTS = Path(__file__).parent / "results" / "ribosomes_told.json"
FOLDS = 5
BATCH = 64
RATE = 3e-4


def regression(features, truth, seed):
    """Say of each candidate how likely it is a ribosome, learnt of the other folds: (n,)."""
    said = np.empty(len(truth))
    for rest, fold in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(
        features, truth
    ):
        model = LogisticRegressionCV(
            Cs=np.logspace(-4, 1, 6),
            l1_ratios=(0,),
            class_weight="balanced",
            scoring="neg_log_loss",
            max_iter=2000,
            use_legacy_attributes=False,
        )
        said[fold] = model.fit(features[rest], truth[rest]).decision_function(features[fold])
    return said


def network(checkpoint, volumes, truth, seed, steps):
    """The same of the shipped network, all of whose weights go on learning."""
    said = np.empty(len(truth))
    for rest, fold in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(volumes, truth):
        torch.manual_seed(seed)
        encoder = checkpoint.build().encoder
        head = nn.Linear(encoder.width, 1)
        learning = [*encoder.parameters(), *head.parameters()]
        optimiser = torch.optim.AdamW(learning, RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        generator = np.random.default_rng(seed)
        known = [rest[truth[rest] == each] for each in (False, True)]
        target = torch.arange(BATCH) % 2
        for _ in range(steps):
            rows = np.stack([generator.choice(each, BATCH // 2) for each in known], 1).ravel()
            encoder.train()
            logits = head(encoder(half_turns(volumes[rows], generator)))[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target.float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        encoder.eval()
        with torch.no_grad():
            turned = every_half_turn(volumes[fold])
            said[fold] = torch.stack([head(encoder(each))[:, 0] for each in turned]).mean(0)
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--divisions", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="of the network, 0: without it")
    args = parser.parse_args()
    tomogram = open_tomogram(args.folder / "empiar11658_tomo171_31.36A.mrc.gz", dark=True)
    table = pd.read_csv(args.folder / "empiar11658_tomo171_80S_coords.csv")
    experts = table[["z_voxel", "y_voxel", "x_voxel"]].to_numpy()
    candidates = finish(pick(tomogram, PickParams(diameter=DIAMETER, max_count=CANDIDATES)))
    positions = candidates.positions
    away = cKDTree(experts).query(positions)[0] * tomogram.voxel_size
    truth = away <= WITHIN
    print(f"{truth.sum()} of {len(truth)} candidates lie at one of {len(experts)} experts")

    checkpoint = shipped_checkpoint()
    volumes = torch.as_tensor(crop(tomogram, candidates, box=24, voxel_size=16.0)[:])
    looks = finish(embed(tomogram, candidates, checkpoint))
    known = fits(finish(compare(tomogram, candidates, MatchParams(envelope=80.0)))).values
    grey = PCA(60, whiten=True, random_state=0).fit_transform(volumes.flatten(1))
    score = candidates.score[:, None]
    template = template_matching(volumes, 16.0)[:, None]
    told = {
        "grey values": [grey],
        "embedding": [looks],
        "matched filter": [known],
        "picking score, template matching": [score, template],
        "embedding, picking score": [looks, score],
        "embedding, picking score, template matching": [looks, score, template],
        "all": [looks, grey, known, score, template],
    }

    def shares(said):
        order = np.argsort(-said, kind="stable")
        return share_found(experts, positions[order], tomogram.voxel_size)

    def joined(blocks):
        return np.hstack([(each - each.mean(0)) / each.std(0) for each in blocks])

    found = {"picking score": [shares(score[:, 0])], "template matching": [shares(template[:, 0])]}
    for name, blocks in told.items():
        each = [regression(joined(blocks), truth, seed) for seed in range(args.divisions)]
        found[f"told: {name}"] = [shares(said) for said in each]
    if args.steps:
        said = [
            network(checkpoint, volumes, truth, seed, args.steps) for seed in range(args.divisions)
        ]
        found["told: network"] = [shares(each) for each in said]
        both = [
            regression(joined([each[:, None], score, template]), truth, seed)
            for seed, each in enumerate(said)
        ]
        found["told: network, picking score, template matching"] = [shares(each) for each in both]
    print(f"{'':52}" + "".join(f"{f'best {depth}':>10}" for depth in DEPTHS))
    for name, values in found.items():
        print(f"{name:52}" + "".join(f"{value:>10.3f}" for value in np.mean(values, 0)))
    record = {"depths": DEPTHS, "divisions": args.divisions, "steps": args.steps, "share": found}
    RESULTS.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
