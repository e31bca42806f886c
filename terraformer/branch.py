"""Branches of residual streams: each norms its input and adds what its layer makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor, nn

from terraformer.attention import FullAttention
from terraformer.attention_config import (
    AttentionConfig,
    CrossAttentionConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
)
from terraformer.cross_attention import CrossAttention
from terraformer.feed_forward import build_feed_forward, draw_kept, drop_features
from terraformer.feed_forward_config import FeedForwardConfig
from terraformer.local_attention import LocalAttention
from terraformer.lsh_attention import LSHAttention
from terraformer.replay import Replay
from terraformer.sru import SRUBranch
from terraformer.stack_config import SRUConfig


class BranchOptions(NamedTuple):
    """What all branches of a stack have in common.

    Attributes:
        d_model: Width of a stream, D.
        causal: Whether positions see only those before them. The recurrence runs from left to
            right in either case.
        dropout: Rate at which, in training, whole features of a branch's output are dropped for all
            positions of an example.
        layer_norm_epsilon: Added to the variance.
    """

    d_model: int
    causal: bool
    dropout: float = 0.0
    layer_norm_epsilon: float = 1e-6


class Branch(nn.Module, ABC):
    """What is added to a residual stream: a layer behind a layer norm."""

    def __init__(self, options: BranchOptions) -> None:
        super().__init__()
        self.dropout = options.dropout
        self.norm = nn.LayerNorm(options.d_model, eps=options.layer_norm_epsilon)

    @abstractmethod
    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Runs whole sequences.

        Args:
            x: [B, L, D].
            mask: [B, L], True for real tokens; all are real if None.
            replay: Records what the branch draws and chooses, or plays it back.
        Returns:
            What is added, [B, L, D].
        """

    @abstractmethod
    def prefill(self, x: Tensor) -> tuple[Tensor, Any]:
        """Runs sequences [B, L, D] without padding; from the state, `step` goes on."""

    @abstractmethod
    def step(self, x_t: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Runs one position, [B, D], in evaluation; `state` holds those before it, None if none."""

    def _drop(self, x: Tensor, replay: Replay | None) -> Tensor:
        return drop_features(x, self.dropout, replay) if self.training and self.dropout else x


class AttentionBranch(Branch):
    """Attention among the positions of the stream."""

    def __init__(self, config: AttentionConfig, options: BranchOptions) -> None:
        super().__init__(options)
        self.attention = build_attention(config, options.d_model, options.causal)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        return self._drop(self.attention(self.norm(x), mask, replay), replay)

    def prefill(self, x: Tensor) -> tuple[Tensor, Any]:
        return self.attention.prefill(self.norm(x))

    def step(self, x_t: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.attention.step(self.norm(x_t), state)


class FeedForwardBranch(Branch):
    """Feed-forward and, where there is one, a recurrent branch with a norm of its own."""

    def __init__(
        self, config: FeedForwardConfig, sru: SRUConfig | None, options: BranchOptions
    ) -> None:
        super().__init__(options)
        self.feed_forward = build_feed_forward(config, options.d_model, options.dropout)
        self.sru = None
        if sru is not None:
            self.sru = SRUBranch(sru, options.d_model, options.layer_norm_epsilon)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        kept = None
        if self.training and self.dropout:
            replay = replay or Replay()
            kept = draw_kept(x[:, :1], x.shape[-1], self.dropout, replay)
            if replay.output_grad is not None:
                replay.output_grad = replay.output_grad * kept
        out = self.feed_forward(self.norm(x), mask, replay)
        if kept is not None:
            out = out * kept.to(out.dtype)
        return out if self.sru is None else out + self._drop(self.sru(x, mask), replay)

    def prefill(self, x: Tensor) -> tuple[Tensor, list[Tensor] | None]:
        out = self.feed_forward(self.norm(x))
        if self.sru is None:
            return out, None
        recurrent, cells = self.sru.prefill(x)
        return out + recurrent, cells

    def step(
        self, x_t: Tensor, state: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor] | None]:
        out = self.feed_forward.step(self.norm(x_t))
        if self.sru is None:
            return out, None
        recurrent, cells = self.sru.step(x_t, state)
        return out + recurrent, cells


class CrossAttentionBranch(nn.Module):
    """Attention from the positions of the stream to those of an encoder."""

    def __init__(self, config: CrossAttentionConfig, options: BranchOptions) -> None:
        super().__init__()
        self.dropout = options.dropout
        self.norm = nn.LayerNorm(options.d_model, eps=options.layer_norm_epsilon)
        self.attention = CrossAttention(config, options.d_model)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        replay: Replay | None = None,
    ) -> Tensor:
        """Attends from x [B, L, D] to memory [B, M, D], where memory_mask [B, M] is True."""
        out = self.attention(self.norm(x), memory, memory_mask=memory_mask, replay=replay)
        return drop_features(out, self.dropout, replay) if self.training and self.dropout else out

    def begin(self, memory: Tensor, memory_mask: Tensor | None = None) -> Any:
        """Returns the state from which `step` attends to memory [B, M, D]."""
        return self.attention.begin(memory, memory_mask)

    def step(self, x_t: Tensor, state: Any) -> Tensor:
        """Attends from one position, [B, D]; the state stays as it is."""
        return self.attention.step(self.norm(x_t), state)


def build_attention(
    config: AttentionConfig, d_model: int, causal: bool
) -> FullAttention | LocalAttention | LSHAttention:
    """Returns the layer that belongs to the type of the config."""
    if isinstance(config, FullAttentionConfig):
        return FullAttention(config, d_model, causal)
    if isinstance(config, LocalAttentionConfig):
        return LocalAttention(config, d_model, causal)
    return LSHAttention(config, d_model, causal)
