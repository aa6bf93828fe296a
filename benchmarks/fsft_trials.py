"""One variant of few-shot adaptation on one pair of sets, and tables of many: see `fsft.py`."""

import dataclasses
import json
import multiprocessing
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
    "FSFT without CORAL": ("fsft", {"coral": False}),
    "FSFT with GAN": ("fsft", {"adversarial": True}),
    "FSFT without 3-D discriminator": ("fsft", {"volume_discriminator": False}),
}
"""Method, and what differs from its defaults."""

BASELINES = tuple(VARIANTS)[:5]
"""The methods of table 1."""

UNLABELLED = "measuring the target"
"""The last phase in which no label of the target has a part."""


@dataclass(frozen=True)
class Shots:
    """Rows of the target whose labels are known, one tuple a class."""

    count: int
    draw: int
    rows: tuple[tuple[int, ...], ...]


class Run:
    """A variant on one source and one target: what needs no label is learnt once.

    Parameters
    ----------
    variant
        Of `VARIANTS`.
    changes
        Parameters, for methods that have them.
    source, target
        Labelled; without labels.
    file
        Keeps what is learnt without shots.
    watch
        Called after each stage with its name and the method, as it then is.
    """

    def __init__(self, variant, changes, source, target, file, watch):
        name, of_variant = VARIANTS[variant]
        self.type, self.file, self.watch = METHODS[name], file, watch
        fields = self.type.params_type.model_fields
        wanted = {k: v for k, v in changes.items() if k in fields}
        self.params = self.type.params_type(**wanted | of_variant)
        self.source, self.target = source, target
        self.learns_shots = "support" in self.type.needs

    def begin(self, support):
        """Learn what needs no label, whatever the shots; return the seconds that it took."""
        self.file.unlink(missing_ok=True)
        return self._fit(support, self.file, until=UNLABELLED)[1]

    def go_on(self, support):
        """Learn the shots from there; return the method, and the seconds that it took."""
        path = self.file.with_suffix(".copy")
        shutil.copy(self.file, path)
        found = self._fit(support, path)
        path.unlink()
        return found

    def _fit(self, support, path, until=None):
        method = self.type(self.params, self.source.box).to(best_device())
        bookmark = Bookmark(path, method)
        data = TrainingData(source=self.source, target=self.target, support=support)
        seconds, started = 0.0, time.process_time()
        job = bookmark.keep(method.fit(data, bookmark))
        for progress in job:
            # What the source has taught serves the target when adapting is about to begin.
            if progress.step == progress.total and progress.phase != "learning the source":
                seconds += time.process_time() - started
                stage = progress.phase if progress.total else "learning the source"
                self.watch(stage, method)
                started = time.process_time()
                if stage == until:
                    break
        job.close()
        return method, seconds


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

    def run(self):
        """Train with every draw, unless that was done; return a line of figures for each."""
        name = f"{self.group} {self.variant} {self.seed}"
        file = self.work / f"{name}.json"
        if not file.exists():
            if best_device().type == "cpu":
                torch.set_num_threads(1)
            lines = list(self._train(self.work / f"{name}.run"))
            file.write_text(json.dumps(lines))
            for count in sorted({line["shots"] for line in lines}):
                found = [line["accuracy"] for line in lines if line["shots"] == count]
                print(f"{name:60}{count:3} shots {np.mean(found):.3f}", flush=True)
        return json.loads(file.read_text())

    def _train(self, file):
        source, target = self.read(self.seed)
        said = {}

        def watch(stage, method):
            said[stage] = predicted(method, target)

        unlabelled = dataclasses.replace(target, labels=None, classes=())
        changes = self.changes | {"seed": self.seed}
        run = Run(self.variant, changes, source, unlabelled, file, watch)
        seconds = run.begin(target.take(np.concatenate(self.shots[0].rows)))
        yield self._line(Shots(0, 0, ()), target.labels, said, seconds)
        for shots in self.shots:
            more = 0.0
            if run.learns_shots:
                _, more = run.go_on(target.take(np.concatenate(shots.rows)))
            yield self._line(shots, target.labels, said, seconds + more)
        file.unlink()

    def _line(self, shots, labels, said, seconds):
        """Accuracy after each stage, and confusion after the last; the shots are left out."""
        tested = np.ones(len(labels), dtype=bool)
        tested[[row for rows in shots.rows for row in rows]] = False
        right = {stage: float((rows == labels)[tested].mean()) for stage, rows in said.items()}
        stage, k = list(said)[-1], labels.max() + 1
        confusion = np.bincount(k * labels[tested] + said[stage][tested], minlength=k * k)
        return {
            "shots": shots.count,
            "draw": shots.draw,
            "seed": self.seed,
            "accuracy": right[stage],
            "stages": right,
            "confusion": confusion.reshape(k, k).tolist(),
            "seconds": round(seconds, 1),
        }


def predicted(method, volumes):
    """Class of each volume, as an index."""
    parts = [method.predict(volumes[start : start + 64]) for start in range(0, len(volumes), 64)]
    return torch.cat(parts).argmax(1).cpu().numpy()


def run_all(trials, processes):
    """Run them, some at a time, and group what they found: group → variant → lines."""
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

    Beside the mean stands the 95 % interval over seeds, or the standard deviation over draws.
    """
    for group, variants in groups.items():
        print(f"\n{group}")
        print(f"{'':34}" + "".join(f"{f'{n} shots':>16}" for n in counts) + f"{'seconds':>9}")
        for variant, lines in variants.items():
            row = f"{variant:34}"
            for count in counts:
                found = means(lines, count, over)
                spread = mean_interval(found)[1] if over == "seed" else np.std(found)
                row += f"{np.mean(found):9.3f} ± {spread:.3f}" if found else f"{'–':>16}"
            seconds = [line["seconds"] for line in lines if line["shots"]]
            print(row + f"{np.mean(seconds):9.0f}")


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
