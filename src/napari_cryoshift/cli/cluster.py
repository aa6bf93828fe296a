"""`cryoshift cluster`: how many kinds of particle there are, without a label."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import numpy.typing as npt
from tyro.conf import Positional, arg

from napari_cryoshift.core.averaging import save_average
from napari_cryoshift.core.formats import write_particles
from napari_cryoshift.core.grouping import (
    WAYS,
    Found,
    average_group,
    find_compared_groups,
    find_groups,
)
from napari_cryoshift.core.label_volume import Balls, write_label_volume
from napari_cryoshift.core.methods.autoencoder import AutoencoderParams
from napari_cryoshift.core.methods.disca_params import DiscaParams
from napari_cryoshift.core.segmentation import segment
from napari_cryoshift.core.types import Particles, Tomogram

from .command import TomogramCommand, output, output_folder
from .particles import read_inside

Way = Literal["quick", "disca", "autoencoder"]


@dataclass(frozen=True, kw_only=True)
class Cluster(TomogramCommand):
    """Sort particles into groups that look alike, without a label.

    Three ways: quick, in what the shipped embedding sees in particles; disca, which begins there
    and learns round by round what tells these particles apart; autoencoder, for coarse groups such
    as globules and membranes. Each has flags of its own: cryoshift cluster --method NAME --help.

    The result has the rows of the particle list in their order, with the group as class, the
    largest being "cluster 1", and its probabilities.
    """

    picks: Positional[Path]
    """Particle list, of any format that `cryoshift formats` lists."""
    out: Path
    """File to write, .csv."""
    method: Way = "quick"
    """How groups are found."""
    labels: Path | None = None
    """File for a label volume, .mrc: in a ball around each particle, the number of its group."""
    segment: Path | None = None
    """File for a label volume, .mrc: the voxels of particles, learnt from the groups that
    --positive names; each with the place of its group there."""
    positive: tuple[int, ...] = (1,)
    """Groups that are particles, for --segment; 1 is the largest."""
    averages: Path | None = None
    """Folder for the average of each group, with its Fourier shell correlation."""
    diameter: float = 250.0
    """Of a particle, Å, for label volume and averages."""
    compare: bool = False
    """Also look for groups in how well particles fit the known structures of the library, with the
    method quick: tells more kinds apart where particles are very noisy, and fewer where they are
    clear."""
    params: DiscaParams | AutoencoderParams

    @classmethod
    def of(cls, flags: Sequence[str]) -> type[Cluster]:
        """Return the command with the parameters of the method that the flags name.

        Raises
        ------
        ValueError
            If there is no such method.
        """
        named = _value_of(flags, "--method") or Cluster.method
        if named not in WAYS:
            raise ValueError(
                f"there is no method {named!r} to find groups by; "
                f"choose from {', '.join(get_args(Way))}"
            )
        params = WAYS[named]
        return dataclasses.make_dataclass(
            cls.__name__,
            [("params", Annotated[type(params), arg(name="")], field(default=params))],
            bases=(cls,),
            namespace={"__doc__": cls.__doc__},
            frozen=True,
            kw_only=True,
        )

    def run(self) -> None:
        """Find groups, write what is asked for and print how large they are."""
        path = output(self.out, ".csv", inputs=[self.picks])
        volume = self.labels and output(self.labels, ".mrc", inputs=[self.tomogram])
        segmented = self.segment and output(self.segment, ".mrc", inputs=[self.tomogram])
        folder = self.averages and output_folder(self.averages)
        tomogram = self.open()
        particles = read_inside(self.picks, tomogram)
        find = find_compared_groups if self.compare else find_groups
        found = self.finish(find(tomogram, particles, self.params))
        names = tuple(f"cluster {i + 1}" for i in range(found.probabilities.shape[1]))
        grouped = particles.replace(
            predicted=np.array(names, dtype=object)[found.labels],
            confidence=found.probabilities.max(1),
            probabilities=found.probabilities,
            classes=names,
            cluster=found.labels,
        )
        write_particles(path, grouped, "csv")
        print(f"{len(particles)} particles in {path}")
        print(self._number(found))
        if volume:
            radius = self.diameter / tomogram.voxel_size / 2
            balls = Balls(
                particles.positions, found.labels + 1, radius=radius, shape=tomogram.shape
            )
            write_label_volume(volume, np.asarray(balls), tomogram)
            print(f"their regions in {volume}")
        if segmented:
            classes = self._positive(found)
            marked = self.finish(segment(tomogram, particles, classes))
            write_label_volume(segmented, marked, tomogram)
            print(f"the voxels of {(classes > 0).sum()} particles and their like in {segmented}")
        for number, name in enumerate(names):
            members = grouped.take(np.flatnonzero(grouped.cluster == number))
            print(f"{len(members):8}  {name}{self._averaged(tomogram, members, folder)}")

    def _positive(self, found: Found) -> npt.NDArray[np.int64]:
        """Number the groups that are particles in the order they are named, (n,); others 0."""
        count = found.probabilities.shape[1]
        if not self.positive or not set(self.positive) <= set(range(1, count + 1)):
            raise ValueError(
                f"--positive names groups {', '.join(map(str, self.positive))} of {count}; "
                f"choose from 1 to {count}"
            )
        numbers = np.zeros(count, dtype=np.int64)
        numbers[np.array(self.positive) - 1] = np.arange(len(self.positive)) + 1
        classes: npt.NDArray[np.int64] = numbers[found.labels]
        return classes

    def _number(self, found: Found) -> str:
        """Say how many groups there are, and by which criterion."""
        count = found.probabilities.shape[1]
        tried = self.params.clusters
        if isinstance(tried, int):
            return f"{count} groups"
        how = f"of {', '.join(map(str, tried))} by BIC" if len(tried) > 1 else "as asked for"
        figures = found.figures
        return (
            f"{count} groups, {how}; BIC {figures['bic']:.2f} a particle, distortion index "
            f"{figures['distortion']:.2f}"
        )

    def _averaged(self, tomogram: Tomogram, members: Particles, folder: Path | None) -> str:
        """Average a group; return what to say of it."""
        if folder is None:
            return ""
        if len(members) < 4:
            return ": too few to average"
        surest = members.take(np.argsort(-members.confidence, kind="stable"))
        average = self.finish(average_group(tomogram, surest, self.diameter))
        file = folder / f"{members.predicted[0].replace(' ', '_')}.mrc"
        save_average(file, average)
        detail = average.resolution
        seen = f"{detail:.0f} Å" if math.isfinite(detail) else "no detail"
        return f": {seen} at an FSC of 0.143, in {file}"


def _value_of(flags: Sequence[str], name: str) -> str | None:
    """Return what follows a flag, last time it is given."""
    found = None
    for flag, following in zip(flags, [*flags[1:], ""], strict=True):
        given, equals, inside = flag.partition("=")
        if given == name:
            found = inside if equals else following
    return found
