"""What holds few-shot accuracy down: the labels, the library, the optics, or the noise itself.

On the volumes of `fewshot.py`, 2-way, the nearest class mean

- of more labels: where many would help, the mean of a few noisy volumes is what is missing;
- with the five classes themselves in the library of the matched filter: where it helps, the
  library is what is missing;

beside the ceiling of `ceiling.py`, which is told the densities and all optics of each volume and
needs no labels.

    python benchmarks/limits.py
"""

import argparse
import json

from fewshot import RESULTS, embedded, matched, templates
from setups import QUERIES, SETUPS, SNRS, accuracies, draw_tasks, relatives, simulate, unseen
from torch import from_numpy

from napari_cryoshift.core.features import Block, joined
from napari_cryoshift.core.matching import standard_scores
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.workflows import shipped_checkpoint

SHOTS = (1, 5, 20, 100)


def features(volumes, setup, strangers):
    """Name of a row → (n, e): with a library of strangers, and with one that holds the classes."""
    own = embedded(shipped_checkpoint(), volumes.noisy)
    known = volumes.truth["defocus"].to_numpy()

    def fits(structures):
        scores = matched(volumes, structures, SETUPS[setup].shift, known)
        return Block.of(standard_scores(scores))

    foreign, itself = fits(strangers), fits(unseen())
    rows = {
        "learned": [own],
        "matched filter": [foreign],
        "both": [own, foreign],
        "matched filter of the five classes": [itself],
        "learned and the five classes": [own, itself],
    }
    return {name: from_numpy(joined(blocks)) for name, blocks in rows.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", nargs="*", choices=SETUPS, default=("centred", "hard"))
    parser.add_argument("--snr", type=float, nargs="*", choices=SNRS, default=(0.1, 0.05, 0.03))
    parser.add_argument("--per-class", type=int, default=150)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    strangers = templates(relatives())
    record = {name: getattr(args, name) for name in ("snr", "per_class", "tasks", "seed")}
    record |= {"shots": SHOTS, "queries": QUERIES, "accuracy": {}}
    for setup in args.setup:
        found = {}
        for snr in args.snr:
            volumes = simulate(setup, SNRS.index(snr), per_class=args.per_class, seed=args.seed)
            labels = volumes.noisy.labels
            for row, vectors in features(volumes, setup, strangers).items():
                for shots in SHOTS:
                    tasks, _ = draw_tasks(
                        labels, ways=2, shots=shots, count=args.tasks, seed=args.seed
                    )
                    figure = mean_interval(accuracies(vectors, tasks, shots))
                    found.setdefault(f"{row}, {shots}", []).append(figure)
        print(f"\n{setup}: {SETUPS[setup].title}; 2-way, labels a class")
        print(f"{'nominal SNR':44}" + "".join(f"{snr:>15g}" for snr in args.snr))
        for name, values in found.items():
            print(f"{name:44}" + "".join(f"{m:>8.3f} ± {i:.3f}" for m, i in values), flush=True)
        record["accuracy"][setup] = found
    (RESULTS / "limits.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
