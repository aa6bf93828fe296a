"""Cryo-Shift on the shift set: eight classes, other optics, noise and neighbours; no labels.

Beside what others reach there without shots: a classifier of the source alone .448, AdaBN .580,
the reference's CORAL stage .684, AdaBN and augmentation by half turns .727.

    python benchmarks/cryoshift_shift_set.py FOLDER

FOLDER holds ``S.npz``, ``T.npz`` and ``set.json``. Labels of the target are read for the table
only.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
import torch
from cryoshift import MAIN, Trial, changed, run_all, show, write_results

from napari_cryoshift.core.methods.cryoshift_params import CryoShiftParams
from napari_cryoshift.core.types import Subtomograms

BOX = 24
PARAMS = CryoShiftParams(
    step_zero={"network": "fsda", "epochs": 10, "learning_rate": 2e-3},
    discriminator={"pretraining": 60},
    iterations=30,
    epochs=4,
    batch=8,
)
AUGMENTATION = {
    "as it is": {"augment": False, "randomise": False},
    "half turns": {"augment": True, "randomise": False},
    "half turns, imaging varied": {},
}


def read_shift_set(folder, device):
    """Source, target and the target again: the central 24³ of their 28³ voxels."""
    card = json.loads((folder / "set.json").read_text())
    sets = []
    for name in ("S", "T"):
        stored = np.load(folder / f"{name}.npz")
        rim = (stored["volumes"].shape[1] - BOX) // 2
        middle = slice(rim, rim + BOX)
        zyx = stored["volumes"][:, middle, middle, middle].transpose(0, 3, 2, 1)
        volumes = torch.from_numpy(np.ascontiguousarray(zyx, dtype=np.float32)).to(device)
        labels = stored["labels"].astype(np.int64)
        sets.append(
            Subtomograms.from_memory(volumes, card["voxel_A"], labels, tuple(card["classes"]))
        )
    return sets[0], sets[1], sets[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("cryoshift-benchmark"))
    parser.add_argument("--rows", nargs="+", choices=MAIN, default=MAIN)
    parser.add_argument("--augmentation", nargs="+", choices=AUGMENTATION, default=AUGMENTATION)
    args = parser.parse_args()
    args.work.mkdir(exist_ok=True)
    read = functools.partial(read_shift_set, args.folder)
    trials = [
        Trial(
            group=f"shift set, {name}",
            seed=seed,
            params=changed(PARAMS, AUGMENTATION[name]),
            read=read,
            rows=tuple(args.rows),
            work=args.work,
        )
        for name in args.augmentation
        for seed in args.seeds
    ]
    groups = run_all(trials, args.processes)
    classes = json.loads((args.folder / "set.json").read_text())["classes"]
    show(groups, classes)
    write_results(
        "cryoshift-shift-set",
        seeds=args.seeds,
        classes=classes,
        box=BOX,
        augmentation=AUGMENTATION,
        params=PARAMS.model_dump(mode="json"),
        results=groups,
    )


if __name__ == "__main__":
    main()
