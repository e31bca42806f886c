"""Feed-forward layers: dense, and sparse with a controller."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import ops
from terraformer.feed_forward_config import (
    DenseFFConfig,
    FeedForwardConfig,
    SparseFFConfig,
    SwitchFFConfig,
)
from terraformer.position_chunk import in_chunks
from terraformer.replay import Replay
from terraformer.sparse_dense import new_dense
from terraformer.switch import SwitchFF


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
        self.chunk_len = config.chunk_len  # a memory plan may ask for other chunks
        self.w1 = new_dense(d_model, config.d_ff)
        self.w2 = new_dense(config.d_ff, d_model)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Maps x [B, L, D] to [B, L, D], each position by itself."""
        kept = None
        if self.training and self.dropout:
            kept = draw_kept(x[:, :1], self.w1.out_features, self.dropout, replay or Replay())

        def apply(chunk: Tensor) -> Tensor:
            units = self.w1(chunk)
            return self.w2((units if kept is None else units * kept).relu_())

        # A chunk takes as many tokens from each example.
        chunk_len = self.chunk_len and max(1, self.chunk_len // max(1, x.shape[0]))
        return in_chunks(lambda: apply, x, 1, chunk_len, self.parameters(), replay)

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
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.1; google/trax SparseFF.
    Differs: where chunks do not divide the tokens, the last one is shorter; the published layer
        then computes all tokens at once.
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
        for weight in (self.controller_in, self.controller_out, self.w1):
            nn.init.xavier_uniform_(weight)
        gain = math.sqrt(config.block_size) if config.scale_init else 1.0
        nn.init.xavier_uniform_(self.w2, gain)
        for bias in (self.controller_bias, self.b2):
            nn.init.normal_(bias, std=1e-6)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Maps x [B, L, D] to [B, L, D], each position by itself."""
        replay = replay or Replay()
        new_function = partial(self._function_of_a_chunk, replay)
        flat = x.reshape(-1, x.shape[-1])
        out = in_chunks(new_function, flat, 0, self.chunk_len, self.parameters(), replay)
        return out.view_as(x)

    def step(self, x_t: Tensor) -> Tensor:
        """Maps one position, [B, D] to [B, D], reading the rows of kept units only."""
        return ops.sparse_feed_forward_step(
            x_t,
            self._logits(x_t),
            self.w1,
            self.w2,
            self.b2,
            multiply_by_controller=self.config.multiply_by_controller,
        )

    def _logits(self, x: Tensor) -> Tensor:
        """Logits of the controller for x [T, D], [T, G, N]."""
        low = F.linear(x, self.controller_in)
        logits = F.linear(low, self.controller_out, self.controller_bias)
        return logits.unflatten(-1, (-1, self.config.block_size))

    def _function_of_a_chunk(self, replay: Replay) -> Callable[[Tensor], Tensor]:
        """Returns what maps one chunk [T, D] to [T, D], choosing the same whenever it runs."""
        decided: list[tuple[ops.Selection, Tensor | None]] = []

        def apply(x: Tensor) -> Tensor:
            logits = self._logits(x)
            if not decided:
                decided.append(self._decide(logits.detach(), replay))
            selection, choice = decided[0]
            return ops.sparse_feed_forward(
                x,
                logits,
                self.w1,
                self.w2,
                self.b2,
                selection=selection,
                choice=choice,
                multiply_by_controller=self.config.multiply_by_controller,
            )

        return apply

    def _decide(self, logits: Tensor, replay: Replay) -> tuple[ops.Selection, Tensor | None]:
        if self.training:
            quantized = replay.keep(lambda: torch.rand(()) < self.config.quant_prob)
            if not quantized:
                return "soft", None
        choice = replay.keep(lambda: self._choose(logits))
        return ("straight_through" if self.training else "hard"), choice

    def _choose(self, logits: Tensor) -> Tensor:
        if self.training:
            uniform = torch.empty_like(logits, dtype=torch.float32).uniform_(1e-6, 1.0 - 1e-6)
            choice = ops.draw_choice(logits, self.config.temperature, uniform)
        else:
            choice = logits.argmax(dim=-1)
        return choice.to(torch.uint8) if self.config.block_size <= 256 else choice


def drop_features(x: Tensor, rate: float, replay: Replay | None = None) -> Tensor:
    """Drops whole features of an example: x [B, L, D] with one mask [B, 1, D] for all positions."""
    return x * draw_kept(x[:, :1], x.shape[-1], rate, replay or Replay())


def build_feed_forward(
    config: FeedForwardConfig, d_model: int, dropout: float
) -> DenseFF | SparseFF | SwitchFF:
    """Returns the layer that belongs to the type of the config."""
    if isinstance(config, SwitchFFConfig):
        return SwitchFF(config, d_model, dropout)
    if isinstance(config, SparseFFConfig):
        return SparseFF(config, d_model, dropout)
    return DenseFF(config, d_model, dropout)


def draw_kept(like: Tensor, n_features: int, rate: float, replay: Replay) -> Tensor:
    """Draws what features are multiplied by: 0, or more than 1 where they stay.

    Args:
        like: [B, ...], of the dtype and on the device wanted.
        n_features: Features of an example.
        rate: Share that is dropped.
        replay: Records the draw, or plays it back.
    Returns:
        [B, 1, n_features].
    """
    with replay.same_random(like.device):
        kept = like.new_empty(like.shape[0], 1, n_features).bernoulli_(1.0 - rate)
    return kept / (1.0 - rate)
