"""Summaries without training, to compare with: frozen, as every reported figure rests on them.

A baseline ranks sentences; whole sentences are taken in rank order until the budget is reached, put
into document order, and the text is cut at the budget in words. The oracle, which sees the
reference, is the ceiling of extraction: it ends where nothing more helps, and is not cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from finetune.oracle import beam_episodes
from terraformer.document import Document
from terraformer.section_kind import SectionKind
from terraformer.similarity import cosine_similarity, page_rank, tf_idf

LEXRANK_THRESHOLD = 0.1
HIPORANK_MU = 0.5  # weight of the centrality between sections


@dataclass(frozen=True)
class Prediction:
    """A summary as text, and the source sentences behind it, in the order of the text.

    Attributes:
        text: The summary.
        sentences: Indices of the sentences it was taken from, or that are most like its own.
        seconds: That it took, None if they were not measured.
    """

    text: str
    sentences: tuple[int, ...]
    seconds: float | None = None


def lead(document: Document, budget_words: int, reference: str | None = None) -> list[int]:
    """Ranks sentences as they stand."""
    return _until_budget(document, range(len(document.sentences)), budget_words)


def lexrank(document: Document, budget_words: int, reference: str | None = None) -> list[int]:
    """Ranks sentences by PageRank over the graph of those with tf-idf cosine above 0.1, unweighted.

    Source: Erkan and Radev 2004, arXiv:1109.2128 (its thresholded, discrete form).
    """
    similarity = cosine_similarity([sentence.text for sentence in document.sentences])
    edges = (similarity > LEXRANK_THRESHOLD).astype(np.float32)
    return _until_budget(document, _descending(page_rank(edges)), budget_words)


def hiporank(document: Document, budget_words: int, reference: str | None = None) -> list[int]:
    """Ranks sentences by directed centrality within and between sections.

    With d(i) = min(i, n - 1 - i), the distance of place i of n to the nearer boundary, and cosines
    of tf-idf vectors (a section's being the sum of its sentences'):

        intra(i) = sum of sim(i, j) over the other sentences j of its section with
                   d(i) <= d(j), divided by their number
        inter(i) = sum of sim(i, J) over the sections J with d(section of i) <= d(J),
                   divided by the number of all sections
        centrality(i) = 0.5 * inter(i) + intra(i)

    Source: Dong et al. 2021, arXiv:2005.00513, with lambda1 = 0, lambda2 = 1, alpha = 1, mu = 0.5.
    Differs: tf-idf where the paper compares several embeddings; equal distances count in full, as
    in its published code, where the paper's equation gives them lambda1.
    """
    vectors = tf_idf([sentence.text for sentence in document.sentences])
    section_of = np.array([sentence.section for sentence in document.sentences])
    kept, place = np.unique(section_of, return_inverse=True)  # sections that hold sentences
    intra = np.zeros(len(place))
    for index in range(len(kept)):
        rows = np.flatnonzero(place == index)
        if len(rows) > 1:
            block = sparse.csr_matrix(vectors[rows])
            similarity = (block @ block.T).toarray()
            np.fill_diagonal(similarity, 0.0)
            distance = _boundary_distance(len(rows))
            nearer = distance[:, None] <= distance[None, :]
            intra[rows] = (similarity * nearer).sum(axis=1) / (len(rows) - 1)
    membership = sparse.csr_matrix((np.ones(len(place)), (place, np.arange(len(place)))))
    sums = sparse.csr_matrix(membership @ vectors)  # [sections, vocabulary]
    norms = np.sqrt(np.asarray(sums.multiply(sums).sum(axis=1)).ravel())
    similarity = (vectors @ sums.T).toarray() / np.where(norms > 0, norms, 1.0)
    distance = _boundary_distance(len(kept))
    nearer = distance[place][:, None] <= distance[None, :]
    inter = (similarity * nearer).sum(axis=1) / len(kept)
    return _until_budget(document, _descending(HIPORANK_MU * inter + intra), budget_words)


def conclusion(document: Document, budget_words: int, reference: str | None = None) -> list[int]:
    """Ranks the sentences of the last conclusion as they stand; no other sentence is taken.

    Without a conclusion it is the last discussion, without that the last section.
    """
    used = sorted({sentence.section for sentence in document.sentences})
    chosen = used[-1]
    for kind in (SectionKind.CONCLUSION, SectionKind.DISCUSSION):
        of_kind = [section for section in used if document.sections[section].kind is kind]
        if of_kind:
            chosen = of_kind[-1]
            break
    order = [i for i, sentence in enumerate(document.sentences) if sentence.section == chosen]
    return _until_budget(document, order, budget_words)


def oracle(document: Document, budget_words: int, reference: str | None = None) -> list[int]:
    """Adds, one after another, the sentence that raises the mean of ROUGE-1 and -2 F1 most.

    Stops where none raises it; `budget_words` is not used, as a ceiling must not depend on it.

    Raises:
        ValueError: without a reference.
    """
    if reference is None:
        raise ValueError("reference (None) must be the abstract: the oracle looks at it")
    episodes = beam_episodes(
        [sentence.text for sentence in document.sentences],
        reference,
        beam_size=1,
        n_episodes=1,
        min_gain=0.0,
        max_picks=len(document.sentences),
    )
    return list(episodes[0].picks) if episodes else []


Baseline = Callable[[Document, int, str | None], list[int]]
BASELINES: dict[str, Baseline] = {
    "lead": lead,
    "lexrank": lexrank,
    "hiporank": hiporank,
    "conclusion": conclusion,
    "oracle": oracle,
}


def predict(
    name: str, document: Document, budget_words: int, reference: str | None = None
) -> Prediction:
    """Summarizes with a baseline.

    Args:
        name: Key of `BASELINES`.
        document: What to summarize.
        budget_words: Words of the summary; all baselines but the oracle are cut there.
        reference: The abstract, for the oracle.
    """
    order = tuple(sorted(BASELINES[name](document, budget_words, reference)))
    words = " ".join(document.sentences[index].text for index in order).split()
    return Prediction(" ".join(words if name == "oracle" else words[:budget_words]), order)


def _until_budget(document: Document, ranking: Sequence[int], budget_words: int) -> list[int]:
    """Returns the head of `ranking` whose words reach the budget, or all of it."""
    picks: list[int] = []
    n_words = 0
    for index in ranking:
        if n_words >= budget_words:
            break
        picks.append(index)
        n_words += document.sentences[index].n_words
    return picks


def _descending(scores: NDArray[np.floating]) -> list[int]:
    """Returns indices by falling score; of equals, the earlier sentence first."""
    return [int(index) for index in np.argsort(-scores, kind="stable")]


def _boundary_distance(n: int) -> NDArray[np.int64]:
    places = np.arange(n)
    return np.minimum(places, n - 1 - places)
