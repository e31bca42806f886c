"""Self-attention over any projection to queries, keys and values; the full kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from terraformer.attention_config import AttentionConfig
from terraformer.cache import GrowingCache, WindowCache
from terraformer.projection import QKV, build_output, build_qkv
from terraformer.replay import Replay
from terraformer.rotary import real_positions, rotate
from terraformer.softmax_attention import last_own_key, own_keys, softmax_attention, unit_keys
from terraformer.sparse_qkv import padding_is_last


@dataclass
class AttentionState:
    """What a step needs of the positions so far; it changes in place.

    Attributes:
        length: Their number.
        cache: Keys and values, of the attention's own kind or a `SelectedCache`; None before the
            first position.
        qkv, output: States of the projections before and after attention.
    """

    length: int = 0
    cache: Any = None
    qkv: Any = None
    output: Any = None


class SelfAttention(nn.Module, ABC):
    """Projections, heads and rotary positions around a way to attend.

    Where one projection makes both queries and keys, keys are scaled to unit length and a position
    attends to itself only if it has no other.

    Args:
        config: Heads, projections, positions and dropout.
        d_model: Width of the input and the output, D.
        causal: Whether a position sees only itself and those before it.
    Raises:
        ValueError: if D is not a multiple of the heads, or heads of odd width are to be rotated.
    """

    def __init__(self, config: AttentionConfig, d_model: int, causal: bool) -> None:
        super().__init__()
        if d_model % config.n_heads:
            raise ValueError(f"d_model ({d_model}) must be divisible by n_heads ({config.n_heads})")
        if config.rotary and d_model // config.n_heads % 2:
            raise ValueError(
                f"d_model ({d_model}) / n_heads ({config.n_heads}) must be even with rotary"
            )
        self.n_heads = config.n_heads
        self.rotary = config.rotary
        self.dropout = config.dropout
        self.causal = causal
        self.qkv = build_qkv(config.qkv, d_model)
        self.output = build_output(config.qkv, d_model)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Attends over whole sequences.

        Args:
            x: [B, L, D].
            mask: [B, L], True for real tokens, wherever they stand (at the start, where the
                projections look along the length); all are real if None.
            replay: Keeps what is drawn and chosen.
        Returns:
            [B, L, D]; what stands at padded positions has no meaning.
        """
        positions = real_positions(mask, x.shape[1], x.device)
        q, k, v = self._heads(self.qkv(x, mask), positions)
        out = self._attend(q, k, v, mask, replay or Replay())
        return self.output(merge_heads(out), mask)

    def prefill(self, x: Tensor) -> tuple[Tensor, AttentionState]:
        """Attends over whole sequences [B, L, D] without padding, from which `step` goes on."""
        projected, qkv_state = self.qkv.prefill(x)
        q, k, v = self._heads(projected, real_positions(None, x.shape[1], x.device))
        cache = self._new_cache(q.detach(), k.detach(), v.detach())
        attended = self._attend(q, k, v, None, Replay())
        out, output_state = self.output.prefill(merge_heads(attended))
        return out, AttentionState(x.shape[1], cache, qkv_state, output_state)

    def step(
        self, x_t: Tensor, state: AttentionState | None = None
    ) -> tuple[Tensor, AttentionState]:
        """Attends from one new position, without gradient.

        Args:
            x_t: [B, D].
            state: Positions before it; none if None.
        Returns:
            [B, D]; the state with this position, which is `state`, changed.
        Raises:
            ValueError: if the layer is not causal.
        """
        require_causal(self.causal)
        state = state or AttentionState()
        with torch.no_grad():
            projected, state.qkv = self.qkv.step(x_t, state.qkv)
            position = torch.full((1,), state.length, device=x_t.device)
            q, k, v = self._heads(_one_long(projected), position)
            state.length += 1
            if state.cache is None:
                state.cache = self._new_cache(q, k, v)
            else:
                self._append(state.cache, q, k, v)
            out = merge_heads(self._attend_step(q, state.cache))
            out, state.output = self.output.step(out[:, 0], state.output)
        return out, state

    @abstractmethod
    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, replay: Replay
    ) -> Tensor:
        """Attends over whole sequences, [B, H, L, K] each, to [B, H, L, K]."""

    @abstractmethod
    def _new_cache(self, q: Tensor, k: Tensor, v: Tensor) -> Any:
        """Returns the cache of the first positions, [B, H, L, K] each."""

    @abstractmethod
    def _append(self, cache: Any, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Adds one position to the cache, [B, H, 1, K] each."""

    @abstractmethod
    def _attend_step(self, q: Tensor, cache: Any) -> Tensor:
        """Attends from the last position of the cache, [B, H, 1, K], to [B, H, 1, K]."""

    def _heads(self, projected: QKV, positions: Tensor) -> QKV:
        """Queries, keys and values, [B, L, D] each → [B, H, L, K] each, ready to be compared."""
        q, k, v = (split_heads(item, self.n_heads) for item in projected)
        if self.rotary:
            q, k = rotate(q, positions), rotate(k, positions)
        return q, unit_keys(k) if self.qkv.shares_qk else k, v

    @property
    def _dropout_now(self) -> float:
        return self.dropout if self.training else 0.0


@dataclass
class KeyValueCache:
    """Keys and values of the positions in reach, [B, H, L, K] each, all of which a step reads."""

    k: GrowingCache | WindowCache
    v: GrowingCache | WindowCache

    def append(self, k: Tensor, v: Tensor) -> None:
        """Adds one position, [B, H, 1, K] each."""
        self.k.append(k)
        self.v.append(v)

    def attend(self, q: Tensor, shares_qk: bool) -> Tensor:
        """Attends from the last position, [B, H, 1, K], to [B, H, 1, K]."""
        own = last_own_key(self.k.length, q.device) if shares_qk else None
        return softmax_attention(q, self.k.rows, self.v.rows, own=own)


class CachedAttention(SelfAttention):
    """Self-attention whose steps see what their cache makes of it: all that it holds, or less."""

    def _append(self, cache: Any, q: Tensor, k: Tensor, v: Tensor) -> None:
        cache.append(k, v)

    def _attend_step(self, q: Tensor, cache: Any) -> Tensor:
        return cache.attend(q, self.qkv.shares_qk)


class FullAttention(CachedAttention):
    """Softmax attention over all positions, or over those before.

    With shared queries and keys it is the exact twin of LSH attention in one chunk.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Kitaev et al. 2020, arXiv:2001.04451, for shared
        queries and keys.
    Differs: shared queries and keys of convolutional projections are compared as in Reformer; the
        published layer neither scales such keys nor keeps a position from itself.
    """

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, replay: Replay
    ) -> Tensor:
        reachable = None if mask is None or self._hides_itself(mask) else self._reachable(mask)
        return softmax_attention(
            q,
            k,
            v,
            reachable,
            own=own_keys(q.shape[2], q.device) if self.qkv.shares_qk else None,
            causal=self.causal and reachable is None,
            dropout=self._dropout_now,
            replay=replay,
        )

    def _hides_itself(self, mask: Tensor) -> bool:
        """Whether no real query sees padding anyway: there is none, or it lies in the future."""
        return padding_is_last(mask) if self.causal else bool(mask.all())

    def _reachable(self, mask: Tensor) -> Tensor:
        """Which keys queries see, broadcast to [B, 1, L, L]: real ones, or some other if none is.

        A query that sees nothing would turn into NaN.
        """
        reachable = mask[:, None, None, :]
        if not self.causal:
            return reachable | ~reachable.any(dim=-1, keepdim=True)
        own = own_keys(mask.shape[1], mask.device)
        reachable = reachable & torch.ones_like(own).tril()
        return reachable | (own & ~reachable.any(dim=-1, keepdim=True))

    def _new_cache(self, q: Tensor, k: Tensor, v: Tensor) -> KeyValueCache:
        return KeyValueCache(GrowingCache(k), GrowingCache(v))


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """[B, L, H * K] → [B, H, L, K]."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, H, L, K] → [B, L, H * K]."""
    return x.transpose(1, 2).flatten(2)


def _one_long(projected: QKV) -> QKV:
    """[B, D] each → [B, 1, D] each."""
    q, k, v = projected
    return q[:, None], k[:, None], v[:, None]


def require_causal(causal: bool) -> None:
    """Raises a ValueError if a step is asked of a layer that sees both directions."""
    if not causal:
        raise ValueError("step needs a causal layer, this one attends to later positions too")
