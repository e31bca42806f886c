"""How many numbers and names a summary has, and how many of them its source does not have."""

from __future__ import annotations

from collections.abc import Sequence

from terraformer.support import SourceSupport, names_of, numbers_of


def measure_support(source: SourceSupport, sentences: Sequence[str]) -> dict[str, float]:
    """Counts what a summary states and what of it the source does not contain.

    Args:
        source: Of the summary.
        sentences: Of the summary.
    Returns:
        numbers, unsupported_numbers, names, unsupported_names: How many the summary has.
        sentences, unsupported_sentences: How many it has, and how many of them hold a number or a
            name that is unsupported.
    """
    lacking = [source.lacks(sentence) for sentence in sentences]
    return {
        "numbers": float(sum(len(numbers_of(sentence)) for sentence in sentences)),
        "unsupported_numbers": float(sum(len(sentence.numbers) for sentence in lacking)),
        "names": float(sum(len(names_of(sentence)) for sentence in sentences)),
        "unsupported_names": float(sum(len(sentence.names) for sentence in lacking)),
        "sentences": float(len(sentences)),
        "unsupported_sentences": float(sum(any(sentence) for sentence in lacking)),
    }
