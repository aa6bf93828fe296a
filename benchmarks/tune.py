"""Before and after tuning: unseen classes in tomograms of a set-up, and ribosomes in a real one.

    python benchmarks/tune.py                    # simulated tomograms, minutes of tuning for each
    python benchmarks/tune.py --real FOLDER      # and the tomogram of ribosomes.py

The simulated tomograms hold the five unseen classes of `fewshot.py` among membranes, gold beads and
small proteins, are taken as a tilt series, and have the noise of the set-up. The embedding is tuned
to each as `cryoshift tune` does, without a label and without the place of a single particle; the
families of the unseen classes stay held out. Accuracy is that of the nearest class mean, of
particles cut out around their true places, displaced by up to the set-up's de-centring.

What was chosen for tuning was chosen on other set-ups and other classes, and not on the real
tomogram, of which 20 draws of labels are judged as in `ribosomes.py`.
"""

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from ribosomes import CANDIDATES, DEPTHS, OTHERS_FROM_RANK, share_found
from setups import accuracies, draw_tasks, in_memory, relatives, unseen

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.fine_tuning import TuneParams, look_at, tune
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.pick import PickParams, pick
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.acquisition import TiltSeriesParams, acquire
from napari_cryoshift.core.simulate.specimen import SpecimenParams, build_specimen
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.types import OTHER, Particles, Tomogram
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import classify, embed, shipped_checkpoint

RESULTS = Path(__file__).parent / "results" / "tune.json"
SHAPE = (128, 320, 320)
COPIES = 70
KINDS = {"2-way 5-shot": (2, 5), "5-way 5-shot": (5, 5)}
CLICKS = 10


class Setup(NamedTuple):
    """How a tomogram is taken."""

    title: str
    voxel_size: float
    defocus: float
    tilts: tuple[float, float]
    noise_slope: float
    resolution: float
    crowding: float
    shift: float
    """De-centring, Å along each axis."""
    snrs: tuple[float, ...]
    """Variance of the signal where particles are over that of the noise."""


SETUPS = {
    "coarse": Setup(
        "−2.5 µm, ±50°, pink noise, 60 Å, ±40 Å", 15.0, -2.5, (-50, 50), -1.0, 60, 0.05, 40, (8, 2)
    ),
    "fine": Setup(
        "−6 µm, −60° to 54°, flat noise, 36 Å, ±24 Å", 12.0, -6, (-60, 54), 0, 36, 0.1, 24, (2, 0.5)
    ),
}


def specimen(setup, seed):
    """Signal and noise (z, y, x) of a tomogram, of the same variance, and the true particles."""
    structures = unseen()
    params = SpecimenParams(
        shape=SHAPE,
        voxel_size=setup.voxel_size,
        classes=tuple(structure.id for structure in structures),
        particles_per_class=COPIES,
        crowding=setup.crowding,
        membranes=3,
        beads=2,
        seed=seed,
    )
    made = finish(build_specimen(structures, params, np.random.default_rng(seed)))
    lowest, highest = setup.tilts
    signal, noise = finish(
        acquire(
            made.density,
            made.ice.upper - made.ice.lower,
            TiltSeriesParams(lowest=lowest, highest=highest),
            voxel_size=setup.voxel_size,
            defocus=setup.defocus,
            resolution=setup.resolution,
            generator=torch.Generator().manual_seed(seed),
        )
    )
    k = imaging.radius(SHAPE, setup.voxel_size).clamp(min=1 / 384)
    noise = torch.fft.irfftn(torch.fft.rfftn(noise) * k**setup.noise_slope, s=SHAPE)
    occupied = torch.from_numpy(made.placed.occupancy > 0)
    noise *= torch.sqrt(signal[occupied].var() / noise.var())
    labels = np.repeat(np.arange(len(structures)), made.counts)
    return signal.numpy(), noise.numpy(), made.placed.centres, labels


def particles(tomogram, centres, labels, setup, checkpoint, seed):
    """Cut particles out, off their centres; those that reach beyond the tomogram are left out."""
    reach = setup.shift / setup.voxel_size
    away = np.random.default_rng(seed).uniform(-reach, reach, centres.shape)
    places = Particles.at((centres + away).clip(0, np.array(tomogram.shape) - 1))
    volumes = crop(tomogram, places, box=checkpoint.box, voxel_size=checkpoint.voxel_size)
    whole = ~volumes.edge
    return in_memory(dataclasses.replace(volumes, labels=labels).take(whole))


def tuned(tomogram, diameter, base, args, **params):
    """Pick, look at the tomogram and tune, and tell what was seen and how long it took."""
    params = TuneParams(diameter=diameter, seed=args.seed, **params)
    start, busy = time.perf_counter(), time.process_time()
    picks = finish(pick(tomogram, PickParams(diameter=diameter)))
    found = finish(look_at(tomogram, picks, base, params))
    checkpoint = finish(tune(tomogram, found, base, params))
    took = {
        "minutes": (time.perf_counter() - start) / 60,
        "of processor time": (time.process_time() - busy) / 60,
    }
    return checkpoint, dict(found.table()), took


def of_unseen(checkpoint, volumes, tasks):
    """Accuracy in each task, a kind: (t,)."""
    method = checkpoint.build()
    vectors = torch.cat([method.embed(volumes[i : i + 64]) for i in range(0, len(volumes), 64)])
    return {kind: accuracies(vectors, drawn, KINDS[kind][1]) for kind, drawn in tasks.items()}


def simulated(name, base, args, given):
    """Rows of a set-up: what was seen, and accuracies before and after and what was gained."""
    setup = SETUPS[name]
    signal, noise, centres, labels = specimen(setup, args.seed)
    rows = []
    for snr in setup.snrs:
        data = -(signal + noise / np.sqrt(snr))
        tomogram = Tomogram(data.astype(np.float32), setup.voxel_size, name)
        checkpoint, seen, took = tuned(tomogram, 230.0, base, args, shift=setup.shift, **given)
        volumes = particles(tomogram, centres, labels, setup, base, args.seed)
        tasks = {
            kind: draw_tasks(volumes.labels, ways=w, shots=s, count=args.tasks, seed=args.seed)[0]
            for kind, (w, s) in KINDS.items()
        }
        before, after = (of_unseen(each, volumes, tasks) for each in (base, checkpoint))
        figures = {
            kind: {
                "before": mean_interval(before[kind]),
                "after": mean_interval(after[kind]),
                "gain": mean_interval(after[kind] - before[kind]),
            }
            for kind in KINDS
        }
        print(f"\n{name} ({setup.title}), SNR {snr:g}: {len(volumes)} particles")
        print("; ".join(f"{key} {value}" for key, value in seen.items()))
        print("; ".join(f"{key} {value:.1f}" for key, value in took.items()))
        for kind, row in figures.items():
            print(f"{kind:16}" + "".join(f"{k:>9} {m:.3f} ± {i:.3f}" for k, (m, i) in row.items()))
        rows.append({"snr": snr, "seen": seen, "took": took, "accuracy": figures})
    return rows


def real(folder, base, args, given):
    """Share of the other expert ribosomes among the best, before and after: (draws, depths)."""
    tomogram = open_tomogram(folder / "empiar11658_tomo171_31.36A.mrc.gz", dark=True)
    table = pd.read_csv(folder / "empiar11658_tomo171_80S_coords.csv")
    experts = table[["z_voxel", "y_voxel", "x_voxel"]].to_numpy()
    checkpoint, seen, took = tuned(tomogram, 280.0, base, args, **given)
    candidates = finish(pick(tomogram, PickParams(diameter=280.0, max_count=CANDIDATES)))
    both = Particles.at(
        np.concatenate([candidates.positions, experts]),
        score=np.append(candidates.score, np.full(len(experts), np.nan)),
    )
    shares = {}
    for when, each in (("before", base), ("after", checkpoint)):
        vectors = finish(embed(tomogram, both, each))
        shares[when] = [
            share_of_draw(vectors, both, experts, tomogram.voxel_size, draw)
            for draw in range(args.draws)
        ]
    print(f"\n{tomogram.name}: {CLICKS} labels of each kind, {args.draws} draws, mean ± sd")
    print("; ".join(f"{key} {value}" for key, value in seen.items()))
    print("; ".join(f"{key} {value:.1f}" for key, value in took.items()))
    print(f"{'':16}" + "".join(f"{f'best {depth}':>16}" for depth in DEPTHS))
    gained = np.subtract(shares["after"], shares["before"])
    for when, values in {**shares, "gain": gained}.items():
        cells = zip(np.mean(values, 0), np.std(values, 0), strict=True)
        print(f"{when:16}" + "".join(f"{m:>8.3f} ± {s:.3f}" for m, s in cells))
    return {"seen": seen, "took": took, "depths": DEPTHS, "share": shares}


def share_of_draw(vectors, both, experts, voxel_size, draw):
    """Share found of one draw of labels, which is that of `ribosomes.py`."""
    generator = np.random.default_rng(draw)
    clicked = generator.choice(len(experts), CLICKS, replace=False)
    others = generator.choice(np.arange(OTHERS_FROM_RANK, CANDIDATES), CLICKS, replace=False)
    labels = np.full(len(both), "", dtype=object)
    labels[CANDIDATES + clicked] = "ribosome"
    labels[others] = OTHER
    score = classify(vectors, both.replace(label=labels)).probabilities[:CANDIDATES, 0]
    ranked = both.positions[:CANDIDATES][np.argsort(-score, kind="stable")]
    return share_found(np.delete(experts, clicked, axis=0), ranked, voxel_size)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", nargs="*", choices=SETUPS, default=list(SETUPS))
    parser.add_argument("--real", type=Path, help="folder of the real tomogram and its ribosomes")
    parser.add_argument("--checkpoint", type=Path, help="instead of the shipped embedding")
    parser.add_argument("--training-tasks", type=int, help="instead of those of cryoshift tune")
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    base = Checkpoint.load(args.checkpoint) if args.checkpoint else shipped_checkpoint()
    if missing := set(relatives()) - set(base.card["held_out"]):
        raise SystemExit(f"the embedding was trained on relatives: {', '.join(sorted(missing))}")
    given = {} if args.training_tasks is None else {"tasks": args.training_tasks}
    load = os.getloadavg()[0]
    threads = torch.get_num_threads()
    print(f"embedding {base.digest}, seed {args.seed}, {threads} threads, load {load:.1f}")
    record = {
        "embedding": base.digest,
        "seed": args.seed,
        "threads": threads,
        "load": load,
        **given,
    }
    record["setups"] = {name: simulated(name, base, args, given) for name in args.setup}
    if args.real:
        record["real"] = real(args.real, base, args, given)
    RESULTS.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
