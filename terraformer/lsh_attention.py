"""Attention with shared queries and keys, restricted to hash buckets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import ops
from terraformer.attention import SelfAttention, split_heads
from terraformer.attention_config import LSHAttentionConfig
from terraformer.cache import GrowingCache
from terraformer.projection import QKV
from terraformer.replay import Replay
from terraformer.rotary import rotate
from terraformer.softmax_attention import last_own_key, softmax_attention, unit_keys

_MAX_UNFACTORED = 128  # more buckets than that are a product of two numbers
_MAX_FACTOR = 256


@dataclass
class LSHCache:
    """What a step needs of the positions so far; it changes in place.

    Attributes:
        k: Queries scaled to unit length, [B, H, L, K].
        v: Values, [B, H, L, K].
        buckets: [B, H, L, R], int32.
        n_buckets: Number of buckets these were hashed to.
    """

    k: GrowingCache
    v: GrowingCache
    buckets: GrowingCache
    n_buckets: int


class LSHAttention(SelfAttention):
    """Each position attends to positions of similar vectors, found by hashing.

    Hashing is done in float32 whatever the dtype of the states. The rotations come from
    `config.seed`, so the same input gives the same output. The number of buckets follows the
    number of real tokens of each example, so padding changes nothing. In a causal layer later
    positions have no weight, yet they do have a say in which earlier ones share a chunk. Where the
    projections make queries and keys apart, their mean is both. In training, weights are dropped
    by one mask an example and head, the same for all chunks.

    A step attends to everything as long as `forward` would; beyond, to the positions that share a
    bucket with it in any round, and to the most recent `chunk_len`.

    Args:
        config: Heads, rounds, chunks, seed and projections.
        d_model: Width of the input and the output, D.
        causal: Whether a position sees only those before it; then no chunk after is looked at.
        as_published: Whether `forward` behaves as the published code where
            `kernels.lsh_attention.reference.lsh_attention` differs, and lets the number of buckets
            follow the length with its padding. Slow; without effect on steps.
    Source: Kitaev et al. 2020, arXiv:2001.04451; google/trax LSHSelfAttention and
        PureLSHSelfAttentionWrapper.
    Differs: the published code draws new rotations at each call, evaluation included, one for each
        example and head; its steps fill up with other buckets' positions.
    """

    def __init__(
        self, config: LSHAttentionConfig, d_model: int, causal: bool, as_published: bool = False
    ) -> None:
        super().__init__(config, d_model, causal)
        self.config = config
        self.as_published = as_published
        if config.n_buckets is not None:
            factor_buckets(config.n_buckets)  # raises early
        generator = torch.Generator().manual_seed(config.seed)
        shape = (2, config.n_heads, d_model // config.n_heads, config.n_hashes, _MAX_FACTOR // 2)
        # Not a buffer: float32 also where the model is cast, and real where it is made on "meta".
        self.rotations = torch.randn(shape, generator=generator, device="cpu")

    def _heads(self, projected: QKV, positions: Tensor) -> QKV:
        q, k, v = projected
        qk = split_heads(q if self.qkv.shares_qk else (q + k) / 2, self.n_heads)
        if self.rotary:
            qk = rotate(qk, positions)
        return qk, qk, split_heads(v, self.n_heads)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, replay: Replay
    ) -> Tensor:
        buckets = replay.keep(lambda: _narrow(self._buckets(q.detach(), mask))).long()
        return ops.lsh_attention(
            q,
            v,
            buckets,
            mask,
            chunk_len=self.config.chunk_len,
            n_chunks_before=self.config.n_chunks_before,
            n_chunks_after=self._n_chunks_after,
            causal=self.causal,
            weight_scale=self._drop(q, replay),
            as_published=self.as_published,
        )

    def _drop(self, q: Tensor, replay: Replay) -> Tensor | None:
        """Draws what weights are multiplied by, [B, H, C, W * C] for chunks of C reaching W."""
        if not self._dropout_now:
            return None
        config = self.config
        n_reached = config.n_chunks_before + 1 + self._n_chunks_after
        ones = q.new_ones(*q.shape[:2], config.chunk_len, n_reached * config.chunk_len)
        with replay.same_random(q.device):
            return F.dropout(ones, self._dropout_now)

    def _new_cache(self, q: Tensor, k: Tensor, v: Tensor) -> LSHCache:
        n_buckets = self.n_buckets(q.shape[2])
        buckets = GrowingCache(self._step_buckets(q, n_buckets))
        return LSHCache(GrowingCache(unit_keys(q)), GrowingCache(v), buckets, n_buckets)

    def _append(self, cache: LSHCache, q: Tensor, k: Tensor, v: Tensor) -> None:
        cache.k.append(unit_keys(q))
        cache.v.append(v)
        n_buckets = self.n_buckets(cache.k.length)
        if n_buckets >= 2 * cache.n_buckets:
            cache.buckets = GrowingCache(self._step_buckets(cache.k.rows, n_buckets))
            cache.n_buckets = n_buckets
        else:
            cache.buckets.append(self._step_buckets(q, cache.n_buckets))

    def _attend_step(self, q: Tensor, cache: LSHCache) -> Tensor:
        length, chunk_len = cache.k.length, self.config.chunk_len
        keys, values, candidates = cache.k.rows, cache.v.rows, None
        own = last_own_key(length, q.device)
        if length > self.n_chunks_seen * chunk_len:
            buckets = cache.buckets.rows
            candidates = (buckets == buckets[:, :, -1:]).any(dim=-1)  # [B, H, L]
            candidates[..., -chunk_len:] = True
            places, candidates = _listed(candidates)
            own = (places == length - 1)[:, :, None]
            places = places[..., None].expand(*places.shape, keys.shape[-1])
            keys, values = keys.gather(2, places), values.gather(2, places)
            candidates = candidates[:, :, None]
        return softmax_attention(q, keys, values, candidates, own=own)

    def _step_buckets(self, qk: Tensor, n_buckets: int) -> Tensor:
        """Buckets of qk [B, H, L, K], [B, H, L, R], int32."""
        return self.hash(qk, n_buckets).transpose(-1, -2).to(torch.int32)

    def _buckets(self, qk: Tensor, mask: Tensor | None) -> Tensor:
        """Buckets [B, H, R, L]; each example's number of them follows its own real tokens."""
        if mask is None or self.as_published:
            return self.hash(qk, self.n_buckets(qk.shape[2]))
        n_buckets = [self.n_buckets(length) for length in mask.sum(dim=-1).tolist()]
        if len(set(n_buckets)) == 1:
            return self.hash(qk, n_buckets[0])
        return torch.cat([self.hash(qk[i : i + 1], n) for i, n in enumerate(n_buckets)])

    def hash(self, qk: Tensor, n_buckets: int) -> Tensor:
        """Returns the buckets of vectors [B, H, L, K], [B, H, R, L], int64."""
        if self.rotations.device != qk.device:
            self.rotations = self.rotations.to(qk.device)
        return ops.hash_buckets(qk, self.used_rotations(n_buckets), factor_buckets(n_buckets))

    def used_rotations(self, n_buckets: int) -> Tensor:
        """Returns the random directions for a number of buckets, [H, K, R, W]."""
        factors = factor_buckets(n_buckets)
        used = [self.rotations[i, ..., : factor // 2] for i, factor in enumerate(factors)]
        return torch.cat(used, dim=-1)

    def n_buckets(self, length: int) -> int:
        """Returns how many buckets there are for so many positions."""
        if self.config.n_buckets is not None:
            return self.config.n_buckets
        return min(2 * max(1, length // self.config.chunk_len), _MAX_FACTOR**2)

    @property
    def n_chunks_seen(self) -> int:
        """Chunks within which a position attends to everything before it."""
        return self.config.n_chunks_before + 1

    @property
    def _n_chunks_after(self) -> int:
        return 0 if self.causal else self.config.n_chunks_after


def _narrow(buckets: Tensor) -> Tensor:
    """Buckets in as few bytes as hold them, for as long as they are kept."""
    few = int(buckets.max()) < torch.iinfo(torch.int16).max
    return buckets.to(torch.int16 if few else torch.int32)


def _listed(candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Returns where candidates [B, H, L] are True, and whether that counts, [B, H, N] each.

    N is the largest number; rows with fewer are filled up.
    """
    rank = candidates.cumsum(dim=-1)
    n_true = rank[..., -1:]
    wanted = torch.arange(1, int(n_true.max()) + 1, device=rank.device).expand(*rank.shape[:2], -1)
    places = torch.searchsorted(rank, wanted.contiguous()).clamp(max=rank.shape[-1] - 1)
    return places, wanted <= n_true


def factor_buckets(n_buckets: int) -> tuple[int, ...]:
    """Returns even factors of a number of buckets, which they reach nearly where it is large.

    Raises:
        ValueError: if n_buckets is odd, below 2 or above 65536.
    """
    if n_buckets < 2 or n_buckets % 2 or n_buckets > _MAX_FACTOR**2:
        raise ValueError(f"n_buckets ({n_buckets}) must be even and between 2 and {_MAX_FACTOR**2}")
    if n_buckets <= _MAX_UNFACTORED:
        return (n_buckets,)
    first = 2 ** math.ceil(math.log2(math.sqrt(n_buckets)))
    return (first, 2 * (n_buckets // (2 * first)))
