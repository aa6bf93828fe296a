"""The stages of FADA and FSFT: a discriminator of pairs, and encoders that learn to confuse it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from napari_cryoshift.core.domains import Domains
from napari_cryoshift.core.losses import group_confusion_loss
from napari_cryoshift.core.networks.pair_discriminator import PairDiscriminator
from napari_cryoshift.core.networks.partly_shared import Domain, Encoded
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.shots import PairDraw, Shots
from napari_cryoshift.core.training import optimise, seeded

from .alignment import StageParams
from .domain_classifier import DomainClassifier, classified

EVERY, ACROSS = (0, 1, 2, 3), (1, 3)
"""The groups G1 to G4; those across domains, G2 and G4."""

Groups = Mapping[int, tuple[Encoded, Encoded]]
"""Group → first and second members of its pairs."""


class TuningParams(StageParams):
    """The stage in which the encoders learn from labelled volumes of the target."""

    confusion: float = Field(
        0.2,
        ge=0,
        title="Confusion",
        description="Weight of confusing the discriminator beside the classification losses.",
    )


class PairStages:
    """A discriminator of pairs, and the stages that it has a part in.

    Parameters
    ----------
    method
        Whose encoders it is for.
    domains, shots
        The source, and the labelled volumes of the target.
    of_maps
        Whether the discriminator has its 3-D part.
    """

    tuning = "learning from the labelled particles"
    """Phase of `tune`."""

    def __init__(
        self, method: DomainClassifier, domains: Domains, shots: Shots, *, of_maps: bool
    ) -> None:
        self.method, self.domains, self.shots = method, domains, shots
        device = domains.labels.device
        self.labels, self.absent = (
            torch.from_numpy(of_shots).to(device) for of_shots in (shots.labels, shots.absent)
        )
        with seeded(method.params.seed, torch.device("cpu")):
            made = PairDiscriminator(method.network.width, of_maps=of_maps)
        self.discriminator = made.to(device)

    def learn_groups(self, params: StageParams, bookmark: Bookmark) -> Job[None]:
        """Stage 2.2: the discriminator learns the groups, and the encoders stay as they are."""

        def loss(draw: PairDraw) -> Mapping[str, Tensor]:
            self.method.network.eval()
            self.discriminator.train()
            with torch.no_grad():
                groups = self._encoded(draw, EVERY)
            terms = self._told_apart(groups)
            return {"loss": terms["discriminator loss"], **terms}

        yield from optimise(
            self.discriminator.parameters(),
            self._draws(params.batch // 4, stage=3),
            loss,
            phase="learning which pairs are alike",
            steps=params.steps,
            learning_rate=params.learning_rate,
            bookmark=bookmark,
            parts={"discriminator": self.discriminator},
        )

    def tune(self, params: TuningParams, bookmark: Bookmark, *, adversarial: bool) -> Job[None]:
        """Stage 3: the encoders learn both domains' classes, and to confuse the discriminator.

        Parameters
        ----------
        params, bookmark
            Of the stage.
        adversarial
            Whether the discriminator goes on learning meanwhile, as in FADA, or stays as it is.
        """
        network, discriminator = self.method.network, self.discriminator
        trained = [*network.parameters(), *(discriminator.parameters() if adversarial else ())]

        def loss(draw: PairDraw) -> Mapping[str, Tensor]:
            network.eval()  # a few shots are no sample to normalise by
            discriminator.train(adversarial)
            groups = self._encoded(draw, EVERY if adversarial else ACROSS)
            terms = self._classified(draw, groups)
            terms["confusion"] = self._confused(groups)
            total = terms["source loss"] + terms["shots loss"]
            total = total + params.confusion * terms["confusion"]
            if adversarial:
                terms |= self._told_apart(groups)
                total = total + terms["discriminator loss"]
            return {**terms, "loss": total}

        yield from optimise(
            trained,
            self._draws(params.batch // 2, stage=4),
            loss,
            phase=self.tuning,
            steps=params.steps,
            learning_rate=params.learning_rate,
            bookmark=bookmark,
            parts={"discriminator": discriminator},
        )

    def _draws(self, count: int, stage: int) -> Iterator[PairDraw]:
        return self.shots.pairs(max(1, count), seed=(self.method.params.seed, stage))

    def _encoded(self, draw: PairDraw, which: Sequence[int]) -> Groups:
        """Encode the pairs of some groups.

        Only the discriminator learns from pairs within the source: they need no gradients.
        """
        across, within = list(ACROSS), [group for group in which if group not in ACROSS]
        first = self._encode("source", draw.first[across], draw.seed)
        second = self._encode("target", draw.second[across], draw.seed + 1)
        groups = dict(zip(across, zip(first, second, strict=True), strict=True))
        if within:
            # After those with gradients: autocast keeps what it once made of the weights.
            with torch.no_grad():
                first = self._encode("source", draw.first[within], draw.seed + 2)
                second = self._encode("source", draw.second[within], draw.seed + 3)
            groups |= zip(within, zip(first, second, strict=True), strict=True)
        return {group: groups[group] for group in which}

    def _encode(self, domain: Domain, rows: npt.NDArray[np.int64], seed: int) -> list[Encoded]:
        """Encode (g, n) rows of the source, or of the shots, and part them by groups."""
        volumes = self.domains.source if domain == "source" else self.shots.volumes
        read = self.method.read(volumes, rows.ravel(), seed)
        maps, features = self.method.network.encode(read, domain)
        parts = zip(torch.chunk(maps, len(rows)), torch.chunk(features, len(rows)), strict=True)
        return [Encoded(*part) for part in parts]

    def _classified(self, draw: PairDraw, groups: Groups) -> dict[str, Tensor]:
        """Cross-entropy of the members of pairs across domains (the last terms of eq. 9)."""
        across = list(ACROSS)
        features = [
            torch.cat([groups[group][member].features for group in across]) for member in (0, 1)
        ]
        of_source, of_shots = map(self.method.network.classifier, features)
        source, _ = classified(of_source.float(), self.domains.labels[draw.first[across].ravel()])
        # A class is not said to be absent only because nobody has labelled it.
        present = of_shots.float().masked_fill(self.absent, -torch.inf)
        shots, accuracy = classified(present, self.labels[draw.second[across].ravel()])
        return {"source loss": source, "shots loss": shots, "shots accuracy": accuracy}

    def _confused(self, groups: Groups) -> Tensor:
        """Confusion of the discriminator, whose weights have no part in it (eq. 8)."""
        weights = {name: w.detach() for name, w in self.discriminator.named_parameters()}
        same, different = (
            functional_call(self.discriminator, weights, groups[group]) for group in ACROSS
        )
        return group_confusion_loss(same, different)

    def _told_apart(self, groups: Groups) -> dict[str, Tensor]:
        """Cross-entropy of the groups, in which the encoders have no part (eq. 7)."""
        first, second = (
            Encoded(*(torch.cat(parts).detach() for parts in zip(*members, strict=True)))
            for members in zip(*groups.values(), strict=True)
        )
        logits = self.discriminator(first, second).float()
        truth = torch.tensor(list(groups), device=logits.device)
        truth = truth.repeat_interleave(len(logits) // len(groups))
        loss, accuracy = classified(logits, truth)
        return {"discriminator loss": loss, "discriminator accuracy": accuracy}
