"""The few-shot head: from a few labelled embeddings to probabilities for all of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.spatial import cKDTree
from torch import Tensor

from .losses import class_means, squared_distances
from .params import Params
from .types import OTHER, Particles


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
            "A particle further from every class than this many times the distance of a class's "
            "own members (root mean square) is called other."
        ),
    )


SCORE_WEIGHTS = (0.5, 0.25, 1.0, 2.0)
"""Of the picking score beside the looks; the first one serves until more is known."""


def with_score(
    embeddings: npt.NDArray[np.float32], particles: Particles
) -> npt.NDArray[np.float32]:
    """Join the picking score to the embeddings as one more feature.

    It knows how strong a particle is, which the standardised volumes do not.

    Parameters
    ----------
    embeddings
        (n, e), a row a particle.
    particles
        One without a score, such as a clicked one, takes that of the nearest that has one.

    Returns
    -------
    ndarray
        (n, e + 1) float32: embeddings centred and of spread 1, and the score, of standard
        deviation 1; (n, e) where no particle has a score.
    """
    centred = embeddings - embeddings.mean(0)
    spread = np.sqrt(np.square(centred).sum(1).mean())
    scaled = centred / max(spread, 1e-12)
    scored = np.isfinite(particles.score)
    if not scored.any():
        return np.asarray(scaled, dtype=np.float32)
    known = np.flatnonzero(scored)
    nearest = known[cKDTree(particles.positions[known]).query(particles.positions)[1]]
    score = particles.score[np.where(scored, np.arange(len(particles)), nearest)]
    # By median and quartiles, clipped: one gold bead must not flatten all the rest.
    low, middle, high = np.percentile(score[scored], [25, 50, 75])
    clipped = np.clip((score - middle) / max((high - low) / 1.349, 1e-12), -3, 3)
    column = clipped / max(clipped.std(), 1e-12)
    joined: npt.NDArray[np.float32] = np.column_stack([scaled, column]).astype(np.float32)
    return joined


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
    """

    classes: tuple[str, ...]
    origin: Tensor
    prototypes: Tensor
    labelled: Tensor
    scale: Tensor
    surprise: float = float("nan")

    def predict(self, embeddings: Tensor) -> Tensor:
        """Probabilities (n, k) of embeddings (n, e); rows sum to 1.

        Softmax over negative squared distances (Snell et al. 2017, eq. 2). One more class stands
        at the distance of the horizon; it and the labelled others make up `OTHER`.
        """
        temperature, horizon = self.scale
        logits = -squared_distances(embeddings - self.origin, self.prototypes) / temperature
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
    members = labels < len(classes) - 1
    spread = own[members].mean().clamp(min=1e-12)
    temperature, surprise = _likeliest_temperature(distances, labels, spread)
    return FewShotHead(
        classes=classes,
        origin=origin,
        prototypes=prototypes,
        labelled=labelled,
        scale=torch.stack([temperature, params.reach**2 * spread]),
        surprise=surprise,
    )


def _likeliest_temperature(
    distances: Tensor, labels: Tensor, spread: Tensor
) -> tuple[Tensor, float]:
    candidates = spread * torch.tensor([0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2])
    losses = torch.stack(
        [torch.nn.functional.cross_entropy(-distances / t, labels) for t in candidates]
    )
    return candidates[losses.argmin()], float(losses.min())
