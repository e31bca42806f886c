"""Token embedding with sinusoidal positions of any length."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from terraformer.positions import sinusoidal_positions


class TokenEmbedding(nn.Module):
    """Embeds ids and adds sinusoidal positions, scaled by a learned factor.

    Source: Vaswani et al. 2017 (positions). They need no table, so a document may be of any length.
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.table = embed_tokens(vocab_size, d_model)
        self.position_scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Returns embeddings, [B, L, D].

        Args:
            ids: Token ids, [B, L], int64.
            start: Position of the first token.
        """
        embedded = self.table(ids)
        positions = sinusoidal_positions(
            ids.shape[1], embedded.shape[-1], start=start, device=ids.device
        )
        return embedded + self.position_scale * positions.to(embedded.dtype)


def embed_tokens(vocab_size: int, d_model: int) -> nn.Embedding:
    """Returns an embedding that starts uniform with variance 1 / d_model, as the published one."""
    table = nn.Embedding(vocab_size, d_model)
    nn.init.uniform_(table.weight, -math.sqrt(3 / d_model), math.sqrt(3 / d_model))
    return table
