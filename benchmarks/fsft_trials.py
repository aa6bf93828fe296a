"""One variant of few-shot adaptation on one pair of sets, and tables of many: see `fsft.py`."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.types import Subtomograms, TrainingData

VARIANTS = {
    "CORAL": ("coral", {}),
    "SWD": ("swd", {}),
    "fine-tune": ("finetune", {}),
    "FADA": ("fada", {}),
    "FSFT": ("fsft", {}),
    "FSFT by CORAL": ("fsft", {"align": "coral"}),
    "FSFT without aligning": ("fsft", {"align": "none"}),
    "FSFT with GAN": ("fsft", {"adversarial": True}),
    "FSFT without 3-D discriminator": ("fsft", {"volume_discriminator": False}),
}
"""Method, and what differs from its defaults."""

BASELINES = tuple(VARIANTS)[:5]
"""The methods of table 1."""

STEPS_PER_SHOT = 20
"""Of learning from the labels: so that each is seen as often however many there are, about as in
the 30 epochs of the published code."""

UNLABELLED = "measuring the target"
"""The last phase in which no label of the target has a part."""
UNCHANGED = ("learning the source", "learning which pairs are alike")
"""Phases after which there is nothing new to predict with.

What the source has taught serves the target when adapting is about to begin.
"""


@dataclass(frozen=True)
class Shots:
    """Rows of the target whose labels are known, one tuple a class."""

    count: int
    draw: int
    rows: tuple[tuple[int, ...], ...]


class Run:
    """A variant on one source and one target: what needs no label is learnt once.

    Variants that differ only in what they do with labels share what is learnt without: its file,
    and what `watch` returned of it, are found beside those of another variant.

    Parameters
    ----------
    variant
        Of `VARIANTS`.
    changes
        Parameters, for methods that have them.
    source, target
        Labelled; without labels.
    folder
        Keeps what is learnt without shots.
    watch
        Called after each stage with the method, as it then is; returns JSON values.
    """

    def __init__(self, variant, changes, source, target, folder, watch):
        name, of_variant = VARIANTS[variant]
        self.type, self.watch = METHODS[name], watch
        fields = self.type.params_type.model_fields
        wanted = {k: v for k, v in changes.items() if k in fields}
        self.params = self.type.params_type(**wanted | of_variant)
        self.source, self.target = source, target
        self.learns_shots = "support" in self.type.needs
        alike = getattr(self.params, "align", name if name in ("swd", "coral") else "none")
        own = self.type.own_blocks
        self.files = {
            "learning the source": folder / f"{own} own.run",
            UNLABELLED: folder / f"{own} own, aligned {alike}.run",
        }

    def begin(self, support):
        """Learn what needs no label; return what was seen after each stage, and the seconds."""
        said, seconds = {}, 0.0
        for until, file in self.files.items():
            found = file.with_suffix(".json")
            if not found.exists():
                here = file.with_suffix(f".{os.getpid()}")
                before = self.files["learning the source"]
                if before.exists():
                    shutil.copy(before, here)
                _, seen, more = self._fit(support, here, self.params, until)
                here.replace(file)
                found.write_text(json.dumps([said | seen, seconds + more]))
            said, seconds = json.loads(found.read_text())
        return said, seconds

    def go_on(self, support):
        """Learn the shots from there; return the method, what was seen, and the seconds."""
        path = self.files[UNLABELLED].with_suffix(f".{os.getpid()}")
        shutil.copy(self.files[UNLABELLED], path)
        steps = STEPS_PER_SHOT * int(np.bincount(support.labels).max())
        tuning = self.params.tuning.model_copy(update={"steps": steps})
        found = self._fit(support, path, self.params.model_copy(update={"tuning": tuning}))
        path.unlink()
        return found

    def _fit(self, support, path, params, until=None):
        method = self.type(params, self.source.box).to(best_device())
        bookmark = Bookmark(path, method)
        data = TrainingData(source=self.source, target=self.target, support=support)
        said, seconds, started = {}, 0.0, time.process_time()
        job = bookmark.keep(method.fit(data, bookmark))
        for progress in job:
            if progress.step < progress.total or progress.phase in UNCHANGED:
                continue
            seconds += time.process_time() - started
            stage = progress.phase if progress.total else "learning the source"
            said[stage] = self.watch(method)
            if stage == until:
                break
            started = time.process_time()
        job.close()
        return method, said, seconds


@dataclass(frozen=True)
class Trial:
    """A variant and a seed between two sets, with all draws of shots: what one process does.

    Attributes
    ----------
    group, variant, seed
        What is compared; of `VARIANTS`; of all that is random but the shots.
    changes
        Parameters, for methods that have them.
    read
        Seed → labelled source, and labelled target.
    shots
        Draws of labelled rows.
    work
        Folder for what is done.
    """

    group: str
    variant: str
    seed: int
    changes: dict
    read: Callable[[int], tuple[Subtomograms, Subtomograms]]
    shots: tuple[Shots, ...]
    work: Path

    @property
    def file(self):
        """Where its lines of figures are kept."""
        return self.work / f"{self.group} {self.seed}" / f"{self.variant}.jsonl"

    def run(self):
        """Train with every draw that was not yet done; return a line of figures for each."""
        folder = self.file.parent
        folder.mkdir(exist_ok=True)
        done = kept_lines(self.file)
        wanted = [(0, 0), *((shots.count, shots.draw) for shots in self.shots)]
        if {*wanted} - done.keys():
            if best_device().type == "cpu":
                torch.set_num_threads(1)
            for line in self._train(folder, done):
                keep_line(self.file, line)
                done[line["shots"], line["draw"]] = line
                print(
                    f"{self.group}, {self.variant}, seed {self.seed}: {line['shots']} shots, "
                    f"draw {line['draw']}, accuracy {line['accuracy']:.3f}, {line['seconds']} s",
                    flush=True,
                )
        return [done[key] for key in wanted]

    def _train(self, folder, done):
        source, target = self.read(self.seed)
        unlabelled = dataclasses.replace(target, labels=None, classes=())
        run = Run(
            self.variant,
            self.changes | {"seed": self.seed},
            source,
            unlabelled,
            folder,
            watch=lambda method: predicted(method, target).tolist(),
        )
        said, seconds = run.begin(target.take(np.concatenate(self.shots[0].rows)))
        for shots in (Shots(0, 0, ()), *self.shots):
            if (shots.count, shots.draw) in done:
                continue
            seen, more = {}, 0.0
            if shots.count and run.learns_shots:
                _, seen, more = run.go_on(target.take(np.concatenate(shots.rows)))
            yield self._line(shots, target.labels, said | seen, seconds + more)

    def _line(self, shots, labels, said, seconds):
        """Accuracy after each stage, and confusion after the last; the shots are left out."""
        tested = np.ones(len(labels), dtype=bool)
        tested[[row for rows in shots.rows for row in rows]] = False
        right = {
            stage: float((np.array(rows) == labels)[tested].mean()) for stage, rows in said.items()
        }
        stage, k = list(said)[-1], labels.max() + 1
        pairs = k * labels[tested] + np.array(said[stage])[tested]
        return {
            "shots": shots.count,
            "draw": shots.draw,
            "seed": self.seed,
            "accuracy": right[stage],
            "stages": right,
            "confusion": np.bincount(pairs, minlength=k * k).reshape(k, k).tolist(),
            "seconds": round(seconds, 1),
        }


def kept_lines(file):
    """(shots, draw) → the line of figures that was kept of it."""
    lines = map(json.loads, file.read_text().splitlines() if file.exists() else ())
    return {(line["shots"], line["draw"]): line for line in lines}


def keep_line(file, line):
    """Add a line of figures to a file."""
    with file.open("a") as opened:
        opened.write(json.dumps(line) + "\n")


def predicted(method, volumes):
    """Class of each volume, as an index."""
    parts = [method.predict(volumes[start : start + 64]) for start in range(0, len(volumes), 64)]
    return torch.cat(parts).argmax(1).cpu().numpy()


def run_all(trials, processes):
    """Run them, some at a time, and group what they found: group → variant → lines.

    With 0 processes nothing is trained, and what was found before is grouped.
    """
    if processes == 0:
        found = [list(kept_lines(trial.file).values()) for trial in trials]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            found = list(pool.map(Trial.run, trials))
    groups = {}
    for trial, lines in zip(trials, found, strict=True):
        groups.setdefault(trial.group, {}).setdefault(trial.variant, []).extend(lines)
    return groups


def means(lines, count, over):
    """Mean accuracy with so many shots of each seed, or of each draw, whichever ``over`` is."""
    values = {}
    for line in lines:
        if line["shots"] == count:
            values.setdefault(line[over], []).append(line["accuracy"])
    return [float(np.mean(found)) for found in values.values()]


def show(groups, counts, over):
    """Print a table a group: variants, by number of shots, and seconds of a run with shots.

    Beside the mean stands the 95 % interval over seeds, or the standard deviation over draws; the
    last columns are how many seeds and draws it is of, and the seconds of one run.
    """
    for group, variants in groups.items():
        print(f"\n{group}")
        heads = "".join(f"{f'{n} shots':>16}" for n in counts)
        print(f"{'':34}{heads}{'seeds':>7}{'draws':>7}{'seconds':>9}")
        for variant, lines in variants.items():
            some = [line for line in lines if line["shots"]]
            if not some:
                continue
            row = f"{variant:34}"
            for count in counts:
                found = means(lines, count, over)
                spread = ""
                if len(found) > 1:
                    wide = mean_interval(found)[1] if over == "seed" else np.std(found)
                    spread = f" ± {wide:.3f}"
                row += f"{f'{np.mean(found):.3f}{spread}' if found else '–':>16}"
            seeds, draws = (len({line[what] for line in some}) for what in ("seed", "draw"))
            print(f"{row}{seeds:7}{draws:7}{np.mean([line['seconds'] for line in some]):9.0f}")


def show_stages(lines, count):
    """Print the mean accuracy after each stage (table 4)."""
    wanted = [line["stages"] for line in lines if line["shots"] == count]
    for stage in wanted[0]:
        print(f"  {stage:40}{np.mean([stages[stage] for stages in wanted]):.3f}")


def show_confusion(lines, count, classes):
    """Print the confusion matrix of all lines with so many shots, rows true, in per cent."""
    total = np.sum([line["confusion"] for line in lines if line["shots"] == count], 0)
    print(f"{'':24}" + "".join(f"{name[:7]:>8}" for name in classes))
    for name, row in zip(classes, 100 * total / total.sum(1, keepdims=True), strict=True):
        print(f"{name[:23]:24}" + "".join(f"{share:8.0f}" for share in row))
