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


def coral_loss(source: Tensor, target: Tensor) -> Tensor:
    """How far the covariances of two domains' features are apart (Sun & Saenko 2016, eq. 1).

    ‖C_s − C_t‖²_F / 4e², with the covariances of the batch (FSFT, eq. 3 to 5).

    Parameters
    ----------
    source, target
        (n, e) and (m, e), at least two of each.
    """
    difference = torch.cov(source.float().T) - torch.cov(target.float().T)
    return difference.square().mean() / 4


def sliced_wasserstein(source: Tensor, target: Tensor, directions: Tensor) -> Tensor:
    """Squared sliced Wasserstein distance of the features of two domains (Bonneel et al. 2015).

    The mean over directions of the squared 2-Wasserstein distance of what is projected on them,
    which is that of sorted values.

    Parameters
    ----------
    source, target
        (n, e) each, as many of one as of the other.
    directions
        (e, p) unit vectors, a column each.
    """
    # Not under autocast, which would round the projections to bfloat16.
    with torch.autocast(source.device.type, enabled=False):
        one, other = (features.float() @ directions.float() for features in (source, target))
    return (one.sort(0).values - other.sort(0).values).square().mean()


def group_confusion_loss(same: Tensor, different: Tensor) -> Tensor:
    """Make pairs of both domains pass for pairs of the source (FADA, eq. 4; FSFT, eq. 8).

    −E[y_G1 log D(G2) + y_G3 log D(G4)], the mean over all pairs, where FSFT prints a minus between
    the two. Groups are G1 to G4: within the source or across domains, of the same class, then of
    different ones.

    Parameters
    ----------
    same, different
        (n, 4) and (m, 4) logits of the groups, of pairs of G2 and of G4.
    """
    logits = torch.cat([same, different]).float()
    wanted = torch.tensor([0] * len(same) + [2] * len(different), device=logits.device)
    return torch.nn.functional.cross_entropy(logits, wanted)


def categorical_hinge(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean of max(0, 1 + largest wrong − right), the loss of DISCA's published code.

    Right is Σ t p and wrong (1 − t) p, elementwise, of targets t that may be soft.

    Parameters
    ----------
    probabilities, targets
        (n, k), rows sum to 1.
    """
    right = (targets * probabilities).sum(1)
    wrong = ((1 - targets) * probabilities).amax(1)
    return (1 + wrong - right).clamp(min=0).mean()


def attention_loss(log_attention: Tensor, ways: Tensor) -> Tensor:
    """Divergence of an attention over prototypes and a query from the one that is wished for.

    The query and the prototype of its class are to look half at themselves and half at each other,
    every other prototype at itself (Li et al. 2020). KL(wished ‖ attention), the mean over queries
    and over all that look; the other way round it is infinite, as most of what is wished for is 0.

    Parameters
    ----------
    log_attention
        (n, k + 1, k + 1) logarithms, for each query of who looks at whom: k prototypes, the query.
    ways
        (n,) class of each query.
    """
    size, device = log_attention.shape[-1], log_attention.device
    each = torch.arange(len(ways), device=device)
    wished = torch.eye(size, device=device).repeat(len(ways), 1, 1)
    for row, partner in ((ways, size - 1), (size - 1, ways)):
        wished[each, row, row] = 0.5
        wished[each, row, partner] = 0.5
    divergence = torch.nn.functional.kl_div(log_attention.float(), wished, reduction="none")
    return divergence.sum(-1).mean()


def intra_class_loss(
    features: Tensor, labels: Tensor, centres: Tensor, margin: float = 0.0
) -> Tensor:
    """Pull volumes to the centre of their class (MLUDA, first term of eq. 2).

    Mean of max(0, ‖h − c_y‖² − m₁²). Without a margin it is the centre loss of Wen et al. 2016, but
    for the factor of ½ in MLUDA's eq. 1. The means, where the paper has sums, make it and the two
    losses below independent of the batch size.

    Parameters
    ----------
    features, labels
        (n, e) and (n,) int64; n may be 0.
    centres
        (k, e) of the classes, without gradient.
    margin
        m₁, a distance within which nothing pulls.
    """
    squared = (features - centres[labels]).square().sum(1)
    return _mean((squared - margin**2).clamp(min=0))


def inter_class_loss(features: Tensor, labels: Tensor, n_classes: int, margin: float) -> Tensor:
    """Push classes apart (MLUDA, second term of eq. 2, as in JDDA).

    Mean over pairs of classes of max(0, m₂² − ‖c_i − c_j‖²). The centres are the means of the
    batch, through which a gradient flows; none flows through centres that are updated by eq. 4.

    Parameters
    ----------
    features, labels
        (n, e) and (n,) int64 in [0, n_classes); classes that are not among them count for nothing.
    n_classes
        k.
    margin
        m₂, a distance beyond which nothing pushes.
    """
    present = torch.bincount(labels, minlength=n_classes) > 0
    means = class_means(features, labels, n_classes)[present]
    one, other = torch.triu_indices(len(means), len(means), offset=1, device=labels.device)
    squared = (means[one] - means[other]).square().sum(1)
    return _mean((margin**2 - squared).clamp(min=0))


def cognition_loss(features: Tensor, centres: Tensor, margin: float) -> Tensor:
    """Push what is of no known class away from all of these (MLUDA, eq. 5).

    Mean of max(0, m₃² − min_j ‖h − c_j‖²).

    Parameters
    ----------
    features
        (n, e) of volumes of unknown classes; n may be 0.
    centres
        (k, e) of the known classes, without gradient.
    margin
        m₃, a distance from the nearest centre beyond which nothing pushes.
    """
    nearest = squared_distances(features, centres).amin(1)
    return _mean((margin**2 - nearest).clamp(min=0))


def moved_centres(centres: Tensor, features: Tensor, labels: Tensor, rate: float) -> Tensor:
    """Centres (k, e) after a batch (MLUDA, eq. 3 and 4; Wen et al. 2016, eq. 4).

    c − γ Σ (c − h) / (1 + n), the sum over the n volumes (features, labels) of the class.

    Parameters
    ----------
    centres
        (k, e).
    features, labels
        (n, e) and (n,) int64.
    rate
        γ.
    """
    counts = torch.bincount(labels, minlength=len(centres)).unsqueeze(1)
    means = class_means(features.detach(), labels, len(centres))
    return centres - rate * (centres - means) * counts / (1 + counts)


def _mean(losses: Tensor) -> Tensor:
    """Mean; that of nothing is 0, with a gradient of 0."""
    return losses.sum() / max(1, len(losses))
