"""A decoder that writes a given text, for tests of what is made of a written one."""

from __future__ import annotations

import torch
from torch import Tensor

from terraformer.tokenizer import EOS_ID


class Reciting:
    """Gives each token of a text the highest logit in its turn, then end-of-sequence, then again.

    Attributes:
        source: What it was given to read last.
    """

    def __init__(self, ids: list[int], vocab_size: int) -> None:
        self._ids, self._vocab_size = [*ids, EOS_ID], vocab_size
        self.source: list[int] = []

    def begin(self, source_ids: Tensor) -> tuple[Tensor, int]:
        self.source = source_ids[0].tolist()
        return self._logits(0), 0

    def step(self, ids_t: Tensor, state: int) -> tuple[Tensor, int]:
        return self._logits(state + 1), state + 1

    def _logits(self, place: int) -> Tensor:
        logits = torch.zeros(1, self._vocab_size)
        logits[0, self._ids[place % len(self._ids)]] = 9.0
        return logits
