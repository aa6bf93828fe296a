"""The few-shot head: from a few labelled embeddings to probabilities for all of them."""

from dataclasses import dataclass, field

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from .losses import class_means, squared_distances
from .params import Params
from .types import OTHER


class FewShotParams(Params):
    """How labels turn into predictions."""

    shrinkage: float = Field(
        0.0,
        ge=0,
        le=100,
        title="Shrinkage",
        description="Imaginary labelled particles at the mean of all that pull each class there.",
    )
    reach: float = Field(
        1.6,
        gt=0,
        title="Reach of a class",
        description=(
            "A particle is called other if its squared distance from every class is above the "
            "mean of the classes' own members by more than this many standard deviations."
        ),
    )


_FEWEST = 4
"""Distances that have to be known for their spread to mean anything."""


@dataclass(frozen=True, eq=False)
class FewShotHead:
    """Prototypes of the labelled classes and the distance scale that makes probabilities.

    Attributes
    ----------
    classes
        k names; the last is `OTHER`, labelled or not.
    origin
        (e,) mean of all candidates.
    prototypes
        (k, e) shrunken class means about the origin.
    labelled
        (k,) bool; only `OTHER` may be without a labelled particle.
    scale
        (2,) the squared distance that makes a factor of e in the odds, and the squared distance
        from which on a particle is rather `OTHER`.
    surprise
        Cross-entropy of the labelled particles, each left out in turn; lower is better.
        NaN where they are not known any more.
    losses
        (n,) of each of them, of which that is the mean; empty where they are not known any more.
    """

    classes: tuple[str, ...]
    origin: Tensor
    prototypes: Tensor
    labelled: Tensor
    scale: Tensor
    surprise: float = float("nan")
    losses: Tensor = field(default_factory=lambda: torch.empty(0))

    def predict(self, embeddings: Tensor) -> Tensor:
        """Probabilities (n, k) of embeddings (n, e); rows sum to 1.

        Softmax over negative squared distances (Snell et al. 2017, eq. 2). One more class stands
        at the distance of the horizon; it and the labelled others make up `OTHER`.
        """
        return self.judge(squared_distances(embeddings - self.origin, self.prototypes))

    def judge(self, distances: Tensor) -> Tensor:
        """The same from squared distances (n, k) to the prototypes, however they were measured."""
        temperature, horizon = self.scale
        logits = -distances / temperature
        logits = logits.masked_fill(~self.labelled, -torch.inf)
        beyond = torch.full_like(logits[:, :1], -float(horizon / temperature))
        other = torch.cat([logits[:, -1:], beyond], 1).logsumexp(1, keepdim=True)
        return torch.cat([logits[:, :-1], other], 1).softmax(1)


def fit_head(
    embeddings: Tensor,
    labels: Tensor,
    classes: tuple[str, ...],
    params: FewShotParams,
    origin: Tensor | None = None,
) -> FewShotHead:
    """Make a head from labelled embeddings.

    The temperature is the one of a few under which the labelled particles, each left out in turn,
    are most probable.

    Parameters
    ----------
    embeddings
        (n, e) of the labelled particles.
    labels
        (n,) int64 indices into ``classes``.
    classes
        k names, the last of which is `OTHER`.
    params
        Shrinkage and reach.
    origin
        (e,) mean embedding of all candidates, labelled or not; by default that of the labelled.

    Raises
    ------
    ValueError
        If fewer than two classes, `OTHER` among them, have a label, or another class has none.
    """
    counts = torch.bincount(labels, minlength=len(classes)).float()
    labelled = counts > 0
    if labelled.sum() < 2 or not labelled[:-1].all():
        have = ", ".join(f"{int(n)} {name}" for n, name in zip(counts, classes, strict=True))
        raise ValueError(
            f"labelled so far: {have}; label at least one particle of each of two classes "
            f"('{OTHER}' counts as one)"
        )
    origin = embeddings.mean(0) if origin is None else origin
    centred = embeddings - origin
    sums = class_means(centred, labels, len(classes)) * counts.unsqueeze(1)
    prototypes = sums / (counts + params.shrinkage).clamp(min=1e-6).unsqueeze(1)

    distances = squared_distances(centred, prototypes)
    # Each particle is left out of its own class; a lone one is measured from the origin.
    others = (counts[labels] - 1 + params.shrinkage).clamp(min=1e-6).unsqueeze(1)
    own = (centred - (sums[labels] - centred) / others).square().sum(1)
    distances[torch.arange(len(labels)), labels] = own
    distances[:, ~labelled] = torch.inf
    return calibrated(distances, labels, classes, params, origin=origin, prototypes=prototypes)


def calibrated(
    distances: Tensor,
    labels: Tensor,
    classes: tuple[str, ...],
    params: FewShotParams,
    *,
    origin: Tensor,
    prototypes: Tensor,
) -> FewShotHead:
    """Choose the scale of a head from how far the labelled particles are from the prototypes.

    Parameters
    ----------
    distances
        (n, k) squared, however they were measured; to the prototype of the own class without the
        particle itself, and infinite to that of a class without a labelled one.
    labels, classes, params
        As in `fit_head`.
    origin, prototypes
        Of the head.
    """
    counts = torch.bincount(labels, minlength=len(classes))
    labelled, own = counts > 0, distances[torch.arange(len(labels)), labels]
    members = labels < len(classes) - 1
    accompanied = members & (counts[labels] > 1)
    judged = own[accompanied if accompanied.any() else members]
    spread = judged.mean().clamp(min=1e-12)
    temperature, surprise = likeliest_temperature(distances, labels, spread)
    return FewShotHead(
        classes=classes,
        origin=origin,
        prototypes=prototypes,
        labelled=labelled,
        scale=torch.stack([temperature, horizon(judged, params.reach)]),
        surprise=surprise,
        losses=cross_entropy(-distances / temperature, labels, reduction="none"),
    )


def horizon(own: Tensor, reach: float) -> Tensor:
    """Squared distance from a class from which on a particle is rather `OTHER`.

    A multiple of the members' own distances would not do: in many dimensions these are all about
    the same, and those of anything else are hardly larger.

    Parameters
    ----------
    own
        (n,) squared distances of labelled members to their class without themselves.
    reach
        `FewShotParams.reach`; of fewer than four distances, times their root mean square.
    """
    mean = own.mean().clamp(min=1e-12)
    if len(own) < _FEWEST:
        return reach**2 * mean
    return mean + reach * own.std(correction=0)


def likeliest_temperature(
    distances: Tensor, labels: Tensor, spread: Tensor
) -> tuple[Tensor, float]:
    """Choose the temperature under which labelled particles are most probable.

    Parameters
    ----------
    distances
        (n, k) squared, of labelled particles to the prototypes, to that of the own class without
        the particle itself.
    labels
        (n,).
    spread
        Scale of the distances, of which the candidates are multiples.

    Returns
    -------
    temperature, surprise
        With the cross-entropy under it.
    """
    candidates = spread * torch.tensor([0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2])
    losses = torch.stack([cross_entropy(-distances / t, labels) for t in candidates])
    return candidates[losses.argmin()], float(losses.min())
