"""How much of a summary is copied from its source, and in pieces of what length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, pairwise

_TOKEN = re.compile(r"\w+|[^\w\s]")


def surface_tokens(text: str) -> list[str]:
    """Returns the words and the single punctuation marks of `text`, lower-cased."""
    return _TOKEN.findall(text.lower())


class FragmentIndex:
    """A source text, indexed once, against which any number of summaries is measured."""

    def __init__(self, source: str) -> None:
        """Takes the whole source text."""
        self._tokens = surface_tokens(source)
        self._words = frozenset(self._tokens)
        self._places: dict[tuple[str, ...], list[int]] = {}
        for place, pair in enumerate(pairwise(self._tokens)):
            self._places.setdefault(pair, []).append(place)

    def fragment_lengths(self, tokens: Sequence[str]) -> list[int]:
        """Returns the lengths in tokens of the extractive fragments of a summary.

        From left to right, the longest run of tokens that also stands in the source is taken, and
        the search goes on after it; a token that the source lacks is passed over.

        Args:
            tokens: Of the summary, as `surface_tokens` makes them.
        Source: Grusky et al. 2018, arXiv:1804.11283 (figure 3).
        """
        lengths: list[int] = []
        start = 0
        while start < len(tokens):
            length = self._longest_match(tokens, start)
            if length:
                lengths.append(length)
            start += max(1, length)
        return lengths

    def _longest_match(self, tokens: Sequence[str], start: int) -> int:
        best = int(tokens[start] in self._words)
        for place in self._places.get(tuple(tokens[start : start + 2]), ()):
            most = min(len(tokens) - start, len(self._tokens) - place)
            # A run that is to be longer than the best one must match at the best one's end too.
            if best >= most or tokens[start + best] != self._tokens[place + best]:
                continue
            length = 2
            while length < most and tokens[start + length] == self._tokens[place + length]:
                length += 1
            best = max(best, length)
        return best

    def measure(self, sentences: Sequence[str]) -> dict[str, float]:
        """Measures one summary.

        Args:
            sentences: Of the summary.
        Returns:
            coverage: Share of its tokens that stand in fragments, in percent.
            density: Mean over its tokens of the length of their fragment, in tokens.
            compression: Tokens of the source for each of its tokens.
            novel_bigrams: Share of its pairs of neighbouring words that the source does not have,
                in percent; pairs over a punctuation mark or the end of a sentence do not count.
            All are 0 of an empty summary.
        Source: Grusky et al. 2018, arXiv:1804.11283 (coverage, density, compression); See et al.
            2017, arXiv:1704.04368 (novel n-grams).
        Differs: coverage in percent; tokens are cut by a regular expression, where the papers used
            spaCy's and Stanford's.
        """
        by_sentence = [surface_tokens(sentence) for sentence in sentences]
        tokens = list(chain(*by_sentence))
        lengths = self.fragment_lengths(tokens)
        pairs = [
            pair
            for part in by_sentence
            for pair in pairwise(part)
            if pair[0][0].isalnum() and pair[1][0].isalnum()
        ]
        n_novel = sum(pair not in self._places for pair in pairs)
        n_tokens = max(1, len(tokens))
        return {
            "coverage": 100 * sum(lengths) / n_tokens,
            "density": sum(length * length for length in lengths) / n_tokens,
            "compression": len(self._tokens) / n_tokens if tokens else 0.0,
            "novel_bigrams": 100 * n_novel / max(1, len(pairs)),
        }
