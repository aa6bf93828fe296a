"""Cryo-Shift on a real tomogram, without a label: how many expert ribosomes come out on top.

The source is simulated: the human ribosome, and as "other" membranes, beads and random clusters of
domains. The target is the best candidates of the picker. As in `ribosomes.py`, the share of the
listed ribosomes among the best N is the measure, for the list is a clean subset.

    python benchmarks/cryoshift_ribosomes.py FOLDER
"""

import argparse
import functools
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cryoshift import MAIN, Trial, run_all, write_results
from ribosomes import CANDIDATES, DEPTHS, share_found

from napari_cryoshift.core.methods.cryoshift_data import KNOWN_SOURCE, simulate_known
from napari_cryoshift.core.methods.cryoshift_params import CryoShiftParams
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.pick import PickParams, pick
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.types import OTHER, Subtomograms
from napari_cryoshift.core.volumes import crop

RIBOSOME = "4v6x"
PARAMS = CryoShiftParams(
    step_zero={"epochs": 15},
    discriminator={"pretraining": 60},
    iterations=30,
    epochs=4,
    batch=8,
)


def tomogram_of(folder):
    """The tomogram, opened."""
    return open_tomogram(folder / "empiar11658_tomo171_31.36A.mrc.gz", dark=True)


def candidates_of(tomogram):
    """The best picks."""
    picks = finish(pick(tomogram, PickParams(diameter=280.0)))
    return picks.take(np.arange(CANDIDATES))


def read(folder, seed, per_class, device):
    """Simulated source; candidates, to adapt to and to rank."""
    tomogram = tomogram_of(folder)
    imaging = KNOWN_SOURCE.imaging
    params = KNOWN_SOURCE.model_copy(
        update={
            "structures": (RIBOSOME,),
            "per_class": per_class,
            "seed": seed,
            # A tomogram of such voxels holds nothing finer than two of them.
            "imaging": imaging.model_copy(
                update={"resolution": (2 * tomogram.voxel_size, 2.5 * tomogram.voxel_size)}
            ),
        }
    )
    made = simulate_known(params, device)
    volumes = torch.cat([made[start : start + 64] for start in range(0, len(made), 64)])
    source = Subtomograms.from_memory(volumes, made.voxel_size, made.labels, made.classes)
    cut = crop(tomogram, candidates_of(tomogram), box=imaging.box, voxel_size=imaging.voxel_size)
    target = Subtomograms.from_memory(cut[:].to(device), imaging.voxel_size)
    return source, target, target


def found(folder, method, volumes):
    """Share of the experts among the best N by the probability of a ribosome."""
    parts = [method.embed(volumes[start : start + 64]) for start in range(0, len(volumes), 64)]
    with torch.no_grad():
        logits = method.network.classifier(torch.cat(parts)).double().cpu()
    # The logarithm of the odds has the order of the probability, and no ties where that is 1.
    odds = logits[:, 0] - logits[:, 1:].logsumexp(1)
    tomogram = tomogram_of(folder)
    table = pd.read_csv(folder / "empiar11658_tomo171_80S_coords.csv")
    experts = table[["z_voxel", "y_voxel", "x_voxel"]].to_numpy()
    ranked = candidates_of(tomogram).positions[np.argsort(-odds.numpy(), kind="stable")]
    share = share_found(experts, ranked, tomogram.voxel_size)
    said = np.bincount(logits.argmax(1).numpy(), minlength=logits.shape[1])
    return {"average": share[0], "share": share, "predicted": said.tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--per-class", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("cryoshift-benchmark"))
    parser.add_argument("--rows", nargs="+", choices=MAIN, default=MAIN)
    args = parser.parse_args()
    args.work.mkdir(exist_ok=True)
    trials = [
        Trial(
            group="tomo171",
            seed=seed,
            params=PARAMS,
            read=functools.partial(read, args.folder, seed, args.per_class),
            rows=tuple(args.rows),
            work=args.work,
            judge=functools.partial(found, args.folder),
        )
        for seed in args.seeds
    ]
    groups = run_all(trials, args.processes)
    print(f"{'':34}" + "".join(f"{'best ' + str(n):>16}" for n in DEPTHS))
    for row, lines in groups["tomo171"].items():
        shares = np.array([line["share"] for line in lines])
        cells = [
            f"{s.mean():8.3f}" + (f" ± {mean_interval(s)[1]:.3f}" if len(s) > 1 else "")
            for s in shares.T
        ]
        print(f"{row:34}" + "".join(f"{cell:>16}" for cell in cells))
    write_results(
        "cryoshift-ribosomes",
        seeds=args.seeds,
        per_class=args.per_class,
        classes=[RIBOSOME, OTHER],
        depths=DEPTHS,
        params=PARAMS.model_dump(mode="json"),
        results=groups["tomo171"],
    )


if __name__ == "__main__":
    main()
