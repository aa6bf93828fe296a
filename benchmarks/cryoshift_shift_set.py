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
from napari_cryoshift.core.volumes import resampled

BOX = 24
PARAMS = CryoShiftParams(step_zero={"epochs": 15}, iterations=30, epochs=10)


def read_shift_set(folder, device):
    """Source, target and the target again, at 24³ voxels of 16 Å: the same box, which is enough."""
    card = json.loads((folder / "set.json").read_text())
    sets = []
    for name in ("S", "T"):
        stored = np.load(folder / f"{name}.npz")
        zyx = np.ascontiguousarray(stored["volumes"].transpose(0, 3, 2, 1), dtype=np.float32)
        volumes = Subtomograms.from_memory(
            torch.from_numpy(zyx),
            card["voxel_A"],
            stored["labels"].astype(np.int64),
            tuple(card["classes"]),
        )
        coarse = resampled(volumes, box=BOX, voxel_size=card["voxel_A"] * volumes.box / BOX)
        read = torch.cat([coarse[i : i + 64] for i in range(0, len(coarse), 64)]).to(device)
        sets.append(
            Subtomograms.from_memory(read, coarse.voxel_size, coarse.labels, coarse.classes)
        )
    return sets[0], sets[1], sets[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("cryoshift-benchmark"))
    args = parser.parse_args()
    args.work.mkdir(exist_ok=True)
    read = functools.partial(read_shift_set, args.folder)
    trials = [
        Trial(
            group=f"shift set, {'half turns' if augment else 'as it is'}",
            seed=seed,
            params=changed(PARAMS, {"augment": augment}),
            read=read,
            rows=MAIN,
            work=args.work,
        )
        for augment in (True, False)
        for seed in args.seeds
    ]
    groups = run_all(trials, args.processes)
    classes = json.loads((args.folder / "set.json").read_text())["classes"]
    show(groups, classes)
    write_results(
        "cryoshift-shift-set",
        seeds=args.seeds,
        classes=classes,
        params=PARAMS.model_dump(mode="json"),
        results=groups,
    )


if __name__ == "__main__":
    main()
