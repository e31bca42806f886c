"""How much of a summary is copied from its source, and in pieces of what length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from itertools import chain, pairwise

_TOKEN = re.compile(r"\w+|[^\w\s]")

NOVEL_NGRAMS = ("novel_unigrams", "novel_bigrams", "novel_trigrams", "novel_fourgrams")
"""Measures of runs of one word, two words and so on."""


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
        self._ngrams = [
            frozenset(_ngrams(self._tokens, n)) for n in range(1, len(NOVEL_NGRAMS) + 1)
        ]

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
            novel_unigrams, novel_bigrams, novel_trigrams, novel_fourgrams: Share of its runs of
                one to four neighbouring words that the source does not have, in percent; runs over
                a punctuation mark or the end of a sentence do not count.
            All are 0 of an empty summary.
        Source: Grusky et al. 2018, arXiv:1804.11283 (coverage, density, compression); See et al.
            2017, arXiv:1704.04368 (novel n-grams).
        Differs: coverage in percent; tokens are cut by a regular expression, where the papers used
            spaCy's and Stanford's.
        """
        by_sentence = [surface_tokens(sentence) for sentence in sentences]
        tokens = list(chain(*by_sentence))
        lengths = self.fragment_lengths(tokens)
        n_tokens = max(1, len(tokens))
        return {
            "coverage": 100 * sum(lengths) / n_tokens,
            "density": sum(length * length for length in lengths) / n_tokens,
            "compression": len(self._tokens) / n_tokens if tokens else 0.0,
            **{
                name: _share_of_novel(by_sentence, n, self._ngrams[n - 1])
                for n, name in enumerate(NOVEL_NGRAMS, start=1)
            },
        }


def _ngrams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def _share_of_novel(
    by_sentence: Sequence[Sequence[str]], n: int, known: Set[tuple[str, ...]]
) -> float:
    """Returns the share in percent of the runs of `n` words that are not among the known ones."""
    runs = [
        run
        for tokens in by_sentence
        for run in _ngrams(tokens, n)
        if all(token[0].isalnum() for token in run)
    ]
    return 100 * sum(run not in known for run in runs) / max(1, len(runs))
