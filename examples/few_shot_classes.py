"""How well five labelled particles a class tell others apart: simulated classes, many draws."""

import numpy as np
import torch

from napari_cryoshift.core.fewshot import FewShotParams, fit_head
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.types import OTHER
from napari_cryoshift.core.workflows import SourceParams, shipped_checkpoint, simulate_source

SHOTS = 5
checkpoint = shipped_checkpoint()

# Families that the embedding has never seen: see held_out in checkpoint.card.
volumes = simulate_source(
    SourceParams(
        structures=("4v6x", "3jb9", "4v8r", "3j9i"),
        chimeras=0,
        assemblies=0,
        distractors=0,
        per_class=25,
        imaging=ImagingParams(box=checkpoint.box, voxel_size=checkpoint.voxel_size, snr=(0.1, 0.1)),
    )
)
vectors = torch.from_numpy(checkpoint.build().embed(volumes[:]).numpy())
labels = torch.from_numpy(volumes.labels)
classes = (*volumes.classes, OTHER)

generator = np.random.default_rng(0)
accuracies = []
for _ in range(100):
    order = torch.from_numpy(generator.permutation(len(labels)))
    support = torch.cat([order[labels[order] == c][:SHOTS] for c in range(len(volumes.classes))])
    query = order[~torch.isin(order, support)]
    head = fit_head(vectors[support], labels[support], classes, FewShotParams())
    said = head.predict(vectors[query])[:, :-1].argmax(1)
    accuracies.append(float((said == labels[query]).float().mean()))

mean, half = mean_interval(accuracies)
print(f"{len(volumes.classes)}-way {SHOTS}-shot: accuracy {mean:.3f} ± {half:.3f} (95 %)")
