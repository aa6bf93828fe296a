"""Figure 2 of MLUDA: what each part of its loss does to the features of digits; see `mluda.py`.

Handwritten digits become flat clouds of points, five layers deep, that are turned about a random
axis by up to 45°, so that no 6 becomes a 9, and counted into boxes of 16³ with noise. Of the
source, 0 to 3 are known and 4 is other; the target has 5 to 9, which nobody knows.
"""

import dataclasses
import gzip

import numpy as np
import torch
from cryoshift import write_results
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.feature_map import tsne
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import OTHER, Subtomograms, TrainingData

BOX = 16
PANELS = {
    "(a) cross-entropy": ("softmax", {}),
    "(b) + intra-class": ("center_loss", {}),
    "(c) + inter-class": ("jdda", {"aligning": 0.0}),
    "(d) MLUDA": ("mluda", {}),
}
LEARNT, JUDGED, STEPS = 200, 60, 200
NOISE = 0.5
TURN = 45.0
"""Degrees, at most."""


def read(folder, part):
    """Pictures (n, 28, 28) and digits (n,) of MNIST."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        pictures = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        return pictures, np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)


def cloud(picture, generator):
    """One digit as a standardised box (d, d, d)."""
    y, x = np.nonzero(picture > 127)
    layers = np.repeat(np.arange(-2, 3), len(y))
    points = np.stack([layers, np.tile(y, 5), np.tile(x, 5)], 1) + generator.uniform(
        -0.5, 0.5, (5 * len(y), 3)
    )
    axis = generator.normal(size=3)
    angle = np.deg2rad(generator.uniform(0, TURN))
    turned = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).apply(
        points - points.mean(0)
    )
    edges = [np.linspace(-14, 14, BOX + 1)] * 3
    counts = np.histogramdd(turned, edges)[0]
    counts = counts / counts.std() + generator.normal(0, NOISE, counts.shape)
    return (counts - counts.mean()) / counts.std()


def clouds(pictures, digits, wanted, count, seed):
    """So many clouds of each wanted digit, labelled by its place among these."""
    generator = np.random.default_rng(seed)
    rows = [generator.choice(np.flatnonzero(digits == d), count, replace=False) for d in wanted]
    boxes = np.stack([cloud(pictures[row], generator) for row in np.concatenate(rows)])
    labels = np.repeat(np.arange(len(wanted)), count)
    volumes = torch.from_numpy(boxes).float()
    return Subtomograms.from_memory(volumes, 1.0, labels, tuple(map(str, wanted)))


def ratio(features, labels):
    """Mean distance from the own class mean over the mean distance between class means."""
    means = np.stack([features[labels == k].mean(0) for k in np.unique(labels)])
    intra = np.linalg.norm(features - means[np.searchsorted(np.unique(labels), labels)], axis=1)
    one, other = np.triu_indices(len(means), 1)
    return float(intra.mean() / np.linalg.norm(means[one] - means[other], axis=1).mean())


def digits(args):
    """Train each panel with each seed; print the ratios, and draw the first seed."""
    learn, judge = read(args.digits, "train"), read(args.digits, "t10k")
    figure = Figure(figsize=(18, 4.8), layout="constrained")
    panels = figure.subplots(1, 4)
    found = {title: [] for title in PANELS}
    for seed in args.seeds:
        source = clouds(*learn, range(5), LEARNT, 10 * seed)
        source = dataclasses.replace(source, classes=(*source.classes[:4], OTHER))
        target = clouds(*learn, range(5, 10), LEARNT, 10 * seed + 1)
        seen = clouds(*judge, range(5), JUDGED, 10 * seed + 2)
        unseen = clouds(*judge, range(5, 10), JUDGED, 10 * seed + 3)
        target = dataclasses.replace(target, labels=None, classes=())
        data = TrainingData(source=source, target=target)
        for axes, title in zip(panels, PANELS, strict=True):
            known, new = features(args, title, seed, data, seen, unseen)
            named = seen.labels < 4
            line = {
                "known": ratio(known[named], seen.labels[named]),
                "new": ratio(new, unseen.labels),
            }
            found[title].append(line)
            print(f"seed {seed} {title:20}{line['known']:8.3f}{line['new']:8.3f}", flush=True)
            if seed == args.seeds[0]:
                both = finish(tsne(np.concatenate([known, new])))
                labels = np.concatenate([seen.labels, unseen.labels + 5])
                draw(axes, f"{title}: {line['known']:.2f} and {line['new']:.2f}", both, labels)
    figure.savefig(args.work / "digits.png", dpi=110)
    print(f"\n{'intra/inter':24}{'0 to 3':>16}{'5 to 9':>16}")
    for title, lines in found.items():
        of_seeds = [[line[key] for line in lines] for key in lines[0]]
        print(f"{title:24}" + "".join(f"{summary(values):>16}" for values in of_seeds))
    if not args.set:
        write_results("mluda-digits", seeds=args.seeds, results=found)


def features(args, title, seed, data, seen, unseen):
    """Features of the digits of the source and of the target, by a panel; they are kept."""
    name, changes = PANELS[title]
    given = changes | args.set.get(name, {})
    file = args.work / f"digits {name} {given} {seed}.npz"
    if not file.exists():
        params = METHODS[name].params_type(
            seed=seed, augment=False, learning={"steps": STEPS}, **given
        )
        method = METHODS[name](params, BOX).to(best_device())
        finish(method.fit(data))
        known, new = method.embed_source(seen[:]).cpu(), method.embed(unseen[:]).cpu()
        np.savez(file, known=known, new=new)
    kept = np.load(file)
    return kept["known"], kept["new"]


def summary(values):
    """Mean and 95 % interval over seeds."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return "{:.3f} ± {:.3f}".format(*mean_interval(values))


def draw(axes, title, points, labels):
    """Dots for what was learnt, crosses for what was not."""
    for digit in range(10):
        mine = labels == digit
        colour = f"C{digit}"
        axes.scatter(
            *points[mine].T, s=14, color=colour, marker="." if digit < 5 else "x", label=str(digit)
        )
    axes.set(title=title, xticks=[], yticks=[])
    axes.legend(fontsize=7, ncol=2)
