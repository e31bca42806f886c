"""Attention from the positions of a decoder to those of an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from terraformer.attention import merge_heads, split_heads
from terraformer.attention_config import CrossAttentionConfig
from terraformer.replay import Replay
from terraformer.selected_cache import SelectedCache
from terraformer.softmax_attention import softmax_attention
from terraformer.sparse_dense import MultiplicativeDense, new_dense


@dataclass(frozen=True)
class CrossAttentionState:
    """What a step needs of the encoder; no step changes it.

    Attributes:
        k, v: [B, H, M, K] each.
        mask: [B, M], True for real tokens; all are real if None.
    """

    k: Tensor
    v: Tensor
    mask: Tensor | None

    def __deepcopy__(self, memo: dict[int, Any]) -> CrossAttentionState:
        return self

    def attend(self, q: Tensor, dropout: float = 0.0, replay: Replay | None = None) -> Tensor:
        """Attends from queries [B, H, L, K] to [B, H, L, K]; zeros where no token is real."""
        if self.mask is None:
            return softmax_attention(q, self.k, self.v, dropout=dropout, replay=replay)
        reachable = self.mask[:, None, None, :]
        empty = ~reachable.any(dim=-1, keepdim=True)
        reachable = reachable | empty  # to see nothing would turn into NaN
        out = softmax_attention(q, self.k, self.v, reachable, dropout=dropout, replay=replay)
        return out.masked_fill(empty, 0.0)


class CrossAttention(nn.Module):
    """Softmax attention whose keys and values come from an encoder.

    Args:
        config: Heads, and modules of the queries' and the output's layer.
        d_model: Width of input, memory and output, D.
    Raises:
        ValueError: if D is not a multiple of the heads or of the modules.
    Source: Vaswani et al. 2017, arXiv:1706.03762; google/trax ConfigurableTransformer
        (enc_dec_attention_sparsity) for the modules.
    """

    def __init__(self, config: CrossAttentionConfig, d_model: int) -> None:
        super().__init__()
        if d_model % config.n_heads:
            raise ValueError(f"d_model ({d_model}) must be divisible by n_heads ({config.n_heads})")
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.w_k, self.w_v = new_dense(d_model, d_model), new_dense(d_model, d_model)
        if config.n_modules:
            self.w_q = MultiplicativeDense(config.n_modules, d_model, d_model)
            self.w_o = MultiplicativeDense(config.n_modules, d_model, d_model)
        else:
            self.w_q, self.w_o = new_dense(d_model, d_model), new_dense(d_model, d_model)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        replay: Replay | None = None,
    ) -> Tensor:
        """Attends from whole sequences.

        Args:
            x: [B, L, D].
            memory: What is attended to, [B, M, D].
            mask: Of x; changes nothing: no position of x sees another.
            memory_mask: [B, M], True for real tokens, wherever they stand; all are real if None.
            replay: Keeps what is dropped.
        Returns:
            [B, L, D]; where a memory has no real token, as if all its values were zero.
        """
        q = split_heads(self.w_q(x), self.n_heads)
        dropout = self.dropout if self.training else 0.0
        attended = self.begin(memory, memory_mask).attend(q, dropout, replay)
        return self.w_o(merge_heads(attended))

    def begin(self, memory: Tensor, memory_mask: Tensor | None = None) -> CrossAttentionState:
        """Returns keys and values of a memory [B, M, D], from which `step` goes on."""
        k, v = (split_heads(layer(memory), self.n_heads) for layer in (self.w_k, self.w_v))
        return CrossAttentionState(k, v, memory_mask)

    def step(self, x_t: Tensor, state: CrossAttentionState | SelectedCache) -> Tensor:
        """Attends from one position, [B, D], to [B, D], without gradient."""
        with torch.no_grad():
            q = split_heads(self.w_q(x_t[:, None]), self.n_heads)
            return self.w_o(merge_heads(state.attend(q)))[:, 0]
