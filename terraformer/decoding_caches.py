"""The caches of attention in a decoding step in C++: which slots, and what they hold.

Each kind has the same verbs. `contents` makes what the slots hold of a layer's own cache, `grown`
gives them more room, and `rehashed` returns what one more position needs anew, because its hash has
to tell more buckets apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import huge_pages
from kernels.packed import PANEL_ROWS, pack_panels, pack_rows, round_up
from terraformer.attention import KeyValueCache
from terraformer.cross_attention import CrossAttentionState
from terraformer.lsh_attention import LSHAttention, LSHCache, factor_buckets
from terraformer.selected_cache import SelectedCache

Contents = dict[int, Tensor]
"""What slots hold, by their number."""

LayerCache = KeyValueCache | LSHCache | SelectedCache | CrossAttentionState


@dataclass(frozen=True)
class PanelSlots:
    """Slots of keys and values of which all are read, or the last ones.

    Attributes:
        keys, values: Their numbers.
    """

    keys: int
    values: int

    def contents(self, cache: LayerCache, length: int, room: int) -> Contents:
        k, v = cached_rows(cache)
        start = length - k.shape[1]  # the cache of a local layer lacks those out of reach
        keys, values = (F.pad(item, (0, 0, start, room - length)) for item in (k, v))
        panels = pack_panels(keys).weights
        return {self.keys: _in_pages(panels), self.values: _in_pages(_filled_up(values))}

    def grown(self, slots: list[Tensor], more: int) -> Contents:
        keys, values = slots[self.keys], slots[self.values]
        return {
            self.keys: _with_room(keys, more // PANEL_ROWS),
            self.values: _with_room(values, more),
        }

    def rehashed(self, slots: list[Tensor], length: int) -> Contents:
        return {}


@dataclass(frozen=True)
class SelectedSlots:
    """Slots of a `SelectedCache`; widths of heads are filled up to sixteens.

    Attributes:
        rows: Keys and values side by side, [H, room, 2, K].
        buckets: Of the table, positions and how far their keys reach, [H, R, N, 2, C], int32.
        sums: Of keys and values of the middle, [H, 2, K].

    The position that will leave the recent ones at the next step is in the table already, so that
    no step waits for the bucket that it has to change.
    """

    rows: int
    buckets: int
    sums: int

    def contents(self, cache: LayerCache, length: int, room: int) -> Contents:
        contents = {self.rows: _side_by_side(*cached_rows(cache), room)}
        if not isinstance(cache, SelectedCache):  # a memory of which all is read
            return contents
        if cache.n_recent:
            cache.enter_middle(length - cache.n_recent)
        sums = torch.cat([cache.key_sum, cache.value_sum], dim=2)
        contents[self.sums] = _filled_up(sums[0])
        if cache.table is not None:
            both = [cache.table.positions[0], cache.table.reaches[0].view(torch.int32)]
            contents[self.buckets] = torch.stack(both, dim=-2)
        return contents

    def grown(self, slots: list[Tensor], more: int) -> Contents:
        return {self.rows: _with_room(slots[self.rows], more)}

    def rehashed(self, slots: list[Tensor], length: int) -> Contents:
        return {}


@dataclass(frozen=True)
class ChainSlots:
    """Slots of an `LSHCache`, whose buckets are chains of positions from the last one back.

    Attributes:
        rows: Keys and values side by side, [H, room, 2, K], K filled up to sixteens.
        last: The last position of each bucket, [H, R, N], int32; -1 if there is none.
        before: The one before each position in its bucket, [H, room, R], int32; -1 if none.
        directions: Of the hash, [H] times panels.
        digits: Values of both digits of a bucket, and the number of buckets asked for, [3], int64.
        layer: Whose cache it is.
        d_head: Width of a head.
    """

    rows: int
    last: int
    before: int
    directions: int
    digits: int
    layer: LSHAttention
    d_head: int

    def contents(self, cache: LayerCache, length: int, room: int) -> Contents:
        assert isinstance(cache, LSHCache)
        contents = {self.rows: _side_by_side(*cached_rows(cache), room)}
        return contents | self._chains(cache.buckets.rows[0].mT, cache.n_buckets, room)

    def grown(self, slots: list[Tensor], more: int) -> Contents:
        return {slot: _with_room(slots[slot], more) for slot in (self.rows, self.before)}

    def rehashed(self, slots: list[Tensor], length: int) -> Contents:
        n_buckets = self.layer.n_buckets(length + 1)
        if n_buckets < 2 * int(slots[self.digits][2]):
            return {}
        rows = slots[self.rows]
        buckets = self.layer.hash(rows[None, :, :length, 0, : self.d_head], n_buckets)
        return self._chains(buckets[0], n_buckets, rows.shape[1])

    def _chains(self, buckets: Tensor, n_buckets: int, room: int) -> Contents:
        """Chains positions whose buckets are [H, R, L]."""
        low, high = (*factor_buckets(n_buckets), 1)[:2]
        last, before = _chained(buckets.long(), low * high)
        before = F.pad(before.mT, (0, 0, 0, room - before.shape[-1])).contiguous()
        directions = self.layer.used_rotations(n_buckets).permute(0, 2, 3, 1).flatten(1, 2)
        return {
            self.last: last,
            self.before: before,
            self.directions: pack_panels(directions).weights,
            self.digits: torch.tensor([low, high, n_buckets]),
        }


CacheSlots = PanelSlots | SelectedSlots | ChainSlots


def cached_rows(cache: LayerCache) -> tuple[Tensor, Tensor]:
    """Returns keys and values of the one text in a cache, without padding, [H, L, K] each."""
    if not isinstance(cache, CrossAttentionState):
        return cache.k.rows[0], cache.v.rows[0]
    if cache.mask is None:
        return cache.k[0], cache.v[0]
    return cache.k[0][:, cache.mask[0]], cache.v[0][:, cache.mask[0]]


def _filled_up(rows: Tensor) -> Tensor:
    """[H, L, K] with K filled up to a multiple of sixteen."""
    return pack_rows((rows,)).weights[..., 0, :].contiguous()


def _side_by_side(keys: Tensor, values: Tensor, room: int) -> Tensor:
    """[H, L, K] each → [H, room, 2, K], K filled up to a multiple of sixteen."""
    n_heads, length, d_head = keys.shape
    rows = huge_pages.zeros((n_heads, room, 2, round_up(d_head)))
    rows[:, :length, 0, :d_head] = keys
    rows[:, :length, 1, :d_head] = values
    return rows


def _with_room(contents: Tensor, more: int) -> Tensor:
    """[H, L, …] → [H, L + more, …], filled up with zeros."""
    n_heads, length, *rest = contents.shape
    roomy = huge_pages.zeros((n_heads, length + more, *rest), contents.dtype)
    roomy[:, :length] = contents
    return roomy


def _in_pages(contents: Tensor) -> Tensor:
    return huge_pages.zeros(contents.shape).copy_(contents)


def _chained(buckets: Tensor, n_buckets: int) -> tuple[Tensor, Tensor]:
    """Returns the last position of each bucket, and the one before each position in its own.

    Args:
        buckets: [H, R, L], int64.
        n_buckets: N.
    Returns:
        [H, R, N] and [H, R, L], int32; -1 where there is none.
    """
    order = buckets.argsort(dim=-1, stable=True)
    bucket = buckets.gather(-1, order)
    goes_on = bucket[..., 1:] == bucket[..., :-1]
    before = torch.full_like(buckets, -1)
    before.scatter_(-1, order, F.pad(torch.where(goes_on, order[..., :-1], -1), (1, 0), value=-1))
    ends = torch.where(F.pad(goes_on, (0, 1)), n_buckets, bucket)  # of chains, others beyond
    last = buckets.new_full((*buckets.shape[:2], n_buckets + 1), -1)
    last.scatter_(-1, ends, order)
    return last[..., :-1].int().contiguous(), before.int()
