"""All that is measured of one summary: against its abstract, against its source, and by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from eval.baselines import Prediction
from eval.fragments import NOVEL_NGRAMS, FragmentIndex
from eval.metrics import METRIC_NAMES, score_stems, sentences_of, stems
from eval.redundancy import measure_redundancy
from eval.road_map import is_road_map
from eval.sections import count_kinds
from eval.support import measure_support
from terraformer.document import Document
from terraformer.support import SourceSupport


@dataclass(frozen=True)
class Rate:
    """A share in percent of things counted over all documents: `part` of `whole`."""

    part: str
    whole: str


MEANS = (
    *METRIC_NAMES,
    "coverage",
    "density",
    "compression",
    *NOVEL_NGRAMS,
    "repeated_trigrams",
    "redundancy",
    "near_duplicates",
    "road_maps",
)
"""Measures that are averaged over documents."""

RATES = {
    "unsupported_numbers": Rate("unsupported_numbers", "numbers"),
    "unsupported_names": Rate("unsupported_names", "names"),
    "unsupported_sentences": Rate("unsupported_sentences", "sentences"),
}
"""Measures that are counted over all documents, as many summaries have no number or name."""

COUNTS = ("numbers", "names", "sentences", "loops")
"""What is counted over all documents and told as it is: `loops` are summaries with one."""

MEASURES = (*MEANS, *RATES)


@dataclass(frozen=True)
class ScoredPrediction:
    """A system's summary of one document.

    Attributes:
        text: The summary.
        sentences: Indices of the source sentences that were picked, or are most like the written
            ones; empty if none are known.
        scores: Value of each of MEANS and COUNTS, and the counts behind RATES.
        kinds: How many of `sentences` stand in each kind of section.
        unsupported: Its numbers and names that the source does not hold, each once.
        seconds: That it took, None if they were not measured; equal summaries may differ in them.
    """

    text: str
    sentences: tuple[int, ...]
    scores: dict[str, float]
    kinds: dict[str, int]
    unsupported: tuple[str, ...] = ()
    seconds: float | None = field(default=None, compare=False)


class Judge:
    """Measures summaries of one document, which is read once for all of them."""

    def __init__(self, document: Document, reference: str) -> None:
        """Takes the source and its abstract."""
        source = f"{document.title}\n\n{document.text}"
        self._document = document
        self._reference = [stems(sentence) for sentence in sentences_of(reference)]
        self._fragments = FragmentIndex(source)
        self._support = SourceSupport(source)

    def score(self, prediction: Prediction) -> ScoredPrediction:
        """Measures a summary of the document."""
        text = prediction.text
        sentences = sentences_of(text)
        tokens = [stems(sentence) for sentence in sentences]
        scores = {
            **score_stems(tokens, self._reference),
            "words": float(len(text.split())),
            **self._fragments.measure(sentences),
            **measure_redundancy(tokens),
            "road_maps": float(sum(map(is_road_map, sentences))),
            **measure_support(self._support, sentences),
        }
        kinds = count_kinds(self._document, prediction.sentences)
        return ScoredPrediction(
            text=text,
            sentences=prediction.sentences,
            scores=scores,
            kinds=kinds,
            unsupported=tuple(dict.fromkeys(chain(*chain(*map(self._support.lacks, sentences))))),
            seconds=prediction.seconds,
        )
