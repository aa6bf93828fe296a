"""`cryoshift adapt`: a class for every particle without a single label."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from tyro.conf import Positional, arg

from napari_cryoshift import __version__
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.devices import best_device
from napari_cryoshift.core.domain_pictures import examples_picture, maps_picture
from napari_cryoshift.core.domain_views import examples, feature_maps
from napari_cryoshift.core.feature_map import need_opentsne
from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.methods.cryoshift import CryoShift
from napari_cryoshift.core.methods.cryoshift_data import (
    KNOWN_SOURCE,
    read_once,
    simulate_known,
)
from napari_cryoshift.core.methods.cryoshift_params import CryoShiftParams
from napari_cryoshift.core.metrics import class_table, evaluate_classes
from napari_cryoshift.core.progress import Job, Progress
from napari_cryoshift.core.report import colours
from napari_cryoshift.core.types import Particles, Subtomograms, Tomogram, TrainingData
from napari_cryoshift.core.volumes import crop
from napari_cryoshift.core.workflows import SourceParams, train

from .command import TomogramCommand, TrainingCommand, output
from .evaluate import print_classes, print_rows
from .particles import read_inside
from .sets import SetFlags

_BATCH = 64
_DPI = 150


class KnownParams(SourceParams):
    """`SourceParams`, in which the structures are named by a flag without a prefix."""

    structures: Annotated[tuple[str, ...], arg(prefix_name=False)] = Field(
        (), description="Ids of `cryoshift library list`, one a class."
    )


_SOURCE = KnownParams.model_validate(KNOWN_SOURCE.model_dump())


@dataclass(frozen=True, kw_only=True)
class Adapt(TomogramCommand, TrainingCommand):
    """Classify particles without a single label: by known structures, adapted to the tomogram.

    A classifier learns the structures from simulated volumes, and then goes on until its features
    no longer tell them from those at the picks (Cryo-Shift, Bandyopadhyay et al. 2022). Beside the
    named structures there is the class "other": membranes, beads and random clusters of domains,
    as many as --source.distractors, --source.assemblies and --source.chimeras say.

    How well it went is told without labels by a criterion, the lower the better: the loss on
    simulated volumes that were held out, less the mutual information of picks and classes.
    """

    picks: Positional[Path]
    """Particle list: a CSV with x, y, z in voxels from 0, or a RELION STAR file."""
    predictions: Path | None = None
    """File for the picks with class, confidence and probabilities, .csv."""
    truth: Path | None = None
    """True particles with their classes, to compare the result with; nothing is learnt of them."""
    radius: float | None = None
    """Å within which a pick is the true particle; needed with --truth."""
    warps: Path | None = None
    """Picture of simulated particles, the same warped, and the surest picks, .png."""
    tsne: Path | None = None
    """Map of the features of simulated particles and picks, before and after adapting, .png."""
    params: Annotated[CryoShiftParams, arg(name="")] = field(default_factory=CryoShiftParams)
    source: KnownParams = _SOURCE
    source_set: SetFlags = field(default_factory=SetFlags)
    """Learn from labelled subtomograms on disk instead of simulated ones, with their classes."""

    def run(self) -> None:
        """Train, write the checkpoint and the list, and print what was found."""
        path, kept = self.files()
        inputs = [self.picks, *([] if self.truth is None else [self.truth])]
        listed = self.predictions and output(self.predictions, ".csv", inputs=inputs)
        warps = self.warps and output(self.warps, ".png")
        tsne = self.tsne and output(self.tsne, ".png")
        unadapted = tsne and (kept or path).with_suffix(".before")
        if tsne is not None:
            need_opentsne()
        tomogram = self.open()
        picks = read_inside(self.picks, tomogram)
        source, card = self._source()
        truth = self._read_truth(tomogram, source.classes)
        cut = crop(tomogram, picks, box=source.box, voxel_size=source.voxel_size)
        target = self.finish(read_once(cut))
        data = TrainingData(source=source, target=target)
        checkpoint = self.learn(train(CryoShift.name, self.params, data, card, kept, unadapted))
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
        if truth is not None:
            self._compare_with_truth(found, truth, tomogram.voxel_size)
        self._compare_with_list(picks, found)
        if warps is not None:
            shown = self.finish(examples(checkpoint, source, target))
            examples_picture(shown).savefig(warps, dpi=_DPI)
        if tsne is not None and unadapted is not None:
            self._draw_maps(tsne, data, {"before": unadapted, "after": path}, found)

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
