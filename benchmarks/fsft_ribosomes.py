"""A real tomogram: ribosomes from a few clicks, by adapted classifiers and by prototypes.

Clicks, candidates and measure are those of `ribosomes.py`, the simulated source is that of
`cryoshift_ribosomes.py`. Run by `fsft.py --tomogram`.
"""

import functools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import torch
from cryoshift import write_results
from cryoshift_ribosomes import RIBOSOME, candidates_of, tomogram_of
from cryoshift_ribosomes import read as read_domains
from fsft_trials import Run
from ribosomes import CANDIDATES, DEPTHS, OTHERS_FROM_RANK, share_found

from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import OTHER, Particles, Subtomograms
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import classify, embed, shipped_checkpoint

COUNTS, DRAWS, PER_CLASS = (3, 5, 7), 20, 400


def experts_of(folder):
    """Positions on the expert list, zyx voxels."""
    table = pd.read_csv(folder / "empiar11658_tomo171_80S_coords.csv")
    return table[["z_voxel", "y_voxel", "x_voxel"]].to_numpy()


def clicks(experts, count, draw):
    """Which experts are clicked, and which candidates as other; as in `ribosomes.py`."""
    generator = np.random.default_rng(draw)
    clicked = generator.choice(len(experts), count, replace=False)
    return clicked, generator.choice(np.arange(OTHERS_FROM_RANK, CANDIDATES), count, replace=False)


def share(tomogram, candidates, experts, clicked, score):
    """Share of the experts that nobody clicked among the best candidates by a score."""
    ranked = candidates.positions[np.argsort(-score, kind="stable")]
    return share_found(np.delete(experts, clicked, axis=0), ranked, tomogram.voxel_size)


def adapted(folder, work, variant, seed):
    """Shares for every number of clicks and every draw: lines of one variant and one seed."""
    file = work / f"tomo171 {variant} {seed}.json"
    if file.exists():
        return json.loads(file.read_text())
    if best_device().type == "cpu":
        torch.set_num_threads(1)
    tomogram, experts = tomogram_of(folder), experts_of(folder)
    candidates = candidates_of(tomogram)
    source, target, _ = read_domains(folder, seed, PER_CLASS, best_device())
    both = Particles.at(np.concatenate([candidates.positions, experts]))
    cut = crop(tomogram, both, box=source.box, voxel_size=source.voxel_size)
    volumes, named = cut[:], (library()[RIBOSOME].name, OTHER)
    run = Run(
        variant,
        {"seed": seed},
        source,
        target,
        work / f"tomo171 {variant} {seed}.run",
        watch=lambda stage, method: None,
    )
    lines, begun = [], False
    for count in COUNTS:
        for draw in range(DRAWS):
            clicked, others = clicks(experts, count, draw)
            rows = np.concatenate([CANDIDATES + clicked, others])
            labels = np.repeat([0, 1], count)
            support = Subtomograms.from_memory(volumes[rows], source.voxel_size, labels, named)
            if not begun:
                run.begin(support)
                begun = True
            method, _ = run.go_on(support)
            odds = odds_of(method, volumes[:CANDIDATES])
            lines.append(
                {
                    "clicks": count,
                    "draw": draw,
                    "seed": seed,
                    "share": share(tomogram, candidates, experts, clicked, odds),
                }
            )
    run.file.unlink()
    file.write_text(json.dumps(lines))
    print(f"tomo171, {variant}, seed {seed} done", flush=True)
    return lines


def odds_of(method, volumes):
    """Logarithm of the odds of a ribosome: the order of its probability, without ties at 1."""
    parts = [method.embed(volumes[start : start + 64]) for start in range(0, len(volumes), 64)]
    with torch.no_grad():
        logits = method.network.classifier(torch.cat(parts)).double().cpu()
    own = method.classes.index(library()[RIBOSOME].name)
    rest = np.delete(np.arange(len(method.classes)), own)
    return (logits[:, own] - logits[:, rest].logsumexp(1)).numpy()


def prototypes(folder):
    """Shares by the shipped embedding and the few-shot rule, with and without the picking score."""
    tomogram, experts = tomogram_of(folder), experts_of(folder)
    candidates = candidates_of(tomogram)
    both = Particles.at(
        np.concatenate([candidates.positions, experts]),
        score=np.append(candidates.score, np.full(len(experts), np.nan)),
    )
    vectors = finish(embed(tomogram, both, shipped_checkpoint()))
    rows = {"protonet, with the picking score": [], "protonet": [], "picking score": []}
    for count in COUNTS:
        for draw in range(DRAWS):
            clicked, others = clicks(experts, count, draw)
            labels = np.full(len(both), "", dtype=object)
            labels[CANDIDATES + clicked], labels[others] = "ribosome", OTHER
            labelled = both.replace(label=labels)
            unscored = labelled.replace(score=np.full(len(both), np.nan))
            scores = [
                *(classify(vectors, p).probabilities[:CANDIDATES, 0] for p in (labelled, unscored)),
                candidates.score,
            ]
            for lines, score in zip(rows.values(), scores, strict=True):
                found = share(tomogram, candidates, experts, clicked, score)
                lines.append({"clicks": count, "draw": draw, "share": found})
    return rows


def ribosomes(args):
    """Print and write the table of the tomogram."""
    context = multiprocessing.get_context("spawn")
    jobs = [(variant, seed) for variant in ("FSFT", "fine-tune") for seed in args.seeds]
    with ProcessPoolExecutor(args.processes, mp_context=context) as pool:
        job = functools.partial(adapted, args.tomogram, args.work)
        found = list(pool.map(job, *zip(*jobs, strict=True)))
    rows = {}
    for (variant, _), lines in zip(jobs, found, strict=True):
        rows.setdefault(variant, []).extend(lines)
    rows |= prototypes(args.tomogram)
    print("share of the other experts among the best candidates, mean ± sd over draws")
    print(f"{'':40}" + "".join(f"{'best ' + str(n):>16}" for n in DEPTHS))
    for count in COUNTS:
        for name, lines in rows.items():
            shares = [
                np.mean([x["share"] for x in lines if (x["clicks"], x["draw"]) == (count, draw)], 0)
                for draw in range(DRAWS)
            ]
            cells = zip(np.mean(shares, 0), np.std(shares, 0), strict=True)
            print(
                f"{f'{count} clicks of each, {name}':40}"
                + "".join(f"{mean:9.3f} ± {sd:.3f}" for mean, sd in cells)
            )
    write_results("fsft-ribosomes", seeds=args.seeds, depths=DEPTHS, results=rows)
