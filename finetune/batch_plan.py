"""Which examples make which batch: alike in length, bounded in tokens, the same for a seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BATCHES_SORTED_TOGETHER = 64


class BatchKey(NamedTuple):
    """One batch of a plan.

    Attributes:
        epoch: Counted from 0.
        number: Of the batch within its epoch.
        items: Examples in it.
    """

    epoch: int
    number: int
    items: tuple[int, ...]


class BatchPlan:
    """Batches without end, epoch after epoch, of at most `batch_tokens` with their padding.

    The examples of an epoch are shuffled, sorted by length within pools of 64 batches or so, cut
    into batches, and those shuffled again: little padding, and hardly less chance than without. A
    plan has no state, so whoever knows how many batches are done goes on with the next.

    Args:
        n_tokens: Tokens of each example, [N].
        batch_tokens: Most tokens of a batch, padding included; an example that is longer is a batch
            by itself.
        seed: Of the order.
    Raises:
        ValueError: if there are no examples.
    """

    def __init__(self, n_tokens: NDArray[np.int64], batch_tokens: int, seed: int) -> None:
        if not len(n_tokens):
            raise ValueError("n_tokens is empty: there is nothing to make batches of")
        self._n_tokens = np.asarray(n_tokens, np.int64)
        self._batch_tokens = batch_tokens
        self._seed = seed

    def epoch(self, epoch: int) -> list[BatchKey]:
        """Returns the batches of an epoch; each example is in one of them."""
        random = np.random.default_rng((self._seed, epoch))
        order = random.permutation(len(self._n_tokens))
        pool = self._n_tokens[order].cumsum() // (_BATCHES_SORTED_TOGETHER * self._batch_tokens)
        order = order[np.lexsort((self._n_tokens[order], pool))]
        batches: list[list[int]] = []
        longest = room = 0
        for item in order.tolist():
            longest = max(longest, int(self._n_tokens[item]))
            if not batches or (len(batches[-1]) + 1) * longest > room:
                batches.append([])
                longest, room = int(self._n_tokens[item]), self._batch_tokens
            batches[-1].append(item)
        shuffled = random.permutation(len(batches)).tolist()
        return [
            BatchKey(epoch, number, tuple(batches[place])) for number, place in enumerate(shuffled)
        ]

    def after(self, epoch: int, number: int) -> Iterator[BatchKey]:
        """Yields all batches from number `number` of `epoch` on, without end."""
        while True:
            yield from self.epoch(epoch)[number:]
            epoch, number = epoch + 1, 0
