"""What a decoding step in C++ carries from token to token: which slots, and their contents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from kernels.packed import pack_panels, pack_rows
from terraformer.attention import AttentionState
from terraformer.decoding_plan import Ring


@dataclass(frozen=True)
class CacheSlots:
    """Slots of the keys and values of an attention layer.

    Attributes:
        keys, values: Their numbers.
        n_heads: Heads, H.
        d_head: Width of a head, K.
    """

    keys: int
    values: int
    n_heads: int
    d_head: int


@dataclass(frozen=True)
class AttentionSlots:
    """What an attention layer carries from token to token.

    Attributes:
        cache: Keys and values.
        qkv, output: Rings of the convolutions, in the order of the layer's own states.
    """

    cache: CacheSlots
    qkv: tuple[Ring, ...] = ()
    output: tuple[Ring, ...] = ()


@dataclass(frozen=True)
class CellSlots:
    """Slots of the cells of recurrent layers, each of `n_units`."""

    slots: tuple[int, ...]
    n_units: int


Slots = AttentionSlots | CellSlots


def new_slots(slots: Slots, state: Any, length: int, room: int) -> dict[int, Tensor]:
    """Returns the contents of a branch's slots.

    Args:
        slots: Of the branch.
        state: Of the branch, after `length` positions.
        length: Positions so far.
        room: Positions for which caches get room.
    """
    if isinstance(slots, CellSlots):
        cells = [cell[0] for cell in state or []]
        return {slot: cell.clone() for slot, cell in zip(slots.slots, cells, strict=True)}
    assert isinstance(state, AttentionState)
    cache, rows = state.cache, state.cache.k.rows.shape[2]
    start = length - rows  # the cache of a local layer lacks those out of reach
    contents = new_cache(slots.cache, cache.k.rows[0], cache.v.rows[0], start, room)
    for rings, inputs in ((slots.qkv, state.qkv), (slots.output, (state.output,))):
        for ring, before in dict(zip(rings, inputs if rings else (), strict=True)).items():
            contents[ring.slot] = _new_ring(ring, before[0], length)
    return contents


def new_cache(slots: CacheSlots, k: Tensor, v: Tensor, start: int, room: int) -> dict[int, Tensor]:
    """Returns the contents of the slots of keys and values.

    Args:
        slots: Of the cache.
        k: [H, L, K].
        v: [H, L, K].
        start: Position of the first of them.
        room: Positions for which there is room.
    """
    keys, values = (F.pad(item, (0, 0, start, room - start - item.shape[1])) for item in (k, v))
    return {
        slots.keys: pack_panels(keys).weights,
        slots.values: pack_rows((values,)).weights[..., 0, :].contiguous(),
    }


def _new_ring(ring: Ring, before: Tensor, length: int) -> Tensor:
    """Returns a ring with the inputs `before` [positions - 1, D] of the last positions."""
    contents = before.new_zeros(ring.n_positions, ring.stride)
    for back, row in enumerate(before.flip(0), start=1):
        at = (length - back) % ring.n_positions
        contents[at, ring.d_beside : ring.d_beside + ring.d_in] = row
    return contents
