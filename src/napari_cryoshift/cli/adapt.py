"""`cryoshift adapt`: a class for every particle, by known structures and few labels or none."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.spatial import cKDTree
from tyro.conf import Positional, arg

from napari_cryoshift import __version__
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.domain_pictures import examples_picture, maps_picture
from napari_cryoshift.core.domain_views import (
    called,
    examples,
    feature_maps,
    guess_kinds,
    labelled,
)
from napari_cryoshift.core.feature_map import need_opentsne
from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.methods import METHODS, MethodParams
from napari_cryoshift.core.methods.cryoshift_data import (
    KNOWN_SOURCE,
    read_once,
    simulate_known,
)
from napari_cryoshift.core.metrics import class_table, evaluate_classes
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.report import colours
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram, TrainingData
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import SourceParams, train

from .command import TomogramCommand, TrainingCommand, output
from .evaluate import print_classes, print_rows
from .particles import read_inside, read_labelled
from .sets import SetFlags

_BATCH = 64
_DPI = 150
_BESIDE = 60.0
"""Å, by default, within which a pick is a labelled particle."""

Adapting = Literal[
    "cryoshift",
    "fsft",
    "finetune",
    "fada",
    "coral",
    "swd",
    "mluda",
    "jdda",
    "center_loss",
    "softmax",
]
"""The methods that name known structures and learn from the picks."""


class KnownParams(SourceParams):
    """`SourceParams`, in which the structures are named by a flag without a prefix."""

    structures: Annotated[tuple[str, ...], arg(prefix_name=False)] = Field(
        (), description="Ids of `cryoshift library list`, one a class."
    )


_SOURCE = KnownParams.model_validate(KNOWN_SOURCE.model_dump())


@dataclass(frozen=True, kw_only=True)
class Adapt(TomogramCommand, TrainingCommand):
    """Classify particles by known structures, adapted to the tomogram with few labels or none.

    A classifier learns the structures from simulated volumes and is then adapted to the picks.
    Without a label: cryoshift goes on until its features no longer tell simulated volumes from
    picks (Bandyopadhyay et al. 2022); coral and swd bring the features of both in line. With a few
    labelled particles, given by --support: fsft (Yu et al. 2020), fada and finetune. Each method
    has flags of its own: cryoshift adapt --method NAME --help.

    Beside the named structures there is the class "other": membranes, beads and random clusters of
    domains, as many as --source.distractors, --source.assemblies and --source.chimeras say.
    """

    picks: Positional[Path]
    """Particle list: a CSV with x, y, z in voxels from 0, or a RELION STAR file."""
    method: Adapting = "cryoshift"
    """How it adapts."""
    support: Path | None = None
    """Labelled particles, a CSV with x, y, z and class; a class is called as a structure is, or by
    words of its name, as "ribosome"."""
    predictions: Path | None = None
    """File for the picks with class, confidence and probabilities, .csv."""
    truth: Path | None = None
    """True particles with their classes, to compare the result with; nothing is learnt of them."""
    radius: float | None = None
    """Å within which a pick is the true particle; needed with --truth."""
    warps: Path | None = None
    """Picture of simulated particles, what cryoshift warps them to, and the surest picks, .png."""
    tsne: Path | None = None
    """Map of the features of simulated particles and picks, before and after adapting, .png."""
    params: MethodParams
    source: KnownParams = _SOURCE
    source_set: SetFlags = field(default_factory=SetFlags)
    """Learn from labelled subtomograms on disk instead of simulated ones, with their classes."""

    @classmethod
    def of(cls, flags: Sequence[str]) -> type[Adapt]:
        """Return the command with the parameters of the method that the flags name.

        Raises
        ------
        ValueError
            If there is no such method.
        """
        named = Adapt.method
        for flag, value in zip(flags, [*flags[1:], ""], strict=True):
            given, equals, inside = flag.partition("=")
            if given == "--method":
                named = inside if equals else value  # type: ignore[assignment]
        if named not in get_args(Adapting):
            raise ValueError(
                f"there is no method {named!r} to adapt by; "
                f"choose from {', '.join(get_args(Adapting))}"
            )
        params = METHODS[named].params_type
        return dataclasses.make_dataclass(
            cls.__name__,
            [("params", Annotated[params, arg(name="")], field(default_factory=params))],
            bases=(cls,),
            namespace={"__doc__": cls.__doc__},
            frozen=True,
            kw_only=True,
        )

    def run(self) -> None:
        """Train, write the checkpoint and the list, and print what was found."""
        path, kept = self.files()
        inputs = [file for file in (self.picks, self.support, self.truth) if file is not None]
        listed = self.predictions and output(self.predictions, ".csv", inputs=inputs)
        warps = self.warps and output(self.warps, ".png")
        tsne = self.tsne and output(self.tsne, ".png")
        unadapted = tsne and (kept or path).with_suffix(".before")
        if tsne is not None:
            need_opentsne()
        self._check_support()
        tomogram = self.open()
        picks = read_inside(self.picks, tomogram)
        known = None if self.support is None else read_labelled(self.support, tomogram)
        source, card = self._source()
        if known is not None:
            card |= {
                "learnt_from": known.positions.tolist(),
                "called": guess_kinds(source.classes, known.label),
            }
            source = called(source, card["called"])
        truth = self._read_truth(tomogram, source.classes)
        cut = partial(crop, tomogram, box=source.box, voxel_size=source.voxel_size)
        target = self.finish(read_once(cut(picks)))
        support = None if known is None else labelled(cut(known), known.label)
        data = TrainingData(source=source, target=target, support=support)
        checkpoint = self.learn(train(self.method, self.params, data, card, kept, unadapted))
        checkpoint.save(path)
        found = self.finish(_predict(checkpoint, target, picks))
        if listed is not None:
            write_particles(listed, found, "csv")
        print(f"adapted to {len(picks)} particles of {tomogram.name}, in {path}")
        figures = checkpoint.card["figures"]
        if "criterion after" in figures:
            before, after = (figures[f"criterion {when}"] for when in ("before", "after"))
            print(f"criterion {before:.3f} before adapting, {after:.3f} after; lower is better")
        for name, count in collections.Counter(found.predicted).most_common():
            print(f"{count:8}  {name}")
        self._compare(picks, found, known, truth, tomogram.voxel_size)
        if warps is not None:
            shown = self.finish(examples(checkpoint, source, target))
            examples_picture(shown).savefig(warps, dpi=_DPI)
        if tsne is not None and unadapted is not None:
            self._draw_maps(tsne, data, {"before": unadapted, "after": path}, found)

    def _check_support(self) -> None:
        """Check that there are labels if, and only if, the method learns from them."""
        learns = "support" in METHODS[self.method].needs
        if learns == (self.support is not None):
            return
        names = get_args(Adapting)
        others = [name for name in names if ("support" in METHODS[name].needs) != learns]
        instead = f"or choose --method {', '.join(others[:-1])} or {others[-1]}"
        if self.support is None:
            raise ValueError(
                f"{self.method} learns from labelled particles but there are 0; give --support "
                f"with a list of some, {instead}"
            )
        raise ValueError(
            f"{self.method} learns from no label but {self.support.name} has some; leave "
            f"--support out, {instead}"
        )

    def _compare(
        self,
        picks: Particles,
        found: Particles,
        known: Particles | None,
        truth: Particles | None,
        voxel_size: float,
    ) -> None:
        """Print how right it is, but where it was told the class."""
        if known is not None:
            near = (self.radius or _BESIDE) / voxel_size
            learnt = _beside(picks, known, near)
            picks, found = picks.take(~learnt), found.take(~learnt)
            truth = truth and truth.take(~_beside(truth, known, near))
            print(f"labelled were {len(known)}; figures are without the picks beside them")
        if truth is not None and len(truth):
            self._compare_with_truth(found, truth, voxel_size)
        self._compare_with_list(picks, found)

    def _compare_with_truth(self, found: Particles, truth: Particles, voxel_size: float) -> None:
        if self.radius is not None:
            names = list(truth.label)
            report = evaluate_classes(
                found, truth.positions, names, self.radius, voxel_size=voxel_size
            )
            print_classes(report, truth)

    def _compare_with_list(self, picks: Particles, found: Particles) -> None:
        """Print how predictions agree with the classes that the list of picks came with."""
        given = picks.predicted != ""
        if set(picks.predicted[given]) & set(found.classes):
            table = class_table(list(picks.predicted[given]), list(found.predicted[given]))
            print(
                f"\nbeside the classes of {given.sum()} picks in {self.picks.name}, of which "
                f"nothing was learnt: accuracy {table.accuracy:.4f}"
            )
            figures = np.array([table.precision, table.recall, table.f1])
            print_rows(table.classes, figures, table.support)

    def _draw_maps(
        self, path: Path, data: TrainingData, files: dict[str, Path], found: Particles
    ) -> None:
        """Draw the map of features, of the models whose files are there."""
        models = {
            f"{when} adapting": Checkpoint.load(file)
            for when, file in files.items()
            if file.exists()
        }
        drawn = self.finish(feature_maps(models, data.need("source"), data.need("target")))
        said = found.predicted[drawn.target]
        colour = colours({*drawn.names, *said})
        maps_picture(drawn, said, colour).savefig(path, dpi=_DPI)
        files["before"].unlink(missing_ok=True)
        for name, mixing in drawn.mixing.items():
            print(f"mixing of simulated particles and picks {mixing:.2f} {name}; 1 is best")

    def _source(self) -> tuple[Subtomograms, dict[str, Any]]:
        """Return what is learnt from, and what the card says of it."""
        card: dict[str, Any] = {"program": f"napari-cryoshift {__version__}"}
        source = self.source_set.open()
        if source is not None:
            return source, card | {"source": str(self.source_set.path)}
        if not self.source.structures:
            raise ValueError(
                "0 structures are named; give --structures with ids of `cryoshift library list`, "
                "or --source-set.path"
            )
        return simulate_known(self.source), card | {"source": self.source.model_dump(mode="json")}

    def _read_truth(self, tomogram: Tomogram, classes: tuple[str, ...]) -> Particles | None:
        if self.truth is None:
            return None
        if self.radius is None:
            raise ValueError("--truth comes without --radius; say within how many Å a pick is true")
        truth = read_inside(self.truth, tomogram, as_label=True)
        if not set(truth.label) & set(classes):
            raise ValueError(
                f"{self.truth.name} names none of the classes {', '.join(classes)} but "
                f"{', '.join(sorted(set(truth.label) - {''})) or 'none at all'}; write these names "
                "into its column class"
            )
        return truth


def _beside(particles: Particles, known: Particles, near: float) -> npt.NDArray[np.bool_]:
    """Return (n,) which particles are at most so many voxels from one of the others."""
    apart, _ = cKDTree(known.positions).query(particles.positions, distance_upper_bound=near)
    return np.isfinite(apart)


def _predict(checkpoint: Checkpoint, volumes: Subtomograms, particles: Particles) -> Job[Particles]:
    """Predict the class of every particle by the model's own classes."""
    method = checkpoint.build().to(best_device())
    batches = np.array_split(np.arange(len(volumes)), -(-len(volumes) // _BATCH))
    parts = []
    for done, batch in enumerate(batches):
        parts.append(method.predict(volumes[batch]).cpu())
        yield Progress("predicting", done + 1, len(batches))
    probabilities = torch.cat(parts).double().numpy()
    best = probabilities.argmax(1)
    return particles.replace(
        predicted=np.array(checkpoint.classes, dtype=object)[best],
        confidence=probabilities[np.arange(len(best)), best],
        probabilities=probabilities,
        classes=checkpoint.classes,
    )
