"""A decoder's branches stepping over tensors that never move, as a captured graph needs them.

Where its position stands is known to the device alone: what a step reads of a cache is masked, not
cut, and what it leaves is written over what was there.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terraformer.attention import AttentionState, KeyValueCache, merge_heads, split_heads
from terraformer.branch import AttentionBranch, Branch, CrossAttentionBranch, FeedForwardBranch
from terraformer.cache import GrowingCache, WindowCache
from terraformer.cross_attention import CrossAttentionState
from terraformer.local_attention import LocalAttention
from terraformer.lsh_attention import LSHAttention, LSHCache
from terraformer.replay import Replay
from terraformer.rotary import rotate
from terraformer.softmax_attention import softmax_attention, unit_keys
from terraformer.switch import SwitchFF


class Clock(NamedTuple):
    """Where a step stands, on the device.

    Attributes:
        position: Of the token that is read, [1], int64.
        length: Positions in the caches before it, [1], int64.
    """

    position: Tensor
    length: Tensor


class StaticAttention:
    """An attention branch, with a cache that has room.

    Args:
        branch: The branch.
        state: Of the branch in a text like those that will be read.
        room: Positions.
        n_buckets: Of LSH attention.
    """

    def __init__(
        self, branch: AttentionBranch, state: AttentionState, room: int, n_buckets: int
    ) -> None:
        cache = state.cache
        assert isinstance(cache, (KeyValueCache, LSHCache))
        self._norm, self._layer = branch.norm, branch.attention
        self._k, self._v = (_roomy(item.rows, 2, room) for item in (cache.k, cache.v))
        self._places = torch.arange(room, device=self._k.device)
        self._qkv: Any = tuple(torch.zeros_like(item) for item in state.qkv or ()) or None
        self._output = None if state.output is None else torch.zeros_like(state.output)
        self._n_buckets, self._buckets = n_buckets, torch.empty(0)
        if isinstance(cache, LSHCache):
            self._buckets = _roomy(cache.buckets.rows, 2, room)

    def step(self, x_t: Tensor, clock: Clock) -> Tensor:
        """Runs one position, [B, D] to [B, D]."""
        projected, qkv = self._layer.qkv.step(self._norm(x_t), self._qkv)
        for old, new in zip(self._qkv or (), qkv or (), strict=True):
            old.copy_(new)
        q, k, v = self._heads(projected, clock.length)
        for cache, row in ((self._k, k), (self._v, v)):
            cache.index_copy_(2, clock.length, row.to(cache.dtype))
        reachable = self._reachable(q, clock.length)
        own = None
        if isinstance(self._layer, LSHAttention) or self._layer.qkv.shares_qk:
            own = (self._places == clock.length)[None]
        out = merge_heads(softmax_attention(q, self._k, self._v, reachable, own=own))
        out, output = self._layer.output.step(out[:, 0], self._output)
        if self._output is not None and output is not None:
            self._output.copy_(output)
        return out

    def fill(self, state: AttentionState) -> None:
        """Takes over the state of the branch in a text."""
        for static, rows in ((self._k, state.cache.k.rows), (self._v, state.cache.v.rows)):
            _refill(static, 2, rows, state.length - rows.shape[2])
        for old, new in zip(self._qkv or (), state.qkv or (), strict=True):
            old.copy_(new)
        if self._output is not None:
            self._output.copy_(state.output)
        if isinstance(state.cache, LSHCache):
            buckets = state.cache.buckets.rows
            if state.cache.n_buckets != self._n_buckets:
                buckets = self._hash(state.cache.k.rows)
            _refill(self._buckets, 2, buckets, 0)

    def suits(self, state: AttentionState, length: int) -> bool:
        """Whether the state of a text of `length` positions can be taken over."""
        return next_buckets(self._layer, state, length) == self._n_buckets

    def is_crowded(self, length: int) -> bool:
        """Whether the position after `length` others is hashed to more buckets than there are."""
        layer = self._layer
        is_hashed = isinstance(layer, LSHAttention)
        return is_hashed and layer.n_buckets(length + 1) >= 2 * self._n_buckets

    def state(self, length: int) -> AttentionState:
        """Returns the state of the branch after `length` positions, as its own `step` takes it."""
        k, v = (rows[:, :, :length].clone() for rows in (self._k, self._v))
        layer = self._layer
        if isinstance(layer, LSHAttention):
            buckets = GrowingCache(self._buckets[:, :, :length].clone())
            cache: Any = LSHCache(GrowingCache(k), GrowingCache(v), buckets, self._n_buckets)
        elif isinstance(layer, LocalAttention):
            sizes = layer.chunk_len, layer.n_chunks_before
            cache = KeyValueCache(WindowCache(k, *sizes), WindowCache(v, *sizes))
        else:
            cache = KeyValueCache(GrowingCache(k), GrowingCache(v))
        qkv = tuple(item.clone() for item in self._qkv or ()) or None
        output = None if self._output is None else self._output.clone()
        return AttentionState(length, cache, qkv, output)

    def _heads(self, projected: Any, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of one position, [B, H, 1, K] each, ready to be compared."""
        q, k, v = (item[:, None] for item in projected)
        layer, shared = self._layer, self._layer.qkv.shares_qk
        if isinstance(layer, LSHAttention) and not shared:
            q, shared = (q + k) / 2, True
        q, k, v = (split_heads(item, layer.n_heads) for item in (q, q if shared else k, v))
        if layer.rotary:
            q, k = rotate(q, position), rotate(k, position)
        return q, unit_keys(k) if shared else k, v

    def _reachable(self, q: Tensor, length: Tensor) -> Tensor:
        """Which places the position sees, broadcast to [B, H, 1, room]."""
        seen, layer = self._places <= length, self._layer
        if isinstance(layer, LocalAttention):
            first = (length // layer.chunk_len - layer.n_chunks_before) * layer.chunk_len
            return (seen & (self._places >= first))[None]
        if not isinstance(layer, LSHAttention):
            return seen[None]
        buckets, chunk_len = self._hash(q), layer.config.chunk_len
        self._buckets.index_copy_(2, length, buckets)
        near = (self._places > length - chunk_len) | (length < layer.n_chunks_seen * chunk_len)
        shared = (self._buckets == buckets).any(dim=-1)  # [B, H, room]
        return (seen & (near | shared))[:, :, None]

    def _hash(self, qk: Tensor) -> Tensor:
        """Buckets of vectors [B, H, L, K], [B, H, L, R], int32."""
        layer = cast(LSHAttention, self._layer)
        return layer.hash(qk, self._n_buckets).transpose(-1, -2).to(torch.int32)


class StaticFeedForward:
    """A feed-forward branch, with the cells of its recurrent layers."""

    def __init__(self, branch: FeedForwardBranch, state: list[Tensor] | None) -> None:
        self._branch = branch
        self._cells = [torch.zeros_like(cell) for cell in state or ()]

    def step(self, x_t: Tensor, clock: Clock) -> Tensor:
        """Runs one position, [B, D] to [B, D]."""
        layer, normed = self._branch.feed_forward, self._branch.norm(x_t)
        out = _switch(layer, normed) if isinstance(layer, SwitchFF) else layer.step(normed)
        if self._branch.sru is None:
            return out
        recurrent, cells = self._branch.sru.step(x_t, self._cells)
        for old, new in zip(self._cells, cells, strict=True):
            old.copy_(new)
        return out + recurrent

    def fill(self, state: list[Tensor] | None) -> None:
        """Takes over the state of the branch in a text."""
        for old, new in zip(self._cells, state or (), strict=True):
            old.copy_(new)

    def suits(self, state: list[Tensor] | None, length: int) -> bool:
        """Any state can be taken over."""
        return True

    def is_crowded(self, length: int) -> bool:
        """Cells are as many at any length."""
        return False

    def state(self, length: int) -> list[Tensor] | None:
        """Returns the state of the branch, as its own `step` takes it."""
        return [cell.clone() for cell in self._cells] or None


class StaticCrossAttention:
    """Attention to an encoder, with room for its positions."""

    def __init__(self, branch: CrossAttentionBranch, state: CrossAttentionState, room: int) -> None:
        self._branch = branch
        k, v = (_roomy(item, 2, room) for item in (state.k, state.v))
        self._memory = CrossAttentionState(k, v, k.new_zeros(len(k), room, dtype=torch.bool))

    def step(self, x_t: Tensor, clock: Clock) -> Tensor:
        """Runs one position, [B, D] to [B, D]."""
        return self._branch.step(x_t, self._memory)

    def fill(self, state: CrossAttentionState) -> None:
        """Takes over the memory of a text."""
        memory = self._memory
        assert memory.mask is not None
        _refill(memory.k, 2, state.k, 0)
        _refill(memory.v, 2, state.v, 0)
        real = state.k.new_ones(len(state.k), state.k.shape[2], dtype=torch.bool)
        _refill(memory.mask, 1, real if state.mask is None else state.mask, 0)

    def state(self) -> CrossAttentionState:
        """Returns the memory, filled up with what the mask hides."""
        return self._memory


StaticBranch = StaticAttention | StaticFeedForward


def static_branch(branch: Branch, state: Any, room: int, length: int) -> StaticBranch:
    """Returns a branch of fixed shapes.

    Args:
        branch: The branch.
        state: Of the branch in a text like those that will be read.
        room: Positions.
        length: Positions in its caches.
    """
    if isinstance(branch, AttentionBranch):
        return StaticAttention(branch, state, room, next_buckets(branch.attention, state, length))
    return StaticFeedForward(cast(FeedForwardBranch, branch), state)


def next_buckets(layer: nn.Module, state: AttentionState, length: int) -> int:
    """Returns into how many buckets the position after `length` others is hashed, 0 for none."""
    if not isinstance(layer, LSHAttention):
        return 0
    wanted, present = layer.n_buckets(length + 1), state.cache.n_buckets
    return wanted if wanted >= 2 * present else present


def _switch(layer: SwitchFF, x: Tensor) -> Tensor:
    """What `SwitchFF.step` computes, without asking the device how many tokens experts get."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    probability, choice = F.linear(wide, layer.router.to(wide.dtype)).softmax(dim=-1).max(dim=-1)
    order = choice.argsort(stable=True)
    n_tokens = torch.zeros(layer.config.n_experts, dtype=torch.int64, device=x.device)
    n_tokens.scatter_add_(0, choice, torch.ones_like(choice))
    out = layer.experts(x.index_select(0, order), n_tokens, Replay())
    out = (out * probability.index_select(0, order)[:, None]).to(out.dtype)
    return torch.empty_like(out).index_copy(0, order, out)


def _roomy(rows: Tensor, dim: int, room: int) -> Tensor:
    """Zeros of the shape of rows, but for `room` along `dim`."""
    shape = list(rows.shape)
    shape[dim] = room
    return rows.new_zeros(shape)


def _refill(static: Tensor, dim: int, rows: Tensor, start: int) -> None:
    """Writes rows from `start` on along `dim`, zeros elsewhere."""
    static.zero_()
    static.narrow(dim, start, rows.shape[dim]).copy_(rows)
