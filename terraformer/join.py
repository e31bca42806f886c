"""Joining two sequences without padding between them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from terraformer.sparse_qkv import padding_is_last


class Joined(NamedTuple):
    """Where two padded sequences stand once joined.

    Attributes:
        at: Row of each position of the second, [B, T], int64.
        mask: True at real positions of the whole, [B, S + T].
    """

    at: Tensor
    mask: Tensor

    @classmethod
    def of(cls, first_mask: Tensor, second_mask: Tensor) -> Joined:
        """Puts the second sequence, mask [B, T], right behind the real part of the first, [B, S].

        Raises:
            ValueError: if one of them has padding before a real position.
        """
        for name, mask in (("first", first_mask), ("second", second_mask)):
            if not padding_is_last(mask):
                raise ValueError(f"{name}_mask has padding before real positions, put it last")
        lengths = first_mask.sum(dim=1, keepdim=True)
        places = torch.arange(first_mask.shape[1] + second_mask.shape[1], device=first_mask.device)
        at = lengths + places[: second_mask.shape[1]]
        return cls(at, places < lengths + second_mask.sum(dim=1, keepdim=True))

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Joins states [B, S, D] and [B, T, D] to [B, S + T, D].

        What stands behind the second sequence is left of the first one's padding, then zeros.

        Source: google/trax ConcatWithPadding.
        """
        room = torch.cat([first, torch.zeros_like(second)], dim=1)
        return room.scatter(1, self.at[..., None].expand_as(second), second)

    def second(self, joined: Tensor) -> Tensor:
        """Takes the second sequence out again, [B, T, D].

        Source: google/trax StripFromConcatenateWithPadding.
        """
        return joined.gather(1, self.at[..., None].expand(-1, -1, joined.shape[-1]))
