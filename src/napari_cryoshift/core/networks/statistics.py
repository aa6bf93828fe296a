"""Batch norm by the statistics of one domain."""

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def normalises(network: nn.Module) -> bool:
    """Whether a network has batch norm."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


@contextlib.contextmanager
def measuring(network: nn.Module) -> Iterator[None]:
    """Replace the statistics of batch norm by those of all volumes that pass inside (AdaBN).

    Li et al. 2017: a network that was trained on one domain does better on another when it
    normalises by what it meets there.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # every batch counts alike
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
