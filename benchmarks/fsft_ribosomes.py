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
from fsft_trials import Run, keep_line, kept_lines
from ribosomes import CANDIDATES, DEPTHS, OTHERS_FROM_RANK, share_found

from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import OTHER, Particles, Subtomograms
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import classify, embed, shipped_checkpoint

VARIANTS, PER_CLASS = ("FSFT", "fine-tune"), 200


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


def adapted(folder, work, changes, counts, draws, variant, seed):
    """Shares for every number of clicks and every draw: lines of one variant and one seed."""
    kept = work / f"tomo171 {seed}"
    kept.mkdir(exist_ok=True)
    file = kept / f"{variant}.jsonl"
    done = kept_lines(file)
    wanted = [(count, draw) for draw in draws for count in counts]
    if not {*wanted} <= done.keys():
        if best_device().type == "cpu":
            torch.set_num_threads(1)
        missing = [key for key in wanted if key not in done]
        for line in _train(folder, kept, changes, variant, seed, missing):
            keep_line(file, line)
            done[line["shots"], line["draw"]] = line
            print(f"{variant}, seed {seed}: {json.dumps(line)}", flush=True)
    return [done[key] for key in wanted]


def _train(folder, kept, changes, variant, seed, wanted):
    """Lines for (clicks, draw)s."""
    tomogram, experts = tomogram_of(folder), experts_of(folder)
    candidates = candidates_of(tomogram)
    source, target, _ = read_domains(folder, seed, PER_CLASS, best_device())
    both = Particles.at(np.concatenate([candidates.positions, experts]))
    cut = crop(tomogram, both, box=source.box, voxel_size=source.voxel_size)
    volumes, named = cut[:], (library()[RIBOSOME].name, OTHER)
    run = Run(variant, changes | {"seed": seed}, source, target, kept, watch=lambda method: None)
    begun = None
    for count, draw in wanted:
        clicked, others = clicks(experts, count, draw)
        rows = np.concatenate([CANDIDATES + clicked, others])
        labels = np.repeat([0, 1], count)
        support = Subtomograms.from_memory(volumes[rows], source.voxel_size, labels, named)
        if begun is None:
            _, begun = run.begin(support)
        method, _, seconds = run.go_on(support)
        odds = odds_of(method, volumes[:CANDIDATES])
        yield {
            "shots": count,
            "draw": draw,
            "seed": seed,
            "share": share(tomogram, candidates, experts, clicked, odds),
            "seconds": round(begun + seconds, 1),
        }


def odds_of(method, volumes):
    """Logarithm of the odds of a ribosome: the order of its probability, without ties at 1."""
    parts = [method.embed(volumes[start : start + 64]) for start in range(0, len(volumes), 64)]
    with torch.no_grad():
        logits = method.network.classifier(torch.cat(parts)).double().cpu()
    own = method.classes.index(library()[RIBOSOME].name)
    rest = np.delete(np.arange(len(method.classes)), own)
    return (logits[:, own] - logits[:, rest].logsumexp(1)).numpy()


def prototypes(folder, counts, draws):
    """Shares by the shipped embedding and the few-shot rule, with and without the picking score."""
    tomogram, experts = tomogram_of(folder), experts_of(folder)
    candidates = candidates_of(tomogram)
    both = Particles.at(
        np.concatenate([candidates.positions, experts]),
        score=np.append(candidates.score, np.full(len(experts), np.nan)),
    )
    vectors = finish(embed(tomogram, both, shipped_checkpoint()))
    rows = {"protonet, with the picking score": [], "protonet": [], "picking score": []}
    for count in counts:
        for draw in draws:
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
                lines.append({"shots": count, "draw": draw, "share": found})
    return rows


def ribosomes(args, changes):
    """Print and write the table of the tomogram."""
    context = multiprocessing.get_context("spawn")
    jobs = [(variant, seed) for variant in VARIANTS for seed in args.seeds]
    with ProcessPoolExecutor(args.processes, mp_context=context) as pool:
        given = args.tomogram, args.work, changes, args.shots, args.draws
        job = functools.partial(adapted, *given)
        found = list(pool.map(job, *zip(*jobs, strict=True)))
    rows = {}
    for (variant, _), lines in zip(jobs, found, strict=True):
        rows.setdefault(variant, []).extend(lines)
    rows |= prototypes(args.tomogram, args.shots, args.draws)
    print("share of the other experts among the best candidates, mean ± sd over draws")
    print(f"{'':48}" + "".join(f"{'best ' + str(n):>16}" for n in DEPTHS))
    for count in args.shots:
        for name, lines in rows.items():
            shares = [
                np.mean([x["share"] for x in lines if (x["shots"], x["draw"]) == (count, draw)], 0)
                for draw in args.draws
            ]
            cells = zip(np.mean(shares, 0), np.std(shares, 0), strict=True)
            print(
                f"{f'{count} clicks of each, {name}':48}"
                + "".join(f"{mean:8.3f} ± {sd:.3f}" for mean, sd in cells)
            )
    write_results(
        "fsft-ribosomes",
        seeds=args.seeds,
        draws=list(args.draws),
        per_class=PER_CLASS,
        parameters=changes,
        depths=DEPTHS,
        results=rows,
    )
