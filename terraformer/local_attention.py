"""Attention within chunks of the sequence and their neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from terraformer.attention import CachedAttention, KeyValueCache
from terraformer.attention_config import LocalAttentionConfig
from terraformer.cache import WindowCache
from terraformer.replay import Replay
from terraformer.softmax_attention import softmax_attention


class LocalAttention(CachedAttention):
    """Softmax attention within a chunk and its neighbours; memory grows with the length alone.

    Chunks are counted over the real tokens of an example, so padding changes nothing. A state
    holds the positions in reach, no more.

    Args:
        config: Heads, chunks and projections.
        d_model: Width of the input and the output, D.
        causal: Whether a position sees only itself and those before it; then no chunk after is
            looked at.
        as_published: Whether `forward` behaves as the published code, see below; without effect on
            steps.
    Source: google/trax SelfAttention with a chunk_len; Kitaev et al. 2020, arXiv:2001.04451.
    Differs: in the published code the first and the last chunk are neighbours, a key counts twice
        where there are fewer chunks than a query reaches, padding takes room in chunks, and the
        length must be a multiple of chunk_len. `as_published` restores all that.
    """

    def __init__(
        self, config: LocalAttentionConfig, d_model: int, causal: bool, as_published: bool = False
    ) -> None:
        super().__init__(config, d_model, causal)
        self.chunk_len = config.chunk_len
        self.n_chunks_before = config.n_chunks_before
        self.n_chunks_after = 0 if causal else config.n_chunks_after
        self.as_published = as_published

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, replay: Replay
    ) -> Tensor:
        if mask is None or self.as_published:
            return self._attend_in_order(q, k, v, mask, replay)
        order = (~mask).to(torch.uint8).argsort(dim=-1, stable=True)  # real tokens first
        q, k, v = (_take(item, order) for item in (q, k, v))
        real = torch.arange(mask.shape[1], device=mask.device) < mask.sum(dim=-1, keepdim=True)
        return _take(self._attend_in_order(q, k, v, real, replay), order.argsort(dim=-1))

    def _attend_in_order(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, replay: Replay
    ) -> Tensor:
        """Attends over [B, H, L, K], where chunks are those of L."""
        batch, _, length, _ = q.shape
        chunk_len = self.chunk_len if self.as_published else min(self.chunk_len, length)
        n_chunks = -(-length // chunk_len)
        if length % chunk_len and self.as_published:
            raise ValueError(
                f"the length ({length}) must be divisible by chunk_len ({chunk_len}) with"
                " as_published"
            )
        most = self.n_chunks_before + self.n_chunks_after if self.as_published else n_chunks - 1
        n_before, n_after = min(self.n_chunks_before, most), min(self.n_chunks_after, most)
        q, k, v = (_chunks(item, n_chunks, chunk_len) for item in (q, k, v))
        k, v = (_windows(item, n_before, n_after) for item in (k, v))

        time = torch.arange(n_chunks * chunk_len, device=q.device).view(n_chunks, chunk_len, 1)
        window = torch.arange((n_before + n_after + 1) * chunk_len, device=q.device)
        key_time = time[:, :1] - n_before * chunk_len + window  # [n, 1, W * C]
        if self.as_published:
            key_time = key_time % length
        own = time == key_time  # [n, C, W * C]
        reachable = ((key_time >= 0) & (key_time < length))[None]
        if mask is not None:
            reachable = reachable & mask[:, key_time.clamp(0, length - 1)]
        if self.causal:
            reachable = reachable & (key_time <= time)
        # A stand-in or a padded position that sees nothing would turn into NaN.
        reachable = reachable | (own & ~reachable.any(dim=-1, keepdim=True))
        out = softmax_attention(
            q.flatten(0, 1),
            k.flatten(0, 1),
            v.flatten(0, 1),
            reachable.expand(batch, -1, -1, -1).flatten(0, 1)[:, None],
            own=own.repeat(batch, 1, 1)[:, None] if self.qkv.shares_qk else None,
            dropout=self._dropout_now,
            replay=replay,
        )
        return out.unflatten(0, (batch, n_chunks)).transpose(1, 2).flatten(2, 3)[:, :, :length]

    def _new_cache(self, q: Tensor, k: Tensor, v: Tensor) -> KeyValueCache:
        sizes = self.chunk_len, self.n_chunks_before
        return KeyValueCache(WindowCache(k, *sizes), WindowCache(v, *sizes))


def _take(x: Tensor, order: Tensor) -> Tensor:
    """Rows of x [B, H, L, K] in an order [B, L]."""
    return x.gather(2, order[:, None, :, None].expand_as(x))


def _chunks(x: Tensor, n_chunks: int, chunk_len: int) -> Tensor:
    """[B, H, L, K] → [B, n, H, C, K], filled up with zeros."""
    padded = F.pad(x, (0, 0, 0, n_chunks * chunk_len - x.shape[2]))
    return padded.unflatten(2, (n_chunks, chunk_len)).transpose(1, 2)


def _windows(x: Tensor, n_before: int, n_after: int) -> Tensor:
    """Joins each chunk of x [B, n, H, C, K] with its neighbours in the circle of chunks, on C."""
    near = [x.roll(-offset, dims=1) for offset in range(-n_before, n_after + 1)]
    return torch.cat(near, dim=3)
