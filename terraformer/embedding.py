"""Token embedding with sinusoidal positions of any length."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """Embeds ids and adds sinusoidal positions, scaled by a learned factor.

    Source: Vaswani et al. 2017 (positions). They need no table, so a document may be of any length.
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, d_model)
        nn.init.uniform_(self.table.weight, -math.sqrt(3 / d_model), math.sqrt(3 / d_model))
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


def sinusoidal_positions(
    length: int, d_model: int, *, start: int = 0, device: torch.device | None = None
) -> Tensor:
    """Returns [length, d_model], float32: the sines of all frequencies, then the cosines."""
    half = d_model // 2
    frequencies = torch.exp(
        torch.arange(half, device=device, dtype=torch.float32)
        * (-math.log(10_000.0) / max(1, half))
    )
    positions = torch.arange(start, start + length, device=device, dtype=torch.float32)
    angles = positions[:, None] * frequencies
    encoded = torch.cat([angles.sin(), angles.cos()], dim=1)
    return nn.functional.pad(encoded, (0, d_model - 2 * half))
