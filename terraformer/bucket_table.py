"""Positions listed by the hash of their key, where a query finds keys that point its way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

NOTHING = -1
"""Stands in a bucket where there is room for a position."""

N_TURNS = 3
"""Turns that make a random rotation, each of signs and a Hadamard matrix."""

_KEYS_AT_ONCE = 2048  # bounds the memory of products with all directions


@dataclass(frozen=True)
class TableSizes:
    """Sizes of a table, whatever the number of positions that it is shown.

    Attributes:
        n_hashes: Rounds of hashing, R.
        n_buckets: Buckets of a round, N, even: half as many directions, in both senses.
        n_per_bucket: Most positions of a bucket, C.
        n_probes: Buckets of a round that a query looks into, at most N / 2.
        seed: Of the directions.
    """

    n_hashes: int
    n_buckets: int
    n_per_bucket: int
    n_probes: int
    seed: int


class BucketTable:
    """For each random direction the positions whose keys reach farthest its way.

    A key belongs to the bucket of the direction that it meets best, in each round. A bucket that
    is full keeps those that meet its direction best. A query looks into the buckets whose
    directions it meets best itself: keys there are long and point its way.

    Args:
        keys: Keys of the first positions, [B, H, M, K].
        start: Position of the first of them.
        sizes: Of the table.
    Source: Kitaev et al. 2020, arXiv:2001.04451, for the hash; Lv et al. 2007 (multi-probe LSH) for
        several buckets a round; Pham 2021, arXiv:2012.11098, for extremes of random directions.
    """

    def __init__(self, keys: Tensor, start: int, sizes: TableSizes) -> None:
        self.sizes = sizes
        self.directions = random_directions(sizes, keys.shape[-1]).to(keys.device)
        shape = (*keys.shape[:2], sizes.n_hashes, sizes.n_buckets, sizes.n_per_bucket)
        self.positions = torch.full(shape, NOTHING, dtype=torch.int32, device=keys.device)
        self.reaches = torch.full(shape, -torch.inf, device=keys.device)
        if keys.shape[2]:
            self._fill(keys, start)

    def insert(self, key: Tensor, position: int) -> None:
        """Lists one more position under its key, [B, H, 1, K], unless others reach farther."""
        reach, bucket = self._meet(key)[..., 0, :].max(dim=-1, keepdim=True)  # [B, H, R, 1]
        index = bucket[..., None].expand(*bucket.shape, self.sizes.n_per_bucket)
        least, place = self.reaches.gather(3, index)[..., 0, :].min(dim=-1, keepdim=True)
        place = place + bucket * self.sizes.n_per_bucket
        reaches, positions = self.reaches.flatten(3), self.positions.flatten(3)
        listed = torch.where(reach > least, position, positions.gather(3, place))
        positions.scatter_(3, place, listed.to(positions.dtype))
        reaches.scatter_(3, place, torch.maximum(reach, least))

    def find(self, q: Tensor) -> Tensor:
        """Returns the positions listed where a query looks.

        Args:
            q: [B, H, 1, K].
        Returns:
            [B, H, R * probes * C], int32, `NOTHING` where a bucket has room left. A position is
            there as often as rounds have found it.
        """
        bucket = self._meet(q)[..., 0, :].topk(self.sizes.n_probes).indices  # [B, H, R, probes]
        index = bucket[..., None].expand(*bucket.shape, self.sizes.n_per_bucket)
        return self.positions.gather(3, index).flatten(2)

    def _meet(self, x: Tensor) -> Tensor:
        """Products of x [B, H, M, K] with all directions in both senses, [B, H, R, M, N]."""
        met = torch.einsum("bhmk,krw->bhrmw", x.float(), self.directions)
        return torch.cat([met, -met], dim=-1)

    def _fill(self, keys: Tensor, start: int) -> None:
        """Lists the first positions, whose keys are [B, H, M, K]."""
        sizes = self.sizes
        parts = [self._meet(part).max(dim=-1) for part in keys.split(_KEYS_AT_ONCE, dim=2)]
        reach = torch.cat([part.values for part in parts], dim=-1)  # [B, H, R, M]
        bucket = torch.cat([part.indices for part in parts], dim=-1)
        order = reach.argsort(dim=-1, descending=True, stable=True)
        order = order.gather(3, bucket.gather(3, order).argsort(dim=-1, stable=True))
        bucket, reach = bucket.gather(3, order), reach.gather(3, order)
        buckets = torch.arange(sizes.n_buckets, device=keys.device).expand(*bucket.shape[:3], -1)
        begin = torch.searchsorted(bucket, buckets.contiguous())
        rank = torch.arange(keys.shape[2], device=keys.device) - begin.gather(3, bucket)
        beyond = sizes.n_buckets * sizes.n_per_bucket
        place = torch.where(rank < sizes.n_per_bucket, bucket * sizes.n_per_bucket + rank, beyond)
        for table, items in ((self.positions, (order + start).int()), (self.reaches, reach)):
            roomy = F.pad(table.flatten(3), (0, 1)).scatter(3, place, items)
            table.copy_(roomy[..., :-1].view_as(table))


def random_signs(sizes: TableSizes, d_head: int) -> Tensor:
    """Returns the signs of the turns that make the directions, [3, W, R], W a power of two."""
    width = 1 << (max(d_head, sizes.n_buckets // 2) - 1).bit_length()
    generator = torch.Generator().manual_seed(sizes.seed)
    shape = (N_TURNS, width, sizes.n_hashes)
    return 2.0 * torch.randint(2, shape, generator=generator, device="cpu") - 1.0


@lru_cache(maxsize=8)
def random_directions(sizes: TableSizes, d_head: int) -> Tensor:
    """Returns the directions, [K, R, N / 2], the same for the same sizes.

    Those of a round are rows of H S H S H S / W^1.5, where H is Hadamard's matrix of W and S a
    diagonal of signs, another one each time: at right angles where the head is W wide.

    Source: Andoni et al. 2015, arXiv:1509.02897 (pseudo-random rotations).
    """
    signs = random_signs(sizes, d_head)
    width = signs.shape[1]
    hadamard = torch.ones(1, 1)
    while len(hadamard) < width:
        hadamard = torch.cat([torch.cat([hadamard, hadamard]), torch.cat([hadamard, -hadamard])], 1)
    turned = torch.eye(width)[:, None].expand(-1, sizes.n_hashes, -1)  # [component, R, W]
    for turn in signs:
        turned = turned * turn.T @ hadamard / width**0.5
    return turned[:d_head, :, : sizes.n_buckets // 2].contiguous()
