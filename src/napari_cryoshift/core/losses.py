"""Losses and distances: pure functions of tensors."""

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
