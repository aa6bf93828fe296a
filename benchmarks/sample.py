"""The demo on simulated tomograms that nothing was chosen on: other seeds than the sample's.

python benchmarks/sample.py
"""

import argparse
import json
from pathlib import Path

import numpy as np

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.demo import run_demo
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.tomogram import CrowdedParams
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import shipped_checkpoint

SEEDS = (101, 102, 103, 104, 105)
CLICKS = 4  # choices of the labelled candidates, a tomogram


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="instead of the shipped embedding")
    path = parser.parse_args().checkpoint
    checkpoint = shipped_checkpoint() if path is None else Checkpoint.load(path)
    rows = []
    for seed in SEEDS:
        for clicks in range(CLICKS):
            result = finish(run_demo(checkpoint, seed=clicks, sample=CrowdedParams(seed=seed)))
            nothing = (result.matching < 0) & (result.particles.label == "")
            rows.append(
                (
                    result.picking.recall,
                    result.classes.accuracy,
                    np.mean(result.particles.predicted[nothing] == OTHER),
                )
            )
    values = np.reshape(rows, (len(SEEDS), CLICKS, 3)).mean(1)
    print(f"{len(SEEDS)} tomograms (seeds {SEEDS}), {CLICKS} choices of labels each; 95 % interval")
    names = ("picking recall", "classification accuracy", "no particle recognised")
    figures = {}
    for name, column in zip(names, values.T, strict=True):
        mean, half = mean_interval(column)
        figures[name] = {"mean": mean, "interval": half, "tomograms": column.tolist()}
        print(f"{name:26}{mean:.3f} ± {half:.3f}")
    if path is not None:
        return
    file = Path(__file__).parent / "results" / "sample.json"
    file.write_text(json.dumps({"seeds": SEEDS, **figures}, indent=1))


if __name__ == "__main__":
    main()
