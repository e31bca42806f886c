"""Which passage of the source is being copied, and how it goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MIN_RUN = 3  # tokens that must agree for a text to be taken as copied
_NOWHERE = np.empty(0, np.int64)


class Passage:
    """Follows a text in its source, token by token.

    Of all places of the source that the text may be copied from, those count that share the most
    tokens before them with it: so a text that copies one sentence is not taken to copy another that
    has a few words in common.

    Args:
        source: Tokens of the source, [S], int64.
        begins: Whether each begins a sentence, [S].
    """

    def __init__(self, source: NDArray[np.int64], begins: NDArray[np.bool_]) -> None:
        self._source = source
        self._begins = begins
        self._runs = np.zeros(len(source), np.int64)  # tokens before each place that agree
        self._places = _NOWHERE  # where the passage goes on
        self._is_copied = np.zeros(len(source), np.bool_)

    def add(self, token: int) -> None:
        """Appends a token to the text."""
        self._is_copied = self._is_copied.copy()
        self._is_copied[self._places[self._source[self._places] == token]] = True
        runs = np.zeros_like(self._runs)
        runs[1:] = np.where(self._source[:-1] == token, self._runs[:-1] + 1, 0)
        self._runs = runs
        longest = runs.max(initial=0)
        places = np.flatnonzero(runs == longest) if longest >= _MIN_RUN else _NOWHERE
        self._places = _NOWHERE if self._begins[places].any() else places

    @property
    def following(self) -> NDArray[np.int64] | None:
        """The tokens with which the passage goes on; None if there is none, or a sentence ends."""
        return np.unique(self._source[self._places]) if len(self._places) else None

    @property
    def fresh(self) -> frozenset[int]:
        """Those of `following` that have not been copied from there before."""
        return frozenset(self._source[self._places[~self._is_copied[self._places]]].tolist())

    def __deepcopy__(self, memo: dict[int, Any]) -> Passage:
        other = Passage(self._source, self._begins)
        # `add` makes new ones.
        other._runs, other._places, other._is_copied = self._runs, self._places, self._is_copied
        return other
