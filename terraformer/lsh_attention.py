"""Attention with shared queries and keys, restricted to hash buckets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import ops
from terraformer.attention import GrowingCache, merge_heads, require_causal, split_heads
from terraformer.config import LSHAttentionConfig
from terraformer.replay import Replay

_MAX_UNFACTORED = 128  # more buckets than that are a product of two numbers
_MAX_FACTOR = 256
_SELF_PENALTY = 1e5


@dataclass
class LSHAttentionState:
    """What a step needs of the positions so far; it changes in place.

    Attributes:
        qk, v: [B, H, L, K] each.
        buckets: [B, H, L, R], int64.
        n_buckets: Number of buckets these were hashed to.
    """

    qk: GrowingCache
    v: GrowingCache
    buckets: GrowingCache
    n_buckets: int


class LSHAttention(nn.Module):
    """Each position attends to positions of similar vectors, found by hashing.

    Hashing is done in float32 whatever the dtype of the states. The rotations come from
    `config.seed`, so the same input gives the same output. The number of buckets follows the
    number of real tokens of each example, so padding changes nothing. In a causal layer later
    positions have no weight, yet they do have a say in which earlier ones share a chunk.

    Args:
        config: Heads, rounds, chunks and seed.
        d_model: Width of the input and the output, D.
        causal: Whether a position sees only those before it; then no chunk after is looked at.
    Source: Kitaev et al. 2020, arXiv:2001.04451.
    """

    rotations: Tensor

    def __init__(self, config: LSHAttentionConfig, d_model: int, causal: bool) -> None:
        super().__init__()
        self.config = config
        self.causal = causal
        self.w_qk, self.w_v, self.w_o = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))
        for layer in (self.w_qk, self.w_v, self.w_o):
            nn.init.xavier_uniform_(layer.weight)
        if config.n_buckets is not None:
            factor_buckets(config.n_buckets)  # raises early
        generator = torch.Generator().manual_seed(config.seed)
        shape = (2, config.n_heads, d_model // config.n_heads, config.n_hashes, _MAX_FACTOR // 2)
        rotations = torch.randn(shape, generator=generator)
        self.register_buffer("rotations", rotations, persistent=False)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Attends over whole sequences.

        Args:
            x: [B, L, D].
            mask: [B, L], True for real tokens, wherever they stand; all are real if None.
            replay: Keeps the buckets.
        Returns:
            [B, L, D]; zero at padded positions.
        """
        qk, v = self._project(x)
        return self._attend(qk, v, mask, replay or Replay())

    def prefill(self, x: Tensor) -> tuple[Tensor, LSHAttentionState]:
        """Attends over whole sequences [B, L, D] without padding, from which `step` goes on."""
        qk, v = self._project(x)
        return self._attend(qk, v, None, Replay()), self._new_state(qk, v)

    def step(
        self, x_t: Tensor, state: LSHAttentionState | None = None
    ) -> tuple[Tensor, LSHAttentionState]:
        """Attends from one new position to its buckets and the latest chunk, without gradient.

        As long as `forward` would attend to everything, so does this; beyond, the candidates are
        those that share a bucket in any round, and the most recent `chunk_len` positions.

        Args:
            x_t: [B, D].
            state: Positions before it; none if None.
        Returns:
            [B, D]; the state with this position, which is `state`, changed.
        Raises:
            ValueError: if the layer is not causal.
        """
        require_causal(self.causal)
        with torch.no_grad():
            qk, v = self._project(x_t[:, None])
            if state is None:
                state = self._new_state(qk, v)
            else:
                state.qk.append(qk)
                state.v.append(v)
                state.buckets.append(self._hash(qk, state.n_buckets).transpose(-1, -2))
                if self._n_buckets(state.qk.length) >= 2 * state.n_buckets:
                    state = self._new_state(state.qk.rows, state.v.rows)
            return self.w_o(merge_heads(self._attend_step(qk, state)))[:, 0], state

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n_heads = self.config.n_heads
        return split_heads(self.w_qk(x), n_heads), split_heads(self.w_v(x), n_heads)

    def _attend(self, qk: Tensor, v: Tensor, mask: Tensor | None, replay: Replay) -> Tensor:
        out = ops.lsh_attention(
            qk,
            v,
            replay.keep(lambda: self._buckets(qk.detach(), mask)),
            mask,
            chunk_len=self.config.chunk_len,
            n_chunks_before=self.config.n_chunks_before,
            n_chunks_after=self._n_chunks_after,
            causal=self.causal,
        )
        return self.w_o(merge_heads(out))

    def _buckets(self, qk: Tensor, mask: Tensor | None) -> Tensor:
        """Buckets [B, H, R, L]; each example's number of them follows its own real tokens."""
        if mask is None:
            return self._hash(qk, self._n_buckets(qk.shape[2]))
        n_buckets = [self._n_buckets(length) for length in mask.sum(dim=-1).tolist()]
        if len(set(n_buckets)) == 1:
            return self._hash(qk, n_buckets[0])
        return torch.cat([self._hash(qk[i : i + 1], n) for i, n in enumerate(n_buckets)])

    def _hash(self, qk: Tensor, n_buckets: int) -> Tensor:
        factors = factor_buckets(n_buckets)
        used = [self.rotations[i, ..., : factor // 2] for i, factor in enumerate(factors)]
        return ops.hash_buckets(qk, torch.cat(used, dim=-1), factors)

    def _n_buckets(self, length: int) -> int:
        if self.config.n_buckets is not None:
            return self.config.n_buckets
        return min(2 * max(1, length // self.config.chunk_len), _MAX_FACTOR**2)

    @property
    def _n_chunks_after(self) -> int:
        return 0 if self.causal else self.config.n_chunks_after

    def _new_state(self, qk: Tensor, v: Tensor) -> LSHAttentionState:
        n_buckets = self._n_buckets(qk.shape[2])
        buckets = self._hash(qk.detach(), n_buckets).transpose(-1, -2)
        return LSHAttentionState(
            GrowingCache(qk.detach()), GrowingCache(v.detach()), GrowingCache(buckets), n_buckets
        )

    def _attend_step(self, q: Tensor, state: LSHAttentionState) -> Tensor:
        """Attends from the last position in the state, [B, H, 1, K]."""
        keys, buckets = state.qk.rows, state.buckets.rows
        length, chunk_len = state.qk.length, self.config.chunk_len
        scores = q.float() @ F.normalize(keys.float(), dim=-1).transpose(-1, -2)  # [B, H, 1, L]
        scores[..., -1] -= _SELF_PENALTY
        if -(-length // chunk_len) > self.config.n_chunks_before + 1:
            candidates = (buckets == buckets[:, :, -1:]).any(dim=-1)
            candidates[:, :, -chunk_len:] = True
            scores = scores.masked_fill(~candidates[:, :, None], -torch.inf)
        return scores.softmax(dim=-1).to(q.dtype) @ state.v.rows


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
