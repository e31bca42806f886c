"""Caches of which a step reads some positions only, so that its cost does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import ops
from terraformer.bucket_table import BucketTable, TableSizes
from terraformer.cache import GrowingCache
from terraformer.softmax_attention import last_own_key, softmax_attention


@dataclass(frozen=True)
class SelectedCacheConfig:
    """Which positions of its cache a step of full attention reads, instead of all of them.

    Attributes:
        n_first: The first positions of the sequence, which many heads rest on.
        n_recent: The latest positions, the present one among them.
        n_hashes: Rounds of hashing that select positions between those; 0 selects none.
        n_buckets: Buckets of a round, an even number.
        n_per_bucket: Most positions of a bucket; those stay whose keys reach farthest its way.
        n_probes: Buckets of a round that a query looks into.
        mean_of_rest: Whether the positions that are not read count with their number, the mean of
            their scores and the mean of their values; else they count for nothing.
        seed: Of the hashes.
    Source: Xiao et al. 2023, arXiv:2309.17453, for the first positions; Kitaev et al. 2020,
        arXiv:2001.04451, for the hashes.
    """

    n_first: int = 4
    n_recent: int = 128
    n_hashes: int = 8
    n_buckets: int = 128
    n_per_bucket: int = 8
    n_probes: int = 2
    mean_of_rest: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "n_first": 0,
            "n_recent": 1,
            "n_hashes": 0,
            "n_buckets": 2,
            "n_per_bucket": 1,
            "n_probes": 1,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least {bound}")
        if self.n_buckets % 2:
            raise ValueError(f"n_buckets ({self.n_buckets}) must be even")
        if 2 * self.n_probes > self.n_buckets:
            raise ValueError(
                f"n_probes ({self.n_probes}) must be at most half of n_buckets ({self.n_buckets})"
            )

    @property
    def n_read(self) -> int:
        """Most positions that a step reads."""
        return self.n_first + self.n_recent + self.n_hashes * self.n_probes * self.n_per_bucket

    @property
    def table_sizes(self) -> TableSizes:
        """Sizes of the table that selects."""
        return TableSizes(
            self.n_hashes, self.n_buckets, self.n_per_bucket, self.n_probes, self.seed
        )


class SelectedCache:
    """Keys and values of all positions, and what a step needs to choose among them.

    Positions between the first and the recent ones are the middle. A position comes there when it
    is no longer recent; then it is listed under its key, less the mean of the keys that came before
    (what is common to all keys changes no softmax), and added to the sums. So nothing depends on
    which positions were there from the beginning.

    Args:
        k: Keys of the positions so far, [B, H, L, K].
        v: Values, [B, H, L, K].
        config: What is read.
        n_recent: Other than the config's: 0 where no position is the present one, as in the memory
            of an encoder.
    """

    def __init__(
        self, k: Tensor, v: Tensor, config: SelectedCacheConfig, n_recent: int | None = None
    ) -> None:
        self.config = config
        self.n_recent = config.n_recent if n_recent is None else n_recent
        self.k, self.v = GrowingCache(k), GrowingCache(v)
        middle = slice(config.n_first, max(config.n_first, k.shape[2] - self.n_recent))
        keys, values = k[:, :, middle].float(), v[:, :, middle].float()
        self.key_sum = keys.sum(dim=2, keepdim=True)  # [B, H, 1, K]
        self.value_sum = values.sum(dim=2, keepdim=True)
        self.table = None
        if config.n_hashes:
            before = torch.arange(keys.shape[2], device=k.device).clamp(min=1)[:, None]
            centre = (keys.cumsum(dim=2) - keys) / before
            self.table = BucketTable(keys - centre, config.n_first, config.table_sizes)

    @property
    def length(self) -> int:
        """Positions so far."""
        return self.k.length

    @property
    def n_middle(self) -> int:
        """Positions of the middle."""
        return max(0, self.length - self.n_recent - self.config.n_first)

    def append(self, k: Tensor, v: Tensor) -> None:
        """Adds one position, [B, H, 1, K] each."""
        self.k.append(k)
        self.v.append(v)
        self.enter_middle(self.length - self.n_recent - 1)

    def enter_middle(self, position: int) -> None:
        """Takes in a position that is no longer recent, after all before it."""
        count = position - self.config.n_first
        if count < 0:
            return
        key = self.k.rows[:, :, position : position + 1].float()
        if self.table is not None:
            self.table.insert(key - self.key_sum / max(1, count), position)
        self.key_sum += key
        self.value_sum += self.v.rows[:, :, position : position + 1]

    def attend(self, q: Tensor, shares_qk: bool = False) -> Tensor:
        """Attends from the last position, or from one outside.

        Args:
            q: [B, H, 1, K].
            shares_qk: Whether queries serve as keys: then the last position sees itself only if it
                sees no other, and scores are not divided by sqrt(K).
        Returns:
            [B, H, 1, K].
        """
        if not self.n_middle:
            own = last_own_key(self.length, q.device) if shares_qk else None
            return softmax_attention(q, self.k.rows, self.v.rows, own=own)
        places, real, n_near = self._places(q)
        keys, values = (_take(item.rows, places).float() for item in (self.k, self.v))
        q = q.float() * (1.0 if shares_qk else q.shape[-1] ** -0.5)
        scores = (q * keys).sum(dim=-1)  # [B, H, N]
        if shares_qk:
            scores[:, :, n_near - 1] -= ops.SELF_PENALTY
        chosen = real.clone()
        chosen[..., :n_near] = False
        rest, n_rest = self._score_rest(q, scores, chosen)
        scores = torch.cat([scores.masked_fill(~real, -torch.inf), rest], dim=-1)
        weights, share = scores.softmax(dim=-1).split([places.shape[-1], 1], dim=-1)
        share = share / n_rest.clamp(min=1)
        # The mean of the rest is that of the middle less what was chosen there.
        out = ((weights - share * chosen)[..., None] * values).sum(dim=2, keepdim=True)
        return (out + share[..., None] * self.value_sum).to(self.v.rows.dtype)

    def _score_rest(self, q: Tensor, scores: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Scores the rest of the middle as one, given which of the scores [B, H, N] belong there.

        Returns:
            Their score, [B, H, 1], -inf where it does not count; their number, [B, H, 1].
        """
        n_rest = self.n_middle - chosen.sum(dim=-1, keepdim=True)
        total = (q * self.key_sum).sum(dim=-1) - (scores * chosen).sum(dim=-1, keepdim=True)
        number = n_rest.clamp(min=1)
        counts = (n_rest > 0) & self.config.mean_of_rest
        return torch.where(counts, total / number + number.log(), -torch.inf), n_rest

    def _places(self, q: Tensor) -> tuple[Tensor, Tensor, int]:
        """Returns the positions read, whether each counts, and how many of them are not the middle.

        Both are [B, H, N]; the latter count all, and the present position is the last of them.
        """
        config, device = self.config, q.device
        near = torch.cat(
            [
                torch.arange(config.n_first, device=device),
                torch.arange(self.length - self.n_recent, self.length, device=device),
            ]
        ).expand(*q.shape[:2], -1)
        if self.table is None:
            return near, torch.ones_like(near, dtype=torch.bool), near.shape[-1]
        found = self.table.find(q).long().sort(dim=-1).values
        again = F.pad(found[..., 1:] == found[..., :-1], (1, 0))
        real = torch.cat([torch.ones_like(near, dtype=torch.bool), (found >= 0) & ~again], dim=-1)
        return torch.cat([near, found.clamp(min=0)], dim=-1), real, near.shape[-1]


def _take(rows: Tensor, places: Tensor) -> Tensor:
    """Rows of [B, H, L, K] at places [B, H, N], [B, H, N, K]."""
    return rows.gather(2, places[..., None].expand(*places.shape, rows.shape[-1]))
