"""Few clicks on a real tomogram: how many of the other expert ribosomes come out on top.

The expert list is a clean subset of the ribosomes, so what is ranked high and not listed is often
a ribosome too: precision says little, and the share of the listed ones among the best N is the
measure. Nothing is tuned on these positions but the few-shot rule's own support set.

    python benchmarks/ribosomes.py FOLDER --picture docs/images/ribosomes.png

FOLDER holds ``empiar11658_tomo171_31.36A.mrc.gz`` and ``empiar11658_tomo171_80S_coords.csv``. The
rows that use labels are given as many ribosomes as others, which are candidates of rank 1,000 to
1,500. A clicked particle lies on its expert position, which is not asked for again.
"""

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from scipy.spatial import cKDTree

from napari_cryoshift.core.averaging import AveragingParams, average_particles
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.comparing import compare
from napari_cryoshift.core.features import fits
from napari_cryoshift.core.matching import MatchParams
from napari_cryoshift.core.own_template import OwnTemplateParams, joint_score, own_template
from napari_cryoshift.core.pick import PickParams, pick
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.imaging import low_pass, missing_wedge, radius
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.tomograms import open_tomogram
from napari_cryoshift.core.types import OTHER, Particles
from napari_cryoshift.core.volumes import crop, random_rotations, sample_rotated
from napari_cryoshift.core.workflows import classify, embed, shipped_checkpoint

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
DEPTHS = (250, 500, 700)
WITHIN = 140.0  # Å
CANDIDATES = 1500
OTHERS_FROM_RANK = 1000
DIAMETER = 280.0  # Å
LIGHTEST = 300.0  # kDa, of the structures that a template may begin with
CLICKS = (1, 3, 5, 10, 20)


def share_found(truth, ranked, voxel_size):
    """Share of the true positions within reach of the best N ranked ones, for each depth."""
    return [
        float(
            np.isfinite(
                cKDTree(ranked[:n]).query(truth, distance_upper_bound=WITHIN / voxel_size)[0]
            ).mean()
        )
        for n in DEPTHS
    ]


def template_matching(volumes, voxel_size, rotations=600, seed=0):
    """Largest normalised correlation with the human 80S over rotations and ±2 voxels.

    Parameters
    ----------
    volumes
        (n, d, d, d) standardised, protein positive.
    voxel_size
        Å.
    rotations, seed
        How many random orientations, and which.
    """
    structure = library()["4v6x"]
    box = volumes.shape[-1]
    turned = sample_rotated(
        torch.from_numpy(structure.density),
        random_rotations(rotations, np.random.default_rng(seed)),
        box=box,
        step=voxel_size / structure.voxel_size,
    )
    k = radius((box,) * 3, voxel_size)
    seen = missing_wedge((box,) * 3, 30.0) * low_pass(k, 63.0, 0.002)
    axis = torch.arange(box) - box // 2
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt() * voxel_size
    mask = torch.sigmoid((structure.diameter / 2 + 20 - distance) / 10)
    templates = torch.fft.irfftn(torch.fft.rfftn(turned, dim=(1, 2, 3)) * seen, s=(box,) * 3)
    mean = (templates * mask).sum((1, 2, 3), keepdim=True) / mask.sum()
    templates = (templates - mean) * mask
    templates /= templates.square().sum((1, 2, 3), keepdim=True).sqrt()
    spectra = torch.fft.rfftn(volumes, dim=(1, 2, 3))
    best = torch.full((len(volumes),), -torch.inf)
    near = torch.tensor([-2, -1, 0, 1, 2])
    for spectrum in torch.fft.rfftn(templates, dim=(1, 2, 3)).conj():
        correlation = torch.fft.irfftn(spectra * spectrum, s=(box,) * 3)
        close = correlation[:, near][:, :, near][:, :, :, near]
        best = torch.maximum(best, close.amax((1, 2, 3)))
    return best.numpy()


def own_fit(tomogram, both, clicked, structures):
    """Fit of the candidates to the template that some clicked positions lead to."""
    rows = np.append(np.arange(CANDIDATES), CANDIDATES + clicked)
    params = OwnTemplateParams(diameter=DIAMETER)
    examples = np.arange(CANDIDATES, len(rows))
    made = finish(own_template(tomogram, both.take(rows), examples, structures, params))
    return made.fit.strength[:CANDIDATES], made


def rankings(tomogram, both, learnt, scores, clicked, others):
    """Row of the table → score of each candidate."""
    labels = np.full(len(both), "", dtype=object)
    labels[CANDIDATES + clicked] = "ribosome"
    labels[others] = OTHER
    nothing, known = np.zeros((len(both), 1), np.float32), fits(scores)

    def said(vectors, score, more=()):
        particles = both.replace(label=labels, score=score)
        return classify(vectors, particles, more=more).probabilities[:CANDIDATES, 0]

    contrast, unscored = both.score, np.full(len(both), np.nan)
    every = [structure for structure in library().values() if structure.mass_kda > LIGHTEST]
    strength, _ = own_fit(tomogram, both, clicked, every)
    foreign = [structure for structure in every if structure.family != "ribosome"]
    stranger, _ = own_fit(tomogram, both, clicked, foreign)
    joint = unscored.copy()
    joint[:CANDIDATES] = joint_score(contrast[:CANDIDATES], strength)
    return {
        "matched filter, no score": said(nothing, unscored, [known]),
        "learned, no score": said(learnt, unscored),
        "learned": said(learnt, contrast),
        "learned and matched filter": said(learnt, contrast, [known]),
        "own template": strength,
        "own template, no ribosome known": stranger,
        "own template and picking score": joint[:CANDIDATES],
        "learned, own template": said(learnt, joint),
        "all joined": said(learnt, joint, [known]),
    }


def picture(path, tomogram, candidates, ranked, experts):
    """Means of the best-ranked candidates and of the expert list, as many, and their FSC."""
    best = np.argsort(-ranked, kind="stable")[: len(experts)]
    lists = {
        f"{len(experts)} best ranked": candidates.take(best),
        f"{len(experts)} of the expert list": Particles.at(experts),
    }
    params = AveragingParams(diameter=DIAMETER + 60, shift=80.0, rotation_step=15.0)
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.4), width_ratios=(1, 1, 1, 1.7))
    curve = plt.subplot(axes[0, 3].get_gridspec()[:, 3])
    for axis in axes[:, 3]:
        axis.remove()
    found = {}
    for row, (name, particles) in zip(axes, lists.items(), strict=True):
        # From nothing, so that no structure is put in.
        mean = finish(average_particles(tomogram, particles, params))
        middle = len(mean.mean) // 2
        for axis, side, plane in zip(row[:3], range(3), ("xy", "xz", "yz"), strict=True):
            axis.imshow(mean.mean.take(middle, axis=side), cmap="gray_r", interpolation="bicubic")
            axis.set(xticks=[], yticks=[], title=plane)
        row[0].set_ylabel(name)
        curve.plot(mean.frequency, mean.fsc, label=f"{name}: {mean.resolution:.0f} Å")
        found[name] = {
            "resolution": mean.resolution,
            "frequency": mean.frequency.tolist(),
            "fsc": mean.fsc.tolist(),
            "correlation coefficient, mean": float(mean.fit.score.mean()),
        }
    shown = max(params.first_resolution, 1.5 / mean.frequency[-1])
    curve.axvspan(0, 1 / shown, color="0.93", label="half sets turned onto each other")
    curve.axhline(0.143, color="0.6", lw=0.8)
    curve.set(xlabel="spatial frequency, 1/Å", ylabel="FSC of half sets", ylim=(-0.1, 1.02))
    curve.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="instead of the shipped embedding")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--clicks", type=int, nargs="*", default=CLICKS)
    parser.add_argument("--no-template", action="store_true", help="skip template matching")
    parser.add_argument("--picture", type=Path, help="file for the means of ribosomes")
    parser.add_argument("--results", type=Path, default=HERE / "results/ribosomes.json")
    args = parser.parse_args()
    torch.set_num_threads(2)

    tomogram = open_tomogram(args.folder / "empiar11658_tomo171_31.36A.mrc.gz", dark=True)
    table = pd.read_csv(args.folder / "empiar11658_tomo171_80S_coords.csv")
    experts = table[["z_voxel", "y_voxel", "x_voxel"]].to_numpy()
    picks = finish(pick(tomogram, PickParams(diameter=DIAMETER)))
    candidates = picks.take(np.arange(CANDIDATES))
    near = cKDTree(picks.positions[:1000]).query(experts)[0] * tomogram.voxel_size <= WITHIN
    print(f"picking: {near.mean():.3f} of {len(experts)} experts among the best 1000")
    distance = cKDTree(candidates.positions).query(experts)[0]
    middle, tenth = np.percentile(distance * tomogram.voxel_size, [50, 90])
    print(f"from an expert position to the nearest pick: median {middle:.0f} Å, 90 % {tenth:.0f} Å")

    checkpoint = Checkpoint.load(args.checkpoint) if args.checkpoint else shipped_checkpoint()
    both = Particles.at(
        np.concatenate([candidates.positions, experts]),
        score=np.append(candidates.score, np.full(len(experts), np.nan)),
    )
    learnt = finish(embed(tomogram, both, checkpoint))
    scores = finish(compare(tomogram, both, MatchParams(envelope=80.0)))
    unlabelled = {"picking score": candidates.score}
    if not args.no_template:
        volumes = crop(tomogram, candidates, box=24, voxel_size=16.0)[:]
        unlabelled["template matching, 80S"] = template_matching(volumes, 16.0)

    record = {"depths": DEPTHS, "draws": args.draws, "share": {}}
    for clicks in args.clicks:
        rows = {}
        for draw in range(args.draws):
            generator = np.random.default_rng(draw)
            clicked = generator.choice(len(experts), clicks, replace=False)
            pool = np.arange(OTHERS_FROM_RANK, CANDIDATES)
            others = generator.choice(pool, clicks, replace=False)
            rest = np.delete(experts, clicked, axis=0)
            ranking = unlabelled | rankings(tomogram, both, learnt, scores, clicked, others)
            for name, score in ranking.items():
                order = np.argsort(-score, kind="stable")
                share = share_found(rest, candidates.positions[order], tomogram.voxel_size)
                rows.setdefault(name, []).append(share)
        record["share"][clicks] = rows
        print(f"\n{clicks} clicks of each kind, {args.draws} draws, mean ± sd over draws")
        print(f"{'':32}" + "".join(f"{'best ' + str(n):>16}" for n in DEPTHS))
        for name, values in rows.items():
            cells = zip(np.mean(values, 0), np.std(values, 0), strict=True)
            print(f"{name:32}" + "".join(f"{m:9.3f} ± {s:.3f}" for m, s in cells), flush=True)
    if args.picture:
        generator = np.random.default_rng(0)
        clicked = generator.choice(len(experts), 10, replace=False)
        others = generator.choice(np.arange(OTHERS_FROM_RANK, CANDIDATES), 10, replace=False)
        ranked = rankings(tomogram, both, learnt, scores, clicked, others)
        best = ranked["learned and matched filter"]
        record["means"] = picture(args.picture, tomogram, candidates, best, experts)
        for name, mean in record["means"].items():
            print(f"{name}: {mean['resolution']:.0f} Å at an FSC of 0.143")
    args.results.parent.mkdir(exist_ok=True)
    args.results.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
