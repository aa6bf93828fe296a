"""Unseen classes: how well a few labelled subtomograms tell them apart.

The five classes and all their relatives are held out of the training of the shipped embedding
(its card lists the families). Volumes are those of the papers' protocol: 32³ voxels of 12 Å,
tilts ±60°, defocus −5 µm, ±2.4 nm de-centring; SNR in the papers' nominal convention, with the
measured power ratio beside it.

    python benchmarks/fewshot.py
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.losses import squared_distances
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.sets import read_set
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.training import episodes
from napari_cryoshift.core.volumes import resampled, standardise
from napari_cryoshift.core.workflows import shipped_checkpoint

UNSEEN = ("3jb9", "1wcm", "4v6x", "3j9i", "4v8r")
SNRS = (100.0, 0.1, 0.05, 0.03, 0.01)
QUERIES = 15
PAPER = {
    (2, 5): (0.963, 0.867, 0.798, 0.776, 0.570),
    (2, 1): (0.892, 0.745, 0.657, 0.677, 0.525),
}


def accuracies(vectors, labels, ways, shots, tasks, seed):
    """Accuracy of the nearest prototype in each of many tasks."""
    found = []
    drawn = episodes(
        labels, ways=ways, shots=shots, queries=QUERIES, generator=np.random.default_rng(seed)
    )
    for _, task in zip(range(tasks), drawn, strict=False):
        support, query = vectors[task[:, :shots]].mean(1), vectors[task[:, shots:]]
        nearest = squared_distances(query.flatten(0, 1), support).argmin(1)
        found.append(
            float((nearest == torch.arange(ways).repeat_interleave(QUERIES)).float().mean())
        )
    return np.array(found)


def fourier_crop(volumes, box):
    """Keep the lowest frequencies: fewer, larger voxels over the same extent.

    Parameters
    ----------
    volumes
        (b, d, d, d).
    box
        New side, even and at most d.

    Returns
    -------
    Tensor
        (b, box, box, box), standardised.
    """
    d, half = volumes.shape[-1], box // 2
    spectrum = torch.fft.rfftn(volumes, dim=(1, 2, 3))
    kept = torch.cat([torch.arange(half), torch.arange(d - half, d)])
    low = spectrum[:, kept][:, :, kept][..., : half + 1]
    return standardise(torch.fft.irfftn(low, s=(box,) * 3))


def of_a_set(volumes, embeddings, args):
    """Accuracies on a labelled set from disk: 2-way and all-way, 1 and 5 shots."""
    print(f"{len(volumes)} volumes of {', '.join(volumes.classes)}")
    every = len(volumes.classes)
    for name, checkpoint in embeddings.items():
        fitting = resampled(volumes, box=checkpoint.box, voxel_size=checkpoint.voxel_size)
        method = checkpoint.build()
        parts = (fitting[start : start + 64] for start in range(0, len(fitting), 64))
        vectors = torch.cat([method.embed(part) for part in parts])
        for ways, shots in ((2, 5), (2, 1), (every, 5), (every, 1)):
            values = accuracies(vectors, volumes.labels, ways, shots, args.tasks, args.seed)
            mean, interval = mean_interval(values)
            print(f"{f'{name}, {ways}-way {shots}-shot':34}{mean:>8.3f} ± {interval:.3f}")


def power_ratio(noisy, structures, params, seed):
    """Variance of the signal over that of the noise, from the same volumes without noise."""
    rows = np.arange(0, len(noisy), 10)
    quiet = params.model_copy(update={"snr": (1e9, 1e9)})
    per_class = len(noisy) // len(structures)
    clean = simulate_subtomograms(structures, quiet, per_class=per_class, seed=seed)[rows]
    explained = (clean * noisy[rows]).mean((1, 2, 3)) ** 2
    return float((explained / (1 - explained)).median())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-class", type=int, default=150)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--hard", action="store_true", help="defocus −6 to −2 µm, drawn anew")
    parser.add_argument("--checkpoint", type=Path, nargs="*", default=[])
    parser.add_argument("--set", type=Path, help="test on a labelled set from disk instead")
    parser.add_argument("--voxel-size", type=float, help="Å, of that set")
    parser.add_argument("--particles", choices=("dark", "light"), help="in that set")
    parser.add_argument("--axes", choices=("zyx", "xyz"), help="of that set")
    args = parser.parse_args()
    torch.set_num_threads(2)
    embeddings = {"shipped": shipped_checkpoint()}
    embeddings |= {path.stem: Checkpoint.load(path) for path in args.checkpoint}
    if args.set:
        dark = None if args.particles is None else args.particles == "dark"
        volumes = read_set(args.set, voxel_size=args.voxel_size, dark=dark, axes=args.axes)
        of_a_set(volumes, embeddings, args)
        return
    structures = [library()[key] for key in UNSEEN]
    families = {s.family for s in structures}
    for name, checkpoint in embeddings.items():
        missing = families - set(checkpoint.card["held_out"])
        if missing:
            raise SystemExit(f"{name} was trained on relatives of {', '.join(sorted(missing))}")

    results, ratios = {}, []
    for column, snr in enumerate(SNRS):
        params = ImagingParams(
            snr=(snr, snr),
            defocus=(-6.0, -2.0) if args.hard else (-5.0, -5.0),
            shift=24.0,
            amplitude_contrast=0.0,
        )
        sets = simulate_subtomograms(
            structures, params, per_class=args.per_class, seed=args.seed + column
        )
        volumes = torch.cat([sets[start : start + 64] for start in range(0, len(sets), 64)])
        ratios.append(power_ratio(volumes, structures, params, args.seed + column))
        for name, checkpoint in embeddings.items():
            method = checkpoint.build()
            taken = volumes if checkpoint.box == 32 else fourier_crop(volumes, checkpoint.box)
            vectors = torch.cat([method.embed(part) for part in taken.split(64)])
            for ways, shots in ((2, 5), (2, 1), (5, 5), (5, 1)):
                values = accuracies(vectors, sets.labels, ways, shots, args.tasks, args.seed)
                key = f"{name}, {ways}-way {shots}-shot"
                results.setdefault(key, []).append(mean_interval(values))
    print(f"unseen: {', '.join(UNSEEN)}; {args.per_class} volumes a class, {args.tasks} tasks")
    print(f"{'nominal SNR':34}" + "".join(f"{snr:>15g}" for snr in SNRS))
    print(f"{'measured power ratio':34}" + "".join(f"{ratio:>15.4f}" for ratio in ratios))
    for (ways, shots), values in PAPER.items():
        print(f"{f'paper, {ways}-way {shots}-shot':34}" + "".join(f"{v:>15.3f}" for v in values))
    for key, values in results.items():
        print(f"{key:34}" + "".join(f"{m:>8.3f} ± {i:.3f}" for m, i in values))
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    file = folder / ("fewshot-hard.json" if args.hard else "fewshot.json")
    file.write_text(
        json.dumps(
            {
                "snr": SNRS,
                "power_ratio": ratios,
                "unseen": UNSEEN,
                "seed": args.seed,
                "accuracy": results,
                "paper": {str(k): v for k, v in PAPER.items()},
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
