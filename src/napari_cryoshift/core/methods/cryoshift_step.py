"""One step of Cryo-Shift's second stage: the discriminators, and the losses of all networks."""

import torch
from torch import Tensor, nn

from napari_cryoshift.core.losses import (
    domain_accuracy,
    domain_loss,
    feature_domain_loss,
    mutual_information,
    reversal_ramp,
    reverse_gradient,
)
from napari_cryoshift.core.networks.discriminators import (
    FeatureDiscriminators,
    VolumeDiscriminator,
)
from napari_cryoshift.core.networks.step_zero import StepZero
from napari_cryoshift.core.networks.warp import WarpNetwork

from .cryoshift_params import CryoShiftParams


class Adversaries(nn.Module):
    """The discriminators, which are needed in training only; None where there is no such one.

    Parameters
    ----------
    params
        Of the method.
    width, classes
        Number of features and of classes.
    """

    def __init__(self, params: CryoShiftParams, width: int, classes: int) -> None:
        super().__init__()
        self.of_volumes: VolumeDiscriminator | None = None
        self.of_features: FeatureDiscriminators | None = None
        if params.warp.present and params.warp.against == "discriminator":
            self.of_volumes = VolumeDiscriminator(params.discriminator.filters)
        if params.adaptation.weighting != "none":
            deep = params.step_zero.network in ("cb3d", "dsrf3d")
            self.of_features = FeatureDiscriminators(width, classes, deep=deep)


def adaptation_losses(
    params: CryoShiftParams,
    network: StepZero,
    warper: WarpNetwork | None,
    adversaries: Adversaries,
    *,
    simulated: Tensor,
    labels: Tensor,
    real: Tensor,
    share: float,
) -> dict[str, Tensor]:
    """Make the losses of one step of stage two (algorithm 1, eq. 3 to 6).

    Parameters
    ----------
    params
        Of the method.
    network, warper, adversaries
        M; W, if there is one; D and F_d.
    simulated, labels
        (b, d, d, d) and (b,) of the source.
    real
        (b, d, d, d) of the target.
    share
        Of the stage that is done, for a reversal that sets in gently.

    Returns
    -------
    dict
        ``"loss"``, the weighted sum, and what is in it; accuracies of the discriminators.
    """
    terms: dict[str, Tensor] = {}
    source = simulated
    if warper is not None:
        warped = warper(simulated)
        opposed = reverse_gradient(warped, params.warp.reversal)
        if adversaries.of_volumes is not None:
            judged = adversaries.of_volumes(torch.cat([opposed, real]))
            is_real = domain_labels(len(warped), len(real), judged.device)
            terms["discriminator loss"] = domain_loss(judged, is_real)
            terms["discriminator accuracy"] = domain_accuracy(judged, is_real)
            opposed = warped.detach()  # what M learns is no lesson for W
        source = torch.cat([simulated, opposed])
        labels = labels.repeat(2)

    if not params.adaptation.present:
        features = network.features(source)
    elif params.adaptation.statistics == "joint":
        features = network.features(torch.cat([source, real]))
    else:
        features = torch.cat([network.features(source), network.features(real)])
    logits = network.classifier(features).float()
    # The source filter: no real volume, which has no label, has a part in the task.
    terms["task loss"] = nn.functional.cross_entropy(logits[: len(source)], labels)
    ramp = reversal_ramp(share) if params.adaptation.ramp else 1.0
    if params.adaptation.information:
        terms["information"] = mutual_information(logits[len(source) :].softmax(1))
    if adversaries.of_features is not None:
        weights = logits.detach().softmax(1)
        seen = reverse_gradient(features.float(), params.adaptation.reversal * ramp).unsqueeze(1)
        if params.adaptation.weighting == "features":
            judged = adversaries.of_features(seen * weights.unsqueeze(2))
            weights = torch.ones_like(weights)
        else:
            judged = adversaries.of_features(seen.expand(-1, weights.shape[1], -1))
        is_real = domain_labels(len(source), len(real), judged.device)
        terms["feature loss"] = feature_domain_loss(judged, is_real, weights)
        terms["feature discriminator accuracy"] = domain_accuracy(judged, is_real, weights)

    factors = {
        "task loss": params.task_weight,
        "discriminator loss": params.discriminator.weight,
        "feature loss": params.adaptation.weight,
        "information": -params.adaptation.information * ramp,
    }
    total = sum(factor * terms[name] for name, factor in factors.items() if name in terms)
    return {"loss": torch.as_tensor(total), **terms}


def domain_labels(simulated: int, real: int, device: torch.device) -> Tensor:
    """So many zeros, then so many ones."""
    return torch.cat([torch.zeros(simulated), torch.ones(real)]).to(device)
