"""Random text in the shape of a paper, of any length, to measure speed with."""

from __future__ import annotations

import numpy as np

from terraformer.document import Document

_N_WORD_TYPES = 3_000
_SECTIONS = ("Introduction", "Methods", "Results", "Discussion", "Conclusion")


def synthetic_document(n_words: int, seed: int = 0) -> Document:
    """Returns a document of random pronounceable words, as frequent as words are (Zipf).

    Args:
        n_words: Words; sentences have 12 to 32 of them, paragraphs 6 sentences, and the sections
            are five.
        seed: Seed of the text.
    """
    rng = np.random.default_rng(seed)
    syllables = [consonant + vowel for consonant in "bcdfgklmnprstv" for vowel in "aeiou"]
    types = ["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(_N_WORD_TYPES)]
    frequency = 1.0 / np.arange(1, _N_WORD_TYPES + 1)
    words = rng.choice(types, n_words, p=frequency / frequency.sum())
    sentences: list[str] = []
    start = 0
    while start < n_words:
        stop = start + int(rng.integers(12, 33))
        sentences.append(" ".join(words[start:stop]).capitalize() + ".")
        start = stop
    sections = []
    for heading, part in zip(
        _SECTIONS, np.array_split(np.array(sentences), len(_SECTIONS)), strict=True
    ):
        paragraphs = [" ".join(part[first : first + 6]) for first in range(0, len(part), 6)]
        sections.append((heading, "\n".join(paragraphs)))
    return Document.from_sections(sections, title="A random text")
