"""Self-attention over prototypes and a query, by which each takes the others into account."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """One head of scaled dot-product attention, residual and layer norm (Li et al. 2020, FEAT).

    Four linear layers and the norm: 1,051,648 parameters for vectors of 512.

    Parameters
    ----------
    width
        Length of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_normal_(layer.weight)

    def forward(self, prototypes: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Refine the sequence of all prototypes and one query, for each query.

        Parameters
        ----------
        prototypes
            (k, width), or (n, k, width) where each query has others.
        queries
            (n, width).

        Returns
        -------
        refined
            (n, k + 1, width), the query last.
        attention
            (n, k + 1, k + 1) logarithms of who looks at whom.
        """
        alone = queries.unsqueeze(1)

        def together(layer: Callable[[Tensor], Tensor]) -> Tensor:
            # Prototypes that all queries share pass through a layer once.
            shared = layer(prototypes).expand(len(queries), *prototypes.shape[-2:])
            return torch.cat([shared, layer(alone)], 1)

        scores = together(self.query) @ together(self.key).transpose(1, 2)
        attention = (scores.float() / self.width**0.5).log_softmax(-1)
        # Attention sums to 1, so that the last linear layer may come before the sum.
        values = together(lambda vectors: self.out(self.value(vectors)))
        gathered = attention.exp().to(values.dtype) @ values
        refined: Tensor = self.norm(gathered + together(lambda vectors: vectors))
        return refined, attention
