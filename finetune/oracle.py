"""Sentence labels: the sets of source sentences that together score best against an abstract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.rouge_tokens import RougeTokenizer

_TOKENIZER = RougeTokenizer()


@dataclass(frozen=True)
class Episode:
    """Sentences in the order in which they were picked, and their mean ROUGE-1/2 F1 in [0, 1]."""

    picks: tuple[int, ...]
    score: float


class NGramOverlap:
    """Clipped n-gram overlap of sentence sets with a reference, for many sets at once.

    Only n-grams of the reference are kept, so that a set's hits are a sum of small rows. Bigrams
    across the border of two picked sentences are not counted, which rouge-score would.
    """

    def __init__(self, sentences: Sequence[list[str]], reference: list[str], n: int) -> None:
        """Counts n-grams.

        Args:
            sentences: S token lists.
            reference: Tokens of the reference.
            n: Length of the n-grams.
        """
        grams = _ngrams(reference, n)
        columns = {gram: column for column, gram in enumerate(grams)}
        self.limit = np.fromiter(grams.values(), np.int16, len(grams))  # [G]
        self.counts = np.zeros((len(sentences), len(grams)), np.int16)  # [S, G]
        for row, tokens in enumerate(sentences):
            for gram in zip(*(tokens[i:] for i in range(n)), strict=False):
                column = columns.get(gram)
                if column is not None:
                    self.counts[row, column] += 1
        self.lengths = np.array([max(0, len(tokens) - n + 1) for tokens in sentences])  # [S]
        self.reference_length = int(self.limit.sum())

    def f1(self, counts: NDArray[np.int16], length: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the F1 of sets with n-gram counts [..., G] and lengths [...]."""
        hits = np.minimum(counts, self.limit).sum(axis=-1, dtype=np.int32)
        return 2 * hits / np.maximum(1, length + self.reference_length)


def _ngrams(tokens: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


@dataclass
class _Beam:
    picks: tuple[int, ...]
    counts: tuple[NDArray[np.int16], ...]
    lengths: tuple[int, ...]
    score: float


def beam_episodes(
    sentences: Sequence[str],
    reference: str,
    *,
    candidates: Sequence[int] | None = None,
    beam_size: int = 4,
    n_episodes: int = 8,
    min_gain: float = 1e-3,
    max_picks: int = 40,
) -> list[Episode]:
    """Searches sentence sets that maximize the mean of ROUGE-1 and ROUGE-2 F1.

    Args:
        sentences: All S sentences of the document.
        reference: The abstract.
        candidates: Indices that may be picked; None allows all.
        beam_size: Sets kept after each pick; 1 is the greedy oracle.
        n_episodes: Most episodes returned.
        min_gain: A set that no pick improves by more than this is finished.
        max_picks: Most sentences of a set.
    Returns:
        Finished sets, best first, no two with the same members; empty if nothing overlaps.
    Source: Gu et al. 2022 (MemSum), section on high-ROUGE episodes.
    """
    allowed = list(range(len(sentences)) if candidates is None else candidates)
    if not allowed:
        return []
    tokens = [_TOKENIZER.tokenize(sentences[index]) for index in allowed]
    reference_tokens = _TOKENIZER.tokenize(reference)
    overlaps = [NGramOverlap(tokens, reference_tokens, n) for n in (1, 2)]
    empty = tuple(np.zeros(len(overlap.limit), np.int16) for overlap in overlaps)
    beams = [_Beam((), empty, (0, 0), 0.0)]
    finished: dict[frozenset[int], Episode] = {}

    def finish(beam: _Beam) -> None:
        if beam.picks:
            picks = tuple(allowed[index] for index in beam.picks)
            finished.setdefault(frozenset(picks), Episode(picks, beam.score))

    for _ in range(max_picks):
        extensions: dict[frozenset[int], tuple[float, _Beam, int]] = {}
        for beam in beams:
            f1 = [
                overlap.f1(overlap.counts + counts, overlap.lengths + length)
                for overlap, counts, length in zip(overlaps, beam.counts, beam.lengths, strict=True)
            ]
            scores = np.mean(f1, axis=0)  # [candidates]
            scores[list(beam.picks)] = -1.0
            best = np.argsort(-scores, kind="stable")[:beam_size]
            improving = [int(i) for i in best if scores[i] > beam.score + min_gain]
            if not improving:
                finish(beam)
            for index in improving:
                extensions.setdefault(
                    frozenset((*beam.picks, index)), (float(scores[index]), beam, index)
                )
        if not extensions:
            beams = []
            break
        ranked = sorted(extensions.values(), key=lambda item: -item[0])[:beam_size]
        beams = [
            _Beam(
                picks=(*beam.picks, index),
                counts=tuple(
                    counts + overlap.counts[index]
                    for overlap, counts in zip(overlaps, beam.counts, strict=True)
                ),
                lengths=tuple(
                    length + int(overlap.lengths[index])
                    for overlap, length in zip(overlaps, beam.lengths, strict=True)
                ),
                score=score,
            )
            for score, beam, index in ranked
        ]
    for beam in beams:
        finish(beam)
    return sorted(finished.values(), key=lambda episode: -episode.score)[:n_episodes]
