"""What the branches of a decoder carry from token to token, in a decoding step in C++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from terraformer.attention import AttentionState
from terraformer.decoding_caches import CacheSlots, Contents
from terraformer.decoding_plan import Ring


@dataclass(frozen=True)
class AttentionSlots:
    """Slots of an attention layer.

    Attributes:
        cache: Of its keys and values.
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


def new_slots(slots: Slots, state: Any, length: int, room: int) -> Contents:
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
    contents = slots.cache.contents(state.cache, length, room)
    for rings, inputs in ((slots.qkv, state.qkv), (slots.output, (state.output,))):
        for ring, before in dict(zip(rings, inputs if rings else (), strict=True)).items():
            contents[ring.slot] = _new_ring(ring, before[0], length)
    return contents


def _new_ring(ring: Ring, before: Tensor, length: int) -> Tensor:
    """Returns a ring with the inputs `before` [positions - 1, D] of the last positions."""
    contents = before.new_zeros(ring.n_positions, ring.stride)
    for back, row in enumerate(before.flip(0), start=1):
        at = (length - back) % ring.n_positions
        contents[at, ring.d_beside : ring.d_beside + ring.d_in] = row
    return contents
