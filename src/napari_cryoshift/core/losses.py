"""Losses and distances: pure functions of tensors."""

import math
from typing import Any

import torch
from torch import Tensor


def class_means(embeddings: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Prototypes: the mean embedding of each class (Snell et al. 2017, eq. 1).

    Parameters
    ----------
    embeddings
        (n, e).
    labels
        (n,) int64 in [0, n_classes).
    n_classes
        How many; a class without a member gets zeros.

    Returns
    -------
    Tensor
        (n_classes, e).
    """
    sums = embeddings.new_zeros(n_classes, embeddings.shape[1]).index_add(0, labels, embeddings)
    counts = torch.bincount(labels, minlength=n_classes).clamp(min=1)
    return sums / counts.unsqueeze(1)


def squared_distances(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """Squared Euclidean distances (n, k) of embeddings (n, e) to prototypes (k, e)."""
    # Not by |a|² - 2ab + |b|²: under autocast the product would be rounded to bfloat16.
    distances = torch.cdist(embeddings, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.square()


def prototypical_loss(
    support: Tensor, query: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy over negative squared distances to prototypes (Snell et al. 2017, eq. 2).

    Parameters
    ----------
    support
        (w, s, e) embeddings of s shots of w classes.
    query
        (w, q, e) embeddings of q queries of the same classes.
    temperature
        Distances are divided by it.

    Returns
    -------
    loss, accuracy
        Scalars; the accuracy is that of the nearest prototype.
    """
    ways, queries, width = query.shape
    logits = -squared_distances(query.reshape(-1, width), support.mean(1)) / temperature
    labels = torch.arange(ways, device=query.device).repeat_interleave(queries)
    accuracy = (logits.argmax(1) == labels).float().mean()
    return torch.nn.functional.cross_entropy(logits, labels), accuracy


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(features: Tensor, weight: float = 1.0) -> Tensor:
    """Return the tensor as it is; its gradient comes back times -weight.

    What follows is trained against what comes before (Ganin & Lempitsky 2015, eq. 7 and 8).
    """
    reversed_: Tensor = _Reversal.apply(features, weight)  # type: ignore[no-untyped-call]
    return reversed_


def reversal_ramp(share: float) -> float:
    """Weight of a reversal that sets in gently (Ganin & Lempitsky 2015, section 4; MADA).

    Parameters
    ----------
    share
        Of the training that is done: 0 gives 0, 1 gives 0.9999.
    """
    return 2 / (1 + math.exp(-10 * share)) - 1


def domain_loss(logits: Tensor, real: Tensor) -> Tensor:
    """Binary cross-entropy of a domain discriminator, its mean (Cryo-Shift, eq. 6).

    Parameters
    ----------
    logits
        (b,) of being real.
    real
        (b,) bool, or 1 where it is.
    """
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), real.float())


def feature_domain_loss(logits: Tensor, real: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy of one feature discriminator a class, weighted (Cryo-Shift, eq. 5).

    −Σ_k mean_j p_jk [t_j log F_k(y_j) + (1 − t_j) log(1 − F_k(y_j))]; the paper prints another
    sign. The mean over volumes, where the paper has a sum, makes it independent of the batch size.

    Parameters
    ----------
    logits
        (b, k) of being real, a column a discriminator.
    real
        (b,) bool, or 1 where it is.
    weights
        (b, k), p: probability that the volume is of the class, without gradient.
    """
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.float(), real.float().unsqueeze(1).expand_as(logits), reduction="none"
    )
    return (weights * each).mean(0).sum()


def domain_accuracy(logits: Tensor, real: Tensor, weights: Tensor | None = None) -> Tensor:
    """Share of right answers of domain discriminators; 0.5 is that of a coin.

    Parameters
    ----------
    logits
        (b,) or (b, k) of being real.
    real
        (b,) bool, or 1 where it is.
    weights
        Of each answer, of the shape of the logits; None counts all alike.
    """
    truth = real.bool() if logits.ndim == 1 else real.bool().unsqueeze(1)
    right = ((logits > 0) == truth).float()
    return right.mean() if weights is None else (right * weights).sum() / weights.sum()


def mutual_information(probabilities: Tensor) -> Tensor:
    """Mutual information of volumes and their predicted classes (Bridle et al. 1991), in nats.

    Entropy of the mean prediction less the mean entropy of predictions: log k where predictions
    are sure and every class is equally common, 0 where all volumes are predicted alike.

    Parameters
    ----------
    probabilities
        (n, k).
    """
    overall = torch.special.entr(probabilities.mean(0)).sum()
    information: Tensor = overall - torch.special.entr(probabilities).sum(1).mean()
    return information
