"""`cryoshift evaluate`: a particle list against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from tyro.conf import Positional, arg

from napari_cryoshift.core.calibration import reliability
from napari_cryoshift.core.metrics import (
    ClassReport,
    evaluate_classes,
    evaluate_detections,
    match_positions,
)
from napari_cryoshift.core.open_set import auroc, guesses, nearest_known, open_set_report, oscr
from napari_cryoshift.core.types import OTHER, Particles

from .particles import ListCommand, read_of_one


@dataclass(frozen=True, kw_only=True)
class Evaluate(ListCommand):
    """Compare a particle list with the truth.

    A listed particle is right if a true one lies within the radius that no better one has taken.
    Particles rank by their score or, with --class, by the probability of that class; those of a
    list without scores rank as they stand. The radius is in Å but lists are in voxels, so give
    --voxel-size or --tomogram.
    """

    file: Positional[Path]
    """Particle list, e.g. of `cryoshift pick` or `cryoshift classify`."""
    truth: Positional[Path]
    """True particles: a CSV with the columns x, y, z (voxels from 0) and maybe class."""
    radius: float
    """Å within which a particle is the true one."""
    only: Annotated[str | None, arg(name="class")] = None
    """Evaluate this class alone; recall, precision and F1 are then of what was predicted so."""
    at: tuple[int, ...] = (100, 250, 500, 1000)
    """Print the recall of so many best particles."""

    def run(self) -> None:
        """Print the figures."""
        context = self.context()
        voxel_size = context.voxel_size
        if voxel_size is None:
            raise ValueError(
                "the lists are in voxels but the radius is in Å; give --voxel-size or --tomogram"
            )
        found = read_of_one(self.file, context)
        truth = read_of_one(self.truth, context, as_label=True)
        wanted = truth if self.only is None else truth.take(self._members(truth))
        scores = self._scores(found)

        ranked = evaluate_detections(
            found.positions * voxel_size,
            scores,
            wanted.positions * voxel_size,
            self.radius,
            at=self.at,
        )
        chosen = np.full(len(found), True) if self.only is None else found.predicted == self.only
        listed = evaluate_detections(
            found.positions[chosen] * voxel_size,
            scores[chosen],
            wanted.positions * voxel_size,
            self.radius,
        )
        print(f"listed             {listed.found}")
        print(f"true               {listed.truth}")
        print(f"matched            {listed.matched}")
        print(f"recall             {listed.recall:.4f}")
        print(f"precision          {listed.precision:.4f}")
        print(f"F1                 {listed.f1:.4f}")
        print(f"average precision  {ranked.average_precision:.4f}")
        for n, recall in ranked.recall_at.items():
            print(f"recall at {n:<8} {recall:.4f}")
        if self.only is None and (found.predicted != "").any() and (truth.label != "").all():
            report = evaluate_classes(
                found, truth.positions, list(truth.label), self.radius, voxel_size=voxel_size
            )
            print_classes(report, truth)
            if found.probabilities is not None and np.isfinite(found.confidence).all():
                print_open_set(found, _truth_of(found, truth, self.radius, voxel_size))

    def _members(self, truth: Particles) -> npt.NDArray[np.bool_]:
        members = truth.label == self.only
        if not members.any():
            raise ValueError(
                f"{self.truth.name} has no particle of class {self.only!r}; "
                f"its classes are {', '.join(sorted(set(truth.label))) or 'not given'}"
            )
        return np.asarray(members, dtype=np.bool_)

    def _scores(self, found: Particles) -> npt.NDArray[np.float64]:
        if self.only is not None:
            if found.probabilities is None or self.only not in found.classes:
                raise ValueError(
                    f"{self.file.name} has no column p_{self.only}; classify with that class first"
                )
            return found.probabilities[:, found.classes.index(self.only)]
        if np.isnan(found.score).all():
            return -np.arange(len(found), dtype=np.float64)
        return found.score


def _truth_of(
    found: Particles, truth: Particles, radius: float, voxel_size: float
) -> npt.NDArray[np.object_]:
    """Return (n,) true class of each listed particle; `OTHER` where no class of the list is."""
    order = np.argsort(-found.score, kind="stable")
    matching = np.full(len(found), -1)
    matching[order] = match_positions(
        found.positions[order] * voxel_size, truth.positions * voxel_size, radius
    )
    listed = (matching >= 0) & np.isin(truth.label[matching].astype(str), found.classes)
    return np.where(listed, truth.label[matching], OTHER).astype(object)


def print_open_set(found: Particles, true: npt.NDArray[np.object_]) -> None:
    """Print how well known classes are told from all else, where there is both.

    Parameters
    ----------
    found
        n particles; one without a class counts as called unknown.
    true
        (n,) classes, `OTHER` for all that is of no class of the list.
    """
    is_known = true != OTHER
    if is_known.all() or not is_known.any():
        return
    said = np.where(found.predicted == "", OTHER, found.predicted)
    report = open_set_report(list(true), list(said))
    sure, best = nearest_known(np.asarray(found.probabilities), found.classes)
    curve = reliability(found.confidence, guesses(found) == true)
    figures = {
        "all right (ALL)": report.overall,
        "classes and unknown (OS)": report.per_class,
        "classes (OS*)": report.known,
        "unknown (UNK)": report.unknown,
        "AUROC known, unknown": auroc(sure, is_known),
        "open-set rate (OSCR)": oscr(sure, best == true, is_known),
        "calibration error": curve.error,
    }
    print(f"\nlisted, by what they are: {is_known.sum()} of a class, {(~is_known).sum()} unknown")
    for name, figure in figures.items():
        print(f"{name:26}{figure:.4f}")
    print("\nconfidence   right  listed")
    for sure, right, count in zip(curve.sure, curve.right, curve.count, strict=True):
        print(f"{sure:10.4f}  {right:6.4f}  {count:6}")


def print_classes(report: ClassReport, truth: Particles) -> None:
    """Print precision, recall and F1 of every class, and how many are true."""
    print(f"class accuracy     {report.accuracy:.4f}")
    print(f"macro F1           {report.macro_f1:.4f}")
    columns = (report.precision, report.recall, report.f1)
    print_rows(
        list(report.f1),
        np.array([list(column.values()) for column in columns]),
        np.array([int((truth.label == name).sum()) for name in report.f1]),
    )


def print_rows(
    names: Sequence[str], figures: npt.NDArray[np.float64], true: npt.NDArray[np.int64]
) -> None:
    """Print a table of classes and their means, plain and weighted by how many are true.

    Parameters
    ----------
    names
        k classes.
    figures
        (3, k) precision, recall and F1.
    true
        (k,) how many are true.
    """
    means = {"mean": (true > 0).astype(float), "weighted mean": true.astype(float)}
    wide = max(map(len, (*names, *means)))
    print(f"\n{'class':{wide}}  precision  recall      F1    true")
    rows = [(name, figures[:, i], true[i]) for i, name in enumerate(names)]
    rows += [(name, np.average(figures, 1, of), true.sum()) for name, of in means.items()]
    for name, (precision, recall, f1), count in rows:
        print(f"{name:{wide}}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}  {count:6}")
