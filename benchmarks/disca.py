"""Kinds of particles found without a label: the protocol of the papers' Tables I and II.

Five classes, of which no relative was in the training of the shipped embedding, at five ratios of
signal to noise; volumes of 32³ voxels of 12 Å, tilts ±60°. Few-shot rows: the nearest class mean,
by the shipped embedding and with the attention of ProtoNet-CE, on the same tasks. Clustering rows:
the share of volumes in the group of their class by the best matching, adjusted Rand index and
mutual information. Every volume is standardised, or, "as simulated", all are scaled by one number:
then their variance tells the class.

    python benchmarks/ceiling.py
    python benchmarks/disca.py --size small
    python benchmarks/disca.py --few-shot
    python benchmarks/disca.py --round
    python benchmarks/disca.py --quality

--few-shot makes its rows alone. --size small has 150 volumes a class, cropped to 24³ voxels of
16 Å, and small networks; --size paper 1,000 of 32³ and the papers' networks and steps, for a
graphics card. --round times one round on 5,000 volumes of 24³ beside the published loop, whose
network passes are timed on a share of the volumes. --quality runs both for some rounds on the same
few volumes.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from disca_reference import Reference
from setups import SETUPS, SNRS, accuracies, draw_tasks, in_memory, relatives, simulate, unseen

from napari_cryoshift.core.clustering import kmeans
from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.grouping import WAYS, group_features, seen, with_fits
from napari_cryoshift.core.matching import matched_filter
from napari_cryoshift.core.methods.autoencoder import Autoencoder, AutoencoderParams
from napari_cryoshift.core.methods.disca import Disca
from napari_cryoshift.core.methods.disca_params import PAPER, DiscaParams
from napari_cryoshift.core.methods.protonet_ce import (
    ProtoNetCE,
    ProtoNetCEParams,
    combined_distances,
)
from napari_cryoshift.core.metrics import evaluate_clusters, mean_interval
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.source import SourceParams, simulate_source
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.types import Subtomograms, TrainingData
from napari_cryoshift.core.volumes import standardise
from napari_cryoshift.core.workflows import KNOWN_OPTICS, known_structures, shipped_checkpoint

RESULTS = Path(__file__).parent / "results"
TASKS = {"2-way 5-shot": (2, 5), "2-way 1-shot": (2, 1), "5-way 5-shot": (5, 5)}
PAPER_ROWS = {
    "paper (its own classes), 2-way 5-shot": (0.963, 0.867, 0.798, 0.776, 0.570),
    "paper (its own classes), 2-way 1-shot": (0.892, 0.745, 0.657, 0.677, 0.525),
    "paper, autoencoder": (0.215, 0.214, 0.212, 0.203, 0.20),
    "paper, DISCA": (0.912, 0.814, 0.806, 0.781, 0.560),
}
CLASSES = 5


# --- the volumes ---


def volumes_of(column, args, *, box, as_simulated=False):
    """Simulate a column of the table, cropped in Fourier space to a box of the same extent."""
    made = simulate(args.setup, column, per_class=args.per_class, seed=args.seed)
    whole = made.noisy
    if as_simulated:
        raw = made.params.model_copy(update={"standardise": False})
        drawn = {"per_class": args.per_class, "seed": args.seed + column}
        whole = in_memory(simulate_subtomograms(unseen(), raw, **drawn))
    cropped = torch.cat([fourier_crop(part, box) for part in whole[:].split(64)])
    alike = (cropped - cropped.mean()) / cropped.std()
    cropped = alike if as_simulated else standardise(cropped)
    size = whole.voxel_size * whole.box / box
    return Subtomograms.from_memory(cropped, size, whole.labels, whole.classes)


def fourier_crop(volumes, box):
    """Keep the lowest frequencies (b, d, d, d) → (b, box, box, box): larger voxels, same extent."""
    d, half = volumes.shape[-1], box // 2
    if box == d:
        return volumes
    spectrum = torch.fft.rfftn(volumes, dim=(1, 2, 3))
    kept = torch.cat([torch.arange(half), torch.arange(d - half, d)])
    low = spectrum[:, kept][:, :, kept][..., : half + 1]
    return torch.fft.irfftn(low, s=(box,) * 3)


# --- the rows ---


def few_shot(args):
    """Rows of the shipped embedding and of ProtoNet-CE, trained here, on the same tasks."""
    checkpoint = shipped_checkpoint()
    missing = set(relatives()) - set(checkpoint.card["held_out"])
    if missing:
        raise SystemExit(f"the embedding was trained on relatives of {', '.join(sorted(missing))}")
    source = simulate_source(SourceParams(hold_out=tuple(relatives())))
    adapted = ProtoNetCE(
        ProtoNetCEParams(
            network=checkpoint.params.network,
            width=checkpoint.params.width,
            stored=args.stored,
            tasks=args.learnt,
            seed=args.seed,
        ),
        checkpoint.box,
    )
    finish(adapted.fit(TrainingData(source=source, start=checkpoint.encoder)))
    rows = {}
    for column in range(len(SNRS)):
        volumes = volumes_of(column, args, box=checkpoint.box)
        vectors = spread_of_one(torch.cat([adapted.embed(p) for p in volumes[:].split(64)]))
        for name, (ways, shots) in TASKS.items():
            tasks, _ = draw_tasks(
                volumes.labels, ways=ways, shots=shots, count=args.tasks, seed=args.seed
            )
            plain = accuracies(vectors, tasks, shots)
            both = adapted_accuracies(adapted.attention, vectors, tasks, shots)
            for row, values in (("shipped", plain), ("ProtoNet-CE", both)):
                rows.setdefault(f"{row}, {name}", []).append(mean_interval(values))
            gain = mean_interval(both - plain)
            rows.setdefault(f"ProtoNet-CE − shipped, {name}", []).append(gain)
    return rows


def adapted_accuracies(attention, vectors, tasks, shots):
    """Accuracy (t,) of the nearest prototype by the combined distance in each task."""
    found = []
    for task in tasks:
        ways, rest = len(task), vectors[task[:, shots:]].flatten(0, 1)
        with torch.no_grad():
            distances, _ = combined_distances(attention, rest, vectors[task[:, :shots]].mean(1))
        truth = torch.arange(ways).repeat_interleave(task.shape[1] - shots)
        found.append((distances.argmin(1) == truth).double().mean().item())
    return np.array(found)


def spread_of_one(vectors):
    """Centre vectors (n, e) and scale them all by one number to a mean square length of 1."""
    centred = vectors - vectors.mean(0)
    return centred / centred.square().sum(1).mean().sqrt()


def by_embedding(volumes, args, **_):
    """k-means on the shipped embedding."""
    method = shipped_checkpoint().build()
    vectors = torch.cat([method.embed(part) for part in volumes[:].split(64)])
    return kmeans(vectors.numpy(), CLASSES, seed=args.seed).labels


def features_of(volumes, *, compared):
    """What the program sees, with or without what structures say that are no relatives."""
    features = finish(seen(volumes, WAYS["quick"]))
    if not compared:
        return features
    related = {key for members in relatives().values() for key in members}
    foreign = [each for each in known_structures() if each.id not in related]
    return with_fits(features, finish(matched_filter(volumes, foreign, KNOWN_OPTICS)))


def by_sight(volumes, args, *, compared, clusters=None):
    """The quick way of the program."""
    params = WAYS["quick"].model_copy(update={"seed": args.seed})
    if clusters:
        params = params.model_copy(update={"clusters": clusters})
    return finish(group_features(features_of(volumes, compared=compared), params)).labels


def by_labels(volumes, args, *, compared):
    """The nearest class mean where the labels of all other volumes are told: no clustering."""
    features, own = features_of(volumes, compared=compared).astype(float), volumes.labels
    sums = np.stack([features[own == k].sum(0) for k in range(CLASSES)])
    sizes = np.bincount(own).astype(float)
    distances = np.empty((len(features), CLASSES))
    for k in range(CLASSES):
        # Without the volume itself, where it is of the class.
        inside = (own == k)[:, None]
        mean = (sums[k] - inside * features) / (sizes[k] - inside)
        distances[:, k] = np.square(features - mean).sum(1)
    return distances.argmin(1)


def by_variance(volumes, args, **_):
    """k-means on nothing but the standard deviation of each volume."""
    spread = volumes[:].std((1, 2, 3)).log()[:, None]
    return kmeans(spread.numpy(), CLASSES, seed=args.seed).labels


def by_autoencoder(volumes, args, **changes):
    """The papers' autoencoder, or a smaller one."""
    return grouped(
        Autoencoder(AutoencoderParams(clusters=CLASSES, seed=args.seed, **changes), volumes.box),
        volumes,
    )


def by_disca(volumes, args, *, base, **changes):
    """DISCA, from nothing or from the shipped embedding."""
    params = base.model_copy(update={"seed": args.seed, **changes})
    return grouped(Disca(params, volumes.box), volumes)


def grouped(method, volumes):
    """Fit a method and return the group of each volume."""
    method.to(best_device())
    finish(method.fit(TrainingData(target=volumes, start=shipped_checkpoint().encoder)))
    parts = [method.predict(part).argmax(1).cpu() for part in volumes[:].split(64)]
    return torch.cat(parts).numpy()


def rows_of(size):
    """Name → how it groups, side of the box, whether volumes are as simulated."""
    if size == "paper":
        box, disca, smaller = 32, PAPER, {}
    else:
        box, disca, smaller = 24, DiscaParams(iterations=6), {"filters": 8, "passes": 6}
    known = {"clusters": (CLASSES,)}
    rows = {
        "embedding, k-means": (by_embedding, {}, 24),
        "quick, 5 groups": (by_sight, {"compared": False} | known, 24),
        "quick, groups by BIC": (by_sight, {"compared": False}, 24),
        "quick, compared, 5 groups": (by_sight, {"compared": True} | known, 24),
        "quick, compared, groups by BIC": (by_sight, {"compared": True}, 24),
        "told the labels of all others": (by_labels, {"compared": False}, 24),
        "told them, compared": (by_labels, {"compared": True}, 24),
        "autoencoder": (by_autoencoder, smaller, box),
        "DISCA, 5 groups": (by_disca, {"base": disca} | known, box),
        "DISCA, groups by BIC": (by_disca, {"base": disca}, box),
        "DISCA from the embedding, 5 groups": (
            by_disca,
            {"base": WAYS["disca"]} | known,
            24,
        ),
    }
    found = {name: (*row, False) for name, row in rows.items()}
    for name in ("autoencoder", "DISCA, 5 groups"):
        found[f"{name}, as simulated"] = (*rows[name], True)
    found["variance alone, as simulated"] = (by_variance, {}, box, True)
    return found


def one_cell(name, column, args):
    """Group the volumes of a column by one row's rule."""
    torch.set_num_threads(args.threads)
    rule, options, box, as_simulated = rows_of(args.size)[name]
    volumes = volumes_of(column, args, box=box, as_simulated=as_simulated)
    began = time.perf_counter()
    groups = rule(volumes, args, **options)
    report = evaluate_clusters(volumes.labels, groups)
    return {
        "accuracy": report.accuracy,
        "ari": report.ari,
        "nmi": report.nmi,
        "groups": report.clusters,
        "seconds": time.perf_counter() - began,
    }


def table(args):
    """Measure all rows, two processes at a time on a CPU, and print them."""
    began = time.perf_counter()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.processes, spawn) as pool:
        shots = pool.submit(few_shot, args)
        cells = {
            name: [pool.submit(one_cell, name, column, args) for column in range(len(SNRS))]
            for name in rows_of(args.size)
        }
        found = {name: [cell.result() for cell in row] for name, row in cells.items()}
        tasks = shots.result()
    minutes = (time.perf_counter() - began) / 60
    print_shots(tasks, args)
    print(f"{'':46}" + f"{'accuracy ARI NMI (k)':>22}" * len(SNRS))
    for name, row in found.items():
        shown = (f"{c['accuracy']:.3f} {c['ari']:.2f} {c['nmi']:.2f} ({c['groups']})" for c in row)
        print(f"{name:46}" + "".join(f"{cell:>22}" for cell in shown))
    print(f"{minutes:.0f} minutes")
    about = {k: getattr(args, k) for k in ("size", "setup", "per_class", "seed", "tasks")}
    write(f"disca-{args.size}", {**about, "snr": SNRS, "few-shot": tasks, "groups": found})


def print_shots(tasks, args):
    """Print the few-shot rows below those of the papers and the ceiling."""
    print(f"{args.setup}: {SETUPS[args.setup].title}; {args.per_class} volumes a class")
    print(f"{'nominal SNR':46}" + "".join(f"{snr:>22g}" for snr in SNRS))
    for name, row in PAPER_ROWS.items():
        print(f"{name:46}" + "".join(f"{value:>22.3f}" for value in row))
    for name, row in ceiling(args.setup).items():
        print(f"{f'ceiling, {name}':46}" + "".join(f"{m:>14.3f} ± {i:.3f}" for m, i in row))
    for name, row in tasks.items():
        print(f"{name:46}" + "".join(f"{m:>14.3f} ± {i:.3f}" for m, i in row))


def shots_alone(args):
    """Measure and print the few-shot rows."""
    torch.set_num_threads(args.threads)
    tasks = few_shot(args)
    print_shots(tasks, args)
    names = ("setup", "per_class", "seed", "tasks", "stored", "learnt")
    about = {k: getattr(args, k) for k in names}
    write("protonet-ce", {**about, "snr": SNRS, "few-shot": tasks})


def ceiling(setup):
    """Read what `ceiling.py` found: 2-way and 5-way with known templates."""
    file = RESULTS / f"ceiling-{setup}.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text())
    return {name: found[name] for name in ("2-way", "5-way")}


# --- one round, and some rounds, beside the published loop ---


def one_round(args):
    """Time and memory of one round on many volumes: ours whole, the reference by a share."""
    volumes = volumes_of(0, args, box=24)
    count = len(volumes)
    spawn = multiprocessing.get_context("spawn")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        # Read by each process, lest it is counted what simulating them takes.
        file = Path(folder) / "volumes.npy"
        np.save(file, volumes[:].numpy())
        for name, measure in (("ours", our_round), ("reference", reference_round)):
            with ProcessPoolExecutor(1, spawn) as alone:
                figures[name] = alone.submit(measure, file, args).result()
            print(f"{name}, {count} volumes of 24³, one round, {args.threads} threads:")
            for part, value in figures[name].items():
                print(f"    {part:24}{value:>10.1f}")
    ratio = figures["reference"]["seconds"] / figures["ours"]["seconds"]
    print(f"{ratio:.1f} times faster")
    write("disca-round", {"volumes": count, "share": args.share, "ratio": ratio, **figures})


def stored(file):
    """Read volumes; neither their classes nor the size of a voxel matter here."""
    return Subtomograms.from_memory(torch.from_numpy(np.load(file)), 1.0)


def our_round(file, args):
    """Features, grouping and one epoch of the small network, with all defaults."""
    torch.set_num_threads(args.threads)
    volumes = stored(file)
    before, began = memory(), time.perf_counter()
    parts, last = {}, began
    for report in Disca(DiscaParams(iterations=2, seed=args.seed), 24).fit(
        TrainingData(target=volumes)
    ):
        now = time.perf_counter()
        if parts and report.phase == "looking at the particles" and "learning" in " ".join(parts):
            break  # the second round begins
        parts[report.phase] = parts.get(report.phase, 0.0) + now - last
        last = now
    return {**parts, "seconds": last - began, "memory, MB": memory() - before}


def reference_round(file, args):
    """The same by the published loop; what is linear in the volumes is measured on a share."""
    torch.set_num_threads(args.threads)
    volumes = stored(file)
    before = memory()
    loop = Reference(24, seed=args.seed)
    rows = np.random.default_rng(args.seed).permutation(len(volumes))
    some = rows[: max(int(args.share * len(volumes)), 64)]
    features = loop.features(volumes[some])
    # The mixtures are fitted to all volumes, in as many features of the small, quick network.
    quick = Disca(DiscaParams(seed=args.seed), 24)
    of_all = torch.cat([quick.embed(part) for part in volumes[:].split(64)]).numpy()
    loop.group(of_all)
    grouping = loop.seconds["grouping"]
    loop.labels = loop.labels[some]
    loop.learn(volumes[some], features, same=False)
    scale = len(volumes) / len(some)
    parts = {name: scale * seconds for name, seconds in loop.seconds.items()}
    parts["grouping"] = grouping
    return {**parts, "seconds": sum(parts.values()), "memory, MB": memory() - before}


def memory():
    """Largest resident memory of this process so far, MB; Linux says it.

    `resource` would begin with that of the process it was started by.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def quality(args):
    """Rounds of both on the same few volumes, five groups: accuracy and seconds after each."""
    torch.set_num_threads(args.threads)
    volumes = volumes_of(0, args, box=24)
    print(f"{len(volumes)} volumes of 24³ at SNR {SNRS[0]:g}, 5 groups; accuracy (seconds)")
    began, ours = time.perf_counter(), []
    method = Disca(DiscaParams(clusters=(CLASSES,), iterations=args.rounds, seed=args.seed), 24)
    for report in method.fit(TrainingData(target=volumes)):
        if "groups" in report.metrics:
            groups = method.predict(volumes[:]).argmax(1).numpy()
            accuracy = evaluate_clusters(volumes.labels, groups).accuracy
            ours.append((accuracy, time.perf_counter() - began))
    print("ours      " + "  ".join(f"{a:.3f} ({s:.0f})" for a, s in ours), flush=True)
    began, theirs = time.perf_counter(), []
    loop = Reference(24, (CLASSES,), args.seed)
    for done in range(args.rounds):
        features = loop.features(volumes[:])
        same = loop.group(features)
        accuracy = evaluate_clusters(volumes.labels, loop.labels).accuracy
        theirs.append((accuracy, time.perf_counter() - began))
        print(f"reference {accuracy:.3f} ({theirs[-1][1]:.0f})", flush=True)
        if done + 1 < args.rounds:
            loop.learn(volumes[:], features, same)
    write("disca-quality", {"volumes": len(volumes), "ours": ours, "reference": theirs})


def write(name, figures):
    """Write figures beside the others."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("small", "paper"), default="small")
    parser.add_argument("--few-shot", action="store_true", help="the few-shot rows alone")
    parser.add_argument("--round", action="store_true", help="time one round, beside the peer")
    parser.add_argument("--quality", action="store_true", help="some rounds, beside the peer")
    parser.add_argument("--setup", choices=SETUPS, default="centred")
    parser.add_argument("--per-class", type=int, help="150, 1000 (paper and --round), 60 (quality)")
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--stored", type=int, default=40, help="volumes a class for ProtoNet-CE")
    parser.add_argument("--learnt", type=int, default=2500, help="tasks that ProtoNet-CE learns")
    parser.add_argument("--rounds", type=int, default=5, help="of --quality")
    parser.add_argument("--share", type=float, default=0.04, help="of --round, for the peer")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, help="a process; 1 in the table, else 2")
    args = parser.parse_args()
    alone = args.round or args.quality
    if args.per_class is None:
        usual = 1000 if args.size == "paper" else 150
        args.per_class = 1000 if args.round else 60 if args.quality else usual
    args.threads = args.threads or (2 if alone else 1)
    if args.round:
        one_round(args)
    elif args.quality:
        quality(args)
    elif args.few_shot:
        shots_alone(args)
    else:
        table(args)


if __name__ == "__main__":
    main()
