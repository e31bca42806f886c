"""All that is measured of one summary: against its abstract, against its source, and by itself."""

from __future__ import annotations

from dataclasses import dataclass

from eval.baselines import Prediction
from eval.fragments import FragmentIndex
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
    "novel_bigrams",
    "repeated_trigrams",
    "redundancy",
    "near_duplicates",
    "road_maps",
)
"""Measures that are averaged over documents."""

RATES = {
    "unsupported_numbers": Rate("unsupported_numbers", "numbers"),
    "unsupported_names": Rate("unsupported_names", "names"),
}
"""Measures that are counted over all documents, as many summaries have no number or name."""

MEASURES = (*MEANS, *RATES)


@dataclass(frozen=True)
class ScoredPrediction:
    """A system's summary of one document.

    Attributes:
        text: The summary.
        sentences: Indices of the source sentences it was taken from; empty if none are known.
        scores: Value of each of MEANS, and the counts behind RATES.
        kinds: How many of `sentences` stand in each kind of section.
    """

    text: str
    sentences: tuple[int, ...]
    scores: dict[str, float]
    kinds: dict[str, int]


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
        return ScoredPrediction(text, prediction.sentences, scores, kinds)
