"""Which tokens would write three words for the second time, or anything a third time in a row."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Word = tuple[int, ...]
_PERIODS = range(3, 25)  # tokens of what is said over and over; shorter lists of numbers may be


class TrigramBlock:
    """Watches a text grow, token by token.

    What is blocked is the first token of a third word, and of a third copy of what has just been
    written twice: a word that has begun is never bent.

    Args:
        starts_word: Whether each token begins a word, [V]; None takes each token for a word.
        free: Whether each token may end a known trigram, [V]: what begins a number, so that none
            has to give way to another number; None if none may.
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
        self._ids: list[int] = []

    def add(self, token: int) -> None:
        """Appends a token to the text."""
        self._ids.append(token)
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
        """The tokens that would repeat a trigram, or begin a third copy, if they came next."""
        if self._before is None:
            return frozenset()
        return self._followed.get((self._before, self._last), frozenset()) | self._thirds()

    def _thirds(self) -> frozenset[int]:
        """The tokens that begin what the text ends with twice, where they begin a word."""
        ids = self._ids
        return frozenset(
            ids[-period]
            for period in _PERIODS
            if ids[-period:] == ids[-2 * period : -period]
            and (self._starts_word is None or self._starts_word[ids[-period]])
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> TrigramBlock:
        other = TrigramBlock(self._starts_word, self._free)
        other._before, other._last = self._before, self._last
        other._followed = dict(self._followed)
        other._ids = list(self._ids)
        return other
