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
        self._is_copied = np.zeros(len(source), np.bool_)

    def add(self, token: int) -> None:
        """Appends a token to the text."""
        hits = self._places[self._source[self._places] == token]
        runs = np.zeros_like(self._runs)
        runs[1:] = np.where(self._source[:-1] == token, self._runs[:-1] + 1, 0)
        self._runs = runs
        self._is_copied = self._is_copied.copy()
        self._is_copied[hits] = True

    @property
    def following(self) -> NDArray[np.int64] | None:
        """The tokens with which the passage goes on; None if there is none, or a sentence ends."""
        places = self._places
        if not len(places) or self._begins[places].any():
            return None
        return np.unique(self._source[places])

    @property
    def fresh(self) -> frozenset[int]:
        """Those of `following` that have not been copied from there before."""
        places = self._places
        if not len(places) or self._begins[places].any():
            return frozenset()
        return frozenset(self._source[places[~self._is_copied[places]]].tolist())

    @property
    def _places(self) -> NDArray[np.int64]:
        """Where the passage goes on in the source."""
        longest = self._runs.max(initial=0)
        return np.flatnonzero(self._runs == longest) if longest >= _MIN_RUN else _NOWHERE

    def __deepcopy__(self, memo: dict[int, Any]) -> Passage:
        other = Passage(self._source, self._begins)
        other._runs, other._is_copied = self._runs, self._is_copied  # `add` makes new ones
        return other
