"""How much a summary repeats itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, combinations

from eval.lcs import LcsTarget

NEAR_DUPLICATE = 0.55
"""ROUGE-L F1 from which two sentences are taken to say the same.

Of pairs in summaries that were read, nearly all above it do, and about half of those down to 0.5.
"""

LOOP_TURNS, LOOP_TOKENS, STUTTERS = 3, 8, 8
"""A loop is the same words so many times running, and so many tokens in all; or, within a word, the
same letters, up to eight, STUTTERS times running.

What people wrote is nearly free of it: three of 1,677 abstracts of test papers have one, where a
fifth has four words that come back three times somewhere.
"""

_STUTTER = re.compile(rf"(.{{1,8}}?)\1{{{STUTTERS - 1},}}")


def measure_redundancy(sentences: Sequence[Sequence[str]]) -> dict[str, float]:
    """Measures the repetition between and within the sentences of a summary.

    Args:
        sentences: Their tokens.
    Returns:
        repeated_trigrams: Share of its trigrams, none over the end of a sentence, that have stood
            before, in percent.
        redundancy: Mean ROUGE-L F1 of all pairs of its sentences, in percent.
        near_duplicates: How many of its sentences have a ROUGE-L F1 of at least NEAR_DUPLICATE
            with an earlier one.
        loops: 1 if it says the same words LOOP_TURNS times running, LOOP_TOKENS tokens or more, at
            the ends of sentences too, or the same letters STUTTERS times; else 0.
    Source: Xiao and Carenini 2020, arXiv:2012.00052 (unique n-gram ratio, here its complement);
        Bommasani and Cardie 2020, "Intrinsic evaluation of summarization datasets" (redundancy).
    """
    trigrams = [
        trigram
        for tokens in sentences
        for trigram in zip(tokens, tokens[1:], tokens[2:], strict=False)
    ]
    targets = [LcsTarget(tokens) for tokens in sentences]
    similarities: list[float] = []
    duplicates: set[int] = set()
    for first, second in combinations(range(len(sentences)), 2):
        lcs = targets[first].length(sentences[second])
        similarity = 2 * lcs / max(1, len(sentences[first]) + len(sentences[second]))
        similarities.append(similarity)
        if similarity >= NEAR_DUPLICATE:
            duplicates.add(second)
    n_repeated = len(trigrams) - len(set(trigrams))
    return {
        "repeated_trigrams": 100 * n_repeated / max(1, len(trigrams)),
        "redundancy": 100 * sum(similarities) / max(1, len(similarities)),
        "near_duplicates": float(len(duplicates)),
        "loops": float(_has_loop(list(chain(*sentences)))),
    }


def _has_loop(tokens: Sequence[str]) -> bool:
    if any(_STUTTER.search(token) for token in tokens):
        return True
    for period in range(1, len(tokens) // LOOP_TURNS + 1):
        n_missing = needed = max(LOOP_TURNS * period, LOOP_TOKENS) - period
        for before, after in zip(tokens, tokens[period:], strict=False):
            n_missing = n_missing - 1 if before == after else needed
            if n_missing == 0:
                return True
    return False
