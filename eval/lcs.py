"""Longest common subsequences, a row of the table at a time as bits of one integer."""

from __future__ import annotations

from collections.abc import Sequence


class LcsTarget:
    """A token sequence to which others are compared.

    Row i of the table t of LCS lengths of prefixes is kept as an integer whose bit j is set where
    t[i, j + 1] = t[i, j] + 1, so that t[i, j] is the number of set bits below j.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited" (row update).
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.n_tokens = len(tokens)
        self._places: dict[str, int] = {}
        for place, token in enumerate(tokens):
            self._places[token] = self._places.get(token, 0) | (1 << place)

    def _rows(self, tokens: Sequence[str]) -> list[int]:
        full = (1 << self.n_tokens) - 1
        level = full  # complement of the row, which the update is written for
        rows = [0]
        for token in tokens:
            matching = level & self._places.get(token, 0)
            level = ((level + matching) | (level - matching)) & full
            rows.append(level ^ full)
        return rows

    def length(self, tokens: Sequence[str]) -> int:
        """Returns the length of the longest common subsequence with `tokens`."""
        return self._rows(tokens)[-1].bit_count()

    def indices(self, tokens: Sequence[str]) -> list[int]:
        """Returns the places in `tokens` of one longest common subsequence, descending.

        Of several it is the one that rouge-score reads out: from the end, a match is always taken,
        else `tokens` is shortened unless that loses length.
        """
        rows = self._rows(tokens)
        i, j = len(tokens), self.n_tokens
        left = rows[i].bit_count()
        places: list[int] = []
        while left:
            if self._places.get(tokens[i - 1], 0) >> (j - 1) & 1:
                i, j, left = i - 1, j - 1, left - 1
                places.append(i)
            elif (rows[i - 1] & ((1 << j) - 1)).bit_count() < left:
                j -= 1
            else:
                i -= 1
        return places
