"""Which tokens would write three words in a row for the second time."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Word = tuple[int, ...]


class TrigramBlock:
    """Watches a text grow, token by token.

    What is blocked is the first token of a third word: a word that has begun is never bent.

    Args:
        starts_word: Whether each token begins a word, [V]; None takes each token for a word.
        free: Whether each token may always follow, [V]: what begins a number, so that none has to
            give way to another number; None if none may.
    Source: Paulus et al. 2017, arXiv:1705.04304, section 2.5.
    Differs: trigrams are of words, not of tokens: names of three pieces may come back.
    """

    def __init__(
        self,
        starts_word: NDArray[np.bool_] | None = None,
        free: NDArray[np.bool_] | None = None,
    ) -> None:
        self._starts_word = starts_word
        self._free = free
        self._before: _Word | None = None  # the word before the last one
        self._last: _Word = ()
        self._followed: dict[tuple[_Word, _Word], frozenset[int]] = {}

    def add(self, token: int) -> None:
        """Appends a token to the text."""
        if self._last and not (self._starts_word is None or self._starts_word[token]):
            self._last += (token,)
            return
        if self._before is not None and not (self._free is not None and self._free[token]):
            pair = self._before, self._last
            self._followed[pair] = self._followed.get(pair, frozenset()) | {token}
        if self._last:
            self._before = self._last
        self._last = (token,)

    @property
    def blocked(self) -> Set[int]:
        """The tokens that would repeat a trigram if they came next."""
        if self._before is None:
            return frozenset()
        return self._followed.get((self._before, self._last), frozenset())

    def __deepcopy__(self, memo: dict[int, Any]) -> TrigramBlock:
        other = TrigramBlock(self._starts_word, self._free)
        other._before, other._last = self._before, self._last
        other._followed = dict(self._followed)
        return other
