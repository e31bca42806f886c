"""Feed-forward layers: dense, and sparse with a controller."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import ops
from terraformer.config import DenseFFConfig, FeedForwardConfig, SparseFFConfig
from terraformer.replay import Replay


class DenseFF(nn.Module):
    """d_model → d_ff → d_model with ReLU.

    Args:
        config: Sizes.
        d_model: Width of the input and the output, D.
        dropout: Rate on the units in training, the same units for all positions of an example.
    """

    def __init__(self, config: DenseFFConfig, d_model: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.w1 = nn.Linear(d_model, config.d_ff)
        self.w2 = nn.Linear(config.d_ff, d_model)
        for layer in (self.w1, self.w2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Maps x [B, L, D] to [B, L, D], each position by itself."""
        units = self.w1(x)
        if self.training and self.dropout:
            units = drop_features(units, self.dropout, replay)
        return self.w2(units.relu_())

    def step(self, x_t: Tensor) -> Tensor:
        """Maps one position, [B, D] to [B, D]."""
        return self.w2(self.w1(x_t).relu_())


class SparseFF(nn.Module):
    """A low-rank controller keeps one unit in each block of `block_size`.

    In training a call uses, with probability `quant_prob`, the kept units alone, chosen with Gumbel
    noise and a straight-through gradient; else all units, weighed by the controller's softmax. In
    evaluation the units of highest logit are kept, and `step` reads the rows of those only: units
    are rows of both weights.

    Args:
        config: Sizes, noise and probability.
        d_model: Width of the input and the output, D.
        dropout: Unused: dropping a kept unit would empty its block.
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.1.
    """

    def __init__(self, config: SparseFFConfig, d_model: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.chunk_len = config.chunk_len  # a memory plan may ask for other chunks
        self.controller_in = nn.Parameter(torch.empty(config.d_lowrank, d_model))
        self.controller_out = nn.Parameter(torch.empty(config.d_ff, config.d_lowrank))
        self.controller_bias = nn.Parameter(torch.empty(config.d_ff))
        self.w1 = nn.Parameter(torch.empty(config.d_ff, d_model))
        self.w2 = nn.Parameter(torch.empty(config.d_ff, d_model))
        self.b2 = nn.Parameter(torch.empty(d_model))
        for weight in (self.controller_in, self.controller_out, self.w1, self.w2):
            nn.init.xavier_uniform_(weight)
        for bias in (self.controller_bias, self.b2):
            nn.init.normal_(bias, std=1e-6)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Maps x [B, L, D] to [B, L, D], each position by itself."""
        replay = replay or Replay()
        flat = x.reshape(-1, x.shape[-1])
        chunk_len = self.chunk_len or max(1, flat.shape[0])
        parts = [self._apply_chunk(chunk, replay) for chunk in flat.split(chunk_len)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view_as(x)

    def step(self, x_t: Tensor) -> Tensor:
        """Maps one position, [B, D] to [B, D], reading the rows of kept units only."""
        return ops.sparse_feed_forward_step(x_t, self._logits(x_t), self.w1, self.w2, self.b2)

    def _logits(self, x: Tensor) -> Tensor:
        """Logits of the controller for x [T, D], [T, G, N]."""
        low = F.linear(x, self.controller_in)
        logits = F.linear(low, self.controller_out, self.controller_bias)
        return logits.unflatten(-1, (-1, self.config.block_size))

    def _apply_chunk(self, x: Tensor, replay: Replay) -> Tensor:
        logits = self._logits(x)
        weights = self.w1, self.w2, self.b2
        if self.training:
            quantized = replay.keep(lambda: torch.rand(()) < self.config.quant_prob)
            if not quantized:
                return ops.sparse_feed_forward(x, logits, *weights, selection="soft")
        choice = replay.keep(lambda: self._choose(logits))
        selection = "straight_through" if self.training else "hard"
        return ops.sparse_feed_forward(x, logits, *weights, selection=selection, choice=choice)

    def _choose(self, logits: Tensor) -> Tensor:
        if self.training:
            uniform = torch.empty_like(logits).uniform_(1e-6, 1.0 - 1e-6)
            choice = ops.draw_choice(logits, self.config.temperature, uniform)
        else:
            choice = logits.argmax(dim=-1)
        return choice.to(torch.uint8) if self.config.block_size <= 256 else choice


def drop_features(x: Tensor, rate: float, replay: Replay | None = None) -> Tensor:
    """Drops whole features of an example: x [B, L, D] with one mask [B, 1, D] for all positions."""
    with (replay or Replay()).same_random(x.device):
        kept = torch.empty_like(x[:, :1]).bernoulli_(1.0 - rate)
    return x * (kept / (1.0 - rate))


def build_feed_forward(
    config: FeedForwardConfig, d_model: int, dropout: float
) -> DenseFF | SparseFF:
    """Returns the layer that belongs to the type of the config."""
    if isinstance(config, SparseFFConfig):
        return SparseFF(config, d_model, dropout)
    return DenseFF(config, d_model, dropout)
