"""From a tomogram to a list of classified particles, with five labelled ones a class.

Put a file of your own in the place of the simulated tomogram, and the particles that you know in
the place of its truth.
"""

import tempfile
from pathlib import Path

import numpy as np

from napari_cryoshift.core.formats import ListContext, write_particles
from napari_cryoshift.core.metrics import match_positions
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.tomogram import CrowdedParams, simulate_tomogram
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import PickParams, classify, embed, pick, shipped_checkpoint

# tomogram = open_tomogram("mine.mrc"), from napari_cryoshift.core.tomograms
simulated = finish(
    simulate_tomogram(
        CrowdedParams(shape=(48, 160, 160), classes=("4v6x", "4v8r"), particles_per_class=15)
    )
)
tomogram, truth = simulated.tomogram, simulated.particles

# Candidates come best first; every long piece of work is a job that `finish` runs to its end.
candidates = finish(pick(tomogram, PickParams(diameter=220.0, max_count=80)))

# A person would click these labels; here they are taken from the truth.
in_angstrom = tomogram.voxel_size
match = match_positions(
    candidates.positions * in_angstrom, truth.positions * in_angstrom, radius=100.0
)
actual = np.where(match < 0, OTHER, truth.label[match])
label = candidates.label.copy()
for name in set(actual):
    label[np.flatnonzero(actual == name)[:5]] = name
candidates = candidates.replace(label=label)

vectors = finish(embed(tomogram, candidates, shipped_checkpoint()))
classified = classify(vectors, candidates)

unlabelled = label == ""
right = classified.predicted[unlabelled] == actual[unlabelled]
print(f"{right.mean():.0%} of {unlabelled.sum()} candidates have the right class")

with tempfile.TemporaryDirectory() as folder:
    write_particles(Path(folder) / "particles.csv", classified, "csv")
    context = ListContext.of(tomogram)
    star = Path(folder) / "particles.star"
    print(*write_particles(star, classified, "relion5", context=context), sep="\n")
    print("written:", *sorted(path.name for path in Path(folder).iterdir()))
