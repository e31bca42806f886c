"""Results of made-up papers, for tests of what is done with results."""

from __future__ import annotations

from eval.measures import COUNTS, MEANS, RATES, ScoredPrediction
from eval.results import DocumentResult

_COUNTED = tuple(name for rate in RATES.values() for name in (rate.part, rate.whole))


def prediction(
    rouge2: float, kinds: dict[str, int] | None = None, **scores: float
) -> ScoredPrediction:
    """Returns a summary that scores 0 but in what is given."""
    zeros = dict.fromkeys((*MEANS, *COUNTS, *_COUNTED), 0.0)
    return ScoredPrediction("", (), zeros | {"rouge2": rouge2} | scores, kinds or {})


ABSTRACT = prediction(100.0, novel_bigrams=60.0)


def result(paper: str, group: str, n_tokens: int, **systems: ScoredPrediction) -> DocumentResult:
    """Returns the results of a paper with three sentences of methods and one of results."""
    return DocumentResult(
        id=paper,
        title=f"On {paper}",
        group=group,
        n_tokens=n_tokens,
        kinds={"methods": 3, "results": 1},
        reference=ABSTRACT.scores,
        systems=systems,
    )
