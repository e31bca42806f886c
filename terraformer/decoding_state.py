"""What the decoding step in C++ carries from token to token."""

from __future__ import annotations

import array
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from terraformer.copy_head import CopySource
from terraformer.decoding_caches import Contents


@dataclass
class FastState:
    """What decoding carries from token to token; a step changes it in place.

    Attributes:
        position: Of the next token that is read.
        length: Positions in the caches: a decoder that joins counts those of the source too.
        room: Positions for which the caches have room.
        memory_length: Positions of an encoder that is attended to.
        memory_room: Positions for which its keys and values have room.
        slots: Contents of the slots.
        addresses: Addresses of the contents.
        encodings: Of the positions from `first_encoding` on, [n, D].
        first_encoding: A position.
        source: What a copy path needs of the source; None without one.
        shared: Slots that no step changes.
    """

    position: int
    length: int
    room: int
    memory_length: int
    memory_room: int
    slots: list[Tensor]
    addresses: array.array[int]
    encodings: Tensor
    first_encoding: int
    source: CopySource | None = None
    shared: frozenset[int] = frozenset()

    def __deepcopy__(self, memo: dict[int, Any]) -> FastState:
        """Returns a state that goes its own way; what no step changes is shared."""
        slots = [
            tensor if slot in self.shared else tensor.clone()
            for slot, tensor in enumerate(self.slots)
        ]
        return replace(self, slots=slots, addresses=addresses_of(slots))

    def put(self, contents: Contents) -> None:
        """Puts other contents into some slots."""
        for slot, tensor in contents.items():
            self.slots[slot] = tensor
            self.addresses[slot] = tensor.data_ptr()


def addresses_of(slots: list[Tensor]) -> array.array[int]:
    """Returns where the contents of the slots lie."""
    return array.array("q", (tensor.data_ptr() for tensor in slots))
