"""What a sentence's place and wording say about it, as numbers for the sentence states.

Position relative to the boundaries of section and document, the kind of section, centrality in the
document's similarity graph and overlap with the title carry most of what extraction needs; the
token encoder adds the words. All features are roughly in [-3, 3], and none depends on the group or
source of the paper.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from terraformer.document import Document
from terraformer.section_kind import SectionKind
from terraformer.selectable import share_of_letters
from terraformer.similarity import content_words, page_rank_of_vectors, tf_idf

Vector = NDArray[Any]  # one value a sentence, [S]

_DEGREE_THRESHOLD = 0.1
_ROWS_AT_ONCE = 512  # of the similarity graph, which is never held whole

_WORDING = {
    "says_we": r"\b(?:we|our|us)\b",
    "says_this_work": (
        r"\b(?:this|the present|the current) (?:paper|study|work|article|report|trial|"
        r"review)\b|\bhere,? we\b|\bherein\b"
    ),
    "says_propose": r"\b(?:propos|introduc|present|develop|design)(?:e|es|ed|ing)?\b",
    "says_aim": (
        r"\b(?:aim|aims|aimed|objective|purpose|goal|sought|investigate[sd]?|"
        r"hypothesi[sz]ed?)\b"
    ),
    "says_show": (
        r"\b(?:show|shows|showed|shown|find|found|demonstrate[sd]?|reveal(?:s|ed)?|"
        r"indicate[sd]?|suggest(?:s|ed)?|observed|identified)\b"
    ),
    "says_result": (
        r"\b(?:results?|findings?|outperform\w*|significant(?:ly)?|increased|decreased|"
        r"higher|lower|improve[sd]?|associated)\b"
    ),
    "says_conclude": (
        r"\b(?:conclu\w+|in summary|taken together|overall|in short|to summarize|"
        r"implications?)\b"
    ),
    "says_method": (
        r"\b(?:were (?:collected|measured|performed|analy[sz]ed|randomi[sz]ed|used|"
        r"recruited|included)|using|method|approach|algorithm|framework|model)\b"
    ),
    "says_first": r"\b(?:first|novel|new|state-of-the-art|unlike|contribution)\b",
    "says_however": (
        r"^(?:however|but|although|despite|yet|unfortunately)\b|\bremains?\b|\bunknown\b|"
        r"\bpoorly\b|\blittle is known\b"
    ),
    "says_future": r"\b(?:future|further (?:research|work|studies|investigation)|limitations?)\b",
    "refers_to_figure": r"\b(?:fig(?:ure|s)?|tables?|eq(?:uation)?s?|appendix|supplementary)\b",
    "is_road_map": (
        r"\b(?:remainder|rest) of (?:this|the) (?:paper|article)\b|"
        r"\borgani[sz]ed as follows\b|\bin (?:section|sec\.)\s|^section\s"
    ),
    "hangs_on_context": (
        r"^(?:this|these|those|they|it|such|thus|therefore|hence|moreover|furthermore|"
        r"in addition|additionally|also|similarly|then|here)\b"
    ),
    "has_citation": r"\[\d|\(\w[^()]*(?:19|20)\d\d[^()]*\)|\bet al\b",
    "has_number": r"\d|<dig>",
    "has_statistic": r"\d\s?%|<dig>\s?%|\bp\s?[<=>]|\bci\b|\bn\s?=",
    "has_formula": r"[=∈≤≥∑∫√→∀∃]|\\[a-z]+|[_^]\{",
    "is_question": r"\?\s*$",
    "lacks_end": r"[^.!?\"”')\]]\s*$",
}
_WORDING_PATTERNS = tuple(re.compile(pattern) for pattern in _WORDING.values())
_KINDS = tuple(SectionKind)

FEATURE_NAMES: tuple[str, ...] = (
    *(f"document_{name}" for name in ("place", "after", "before", "near_start", "near_end")),
    *(f"section_{name}" for name in ("place", "after", "before", "near_start", "near_end")),
    *("section_index", "sections_left", "section_length", "n_sections", "n_sentences"),
    *("opens_paragraph", "closes_paragraph", "opens_section", "closes_section"),
    *(f"in_{kind}" for kind in _KINDS),
    *("n_words", "is_short", "is_long", "letters", "capitals"),
    *_WORDING,
    *("title_overlap", "title_cosine", "heading_overlap", "word_probability", "mean_rarity"),
    *(
        f"{graph}_{scale}"
        for graph in (
            *("page_rank", "degree", "document_centroid", "nearest"),
            *("own_section", "section_forward", "section_backward", "sections_by_boundary"),
            *("introduction_centroid", "conclusion_centroid"),
        )
        for scale in ("z", "rank")
    ),
)
N_FEATURES = len(FEATURE_NAMES)


def sentence_features(document: Document) -> NDArray[np.float32]:
    """Returns the features of every sentence, [S, N_FEATURES], float32, named by FEATURE_NAMES."""
    texts = [sentence.text for sentence in document.sentences]
    sections = np.array([sentence.section for sentence in document.sentences])
    columns = [
        *_positions(document, sections),
        *_wordings(texts),
        *_overlaps(document, texts, sections),
        *_centralities(texts, sections, document),
    ]
    features = np.stack(columns, axis=1).astype(np.float32)
    assert features.shape == (len(texts), N_FEATURES)
    return np.clip(features, -4.0, 4.0)


def _positions(document: Document, sections: NDArray[np.int64]) -> list[Vector]:
    n = len(sections)
    index = np.arange(n)
    # A section is counted only where it has sentences.
    _, ordinal = np.unique(sections, return_inverse=True)
    n_sections = int(ordinal.max()) + 1
    first = np.searchsorted(ordinal, ordinal, side="left")
    last = np.searchsorted(ordinal, ordinal, side="right") - 1
    paragraphs = np.array([sentence.paragraph for sentence in document.sentences])
    changes = paragraphs[1:] != paragraphs[:-1]
    kinds = [document.sections[section].kind for section in sections]
    return [
        *_place(index, np.zeros(n), np.full(n, n - 1)),
        *_place(index, first, last),
        np.log1p(ordinal) / 2,
        np.log1p(n_sections - 1 - ordinal) / 2,
        np.log1p(last - first) / 3,
        np.full(n, np.log1p(n_sections) / 3),
        np.full(n, np.log1p(n) / 5),
        np.concatenate(([1.0], changes)),
        np.concatenate((changes, [1.0])),
        index == first,
        index == last,
        *(np.array([kind == other for kind in kinds]) for other in _KINDS),
    ]


def _place(index: NDArray[np.int64], first: NDArray, last: NDArray) -> list[Vector]:
    after, before = index - first, last - index
    return [
        after / np.maximum(1, last - first),
        np.log1p(after) / 3,
        np.log1p(before) / 3,
        1 / (1 + after),
        1 / (1 + before),
    ]


def _wordings(texts: Sequence[str]) -> list[Vector]:
    n_words = np.array([len(text.split()) for text in texts])
    lowered = [text.lower() for text in texts]
    return [
        np.log1p(n_words) - 3,
        n_words < 10,
        n_words > 45,
        np.array([share_of_letters(text) for text in texts]),
        np.array([sum(map(str.isupper, text)) / max(1, len(text)) for text in texts]) * 5,
        *(
            np.array([pattern.search(text) is not None for text in lowered])
            for pattern in _WORDING_PATTERNS
        ),
    ]


def _overlaps(
    document: Document, texts: Sequence[str], sections: NDArray[np.int64]
) -> list[Vector]:
    words = [content_words(text) for text in texts]
    counts: dict[str, int] = {}
    for sentence in words:
        for word in sentence:
            counts[word] = counts.get(word, 0) + 1
    total = max(1, sum(counts.values()))
    title = set(content_words(document.title))
    headings = [set(content_words(section.heading)) for section in document.sections]

    def share(sentence: list[str], of: set[str]) -> float:
        return len(of.intersection(sentence)) / len(of) if of else 0.0

    def cosine(sentence: list[str], of: set[str]) -> float:
        distinct = set(sentence)
        return len(of & distinct) / np.sqrt(len(of) * len(distinct)) if of and distinct else 0.0

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    probability = np.array([mean([counts[word] / total for word in words_]) for words_ in words])
    rarity = np.array([mean([1.0 / counts[word] for word in words_]) for words_ in words])
    return [
        np.array([share(sentence, title) for sentence in words]),
        np.array([cosine(sentence, title) for sentence in words]),
        np.array([share(words[i], headings[sections[i]]) for i in range(len(words))]),
        _z_score(probability),
        _z_score(rarity),
    ]


def _centralities(
    texts: Sequence[str], sections: NDArray[np.int64], document: Document
) -> list[Vector]:
    vectors = tf_idf(texts)
    n = len(texts)
    degree, nearest, own, forward, backward = (np.zeros(n, np.float32) for _ in range(5))
    for start in range(0, n, _ROWS_AT_ONCE):
        rows = np.arange(start, min(n, start + _ROWS_AT_ONCE))
        similarity = (vectors[rows] @ vectors.T).toarray()  # [rows, S]
        similarity[rows - start, rows] = 0.0
        degree[rows] = (similarity > _DEGREE_THRESHOLD).sum(axis=1)
        nearest[rows] = similarity.max(axis=1)
        similarity *= sections[rows][:, None] == sections[None, :]
        earlier = np.arange(n)[None, :] < rows[:, None]
        own[rows] = similarity.sum(axis=1)
        forward[rows] = (similarity * ~earlier).sum(axis=1)
        backward[rows] = (similarity * earlier).sum(axis=1)
    size = np.maximum(1, np.bincount(sections)[sections] - 1)
    graphs = [
        page_rank_of_vectors(vectors),
        degree,
        _to_centroid(vectors, np.ones(n, bool)),
        nearest,
        own / size,
        forward / size,
        backward / size,
        _to_sections(vectors, sections),
        *(
            _to_centroid(
                vectors,
                np.array([document.sections[section].kind == kind for section in sections]),
            )
            for kind in (SectionKind.INTRODUCTION, SectionKind.CONCLUSION)
        ),
    ]
    return [scaled for graph in graphs for scaled in (_z_score(graph), _rank(graph))]


def _to_centroid(vectors: sparse.csr_matrix, members: NDArray[np.bool_]) -> Vector:
    """Cosine-like similarity of every sentence to the others among `members`, [S]."""
    if not members.any():
        return np.zeros(len(members), np.float32)
    centroid = np.asarray(vectors[np.flatnonzero(members)].sum(axis=0)).ravel()
    own = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel() * members
    return (vectors @ centroid - own) / members.sum()


def _to_sections(vectors: sparse.csr_matrix, sections: NDArray[np.int64]) -> Vector:
    """Similarity to the other sections, those near the document's ends counting more, [S]."""
    labels, ordinal = np.unique(sections, return_inverse=True)
    n, n_sections = len(sections), len(labels)
    member = sparse.csr_matrix((np.ones(n, np.float32), (ordinal, np.arange(n))))
    centroids = sparse.csr_matrix(sparse.diags(1 / np.bincount(ordinal)) @ (member @ vectors))
    index = np.arange(n_sections)
    weight = 1 / (1 + np.minimum(index, n_sections - 1 - index))
    similarity = (vectors @ centroids.T).toarray()  # [S, sections]
    similarity[np.arange(n), ordinal] = 0.0
    return (similarity @ weight).astype(np.float32)


def _z_score(values: Vector) -> Vector:
    return (values - values.mean()) / (values.std() + 1e-6)


def _rank(values: Vector) -> Vector:
    if np.ptp(values) < 1e-9:
        return np.full(len(values), 0.5)
    order = np.empty(len(values))
    order[np.argsort(values, kind="stable")] = np.arange(len(values))
    return order / max(1, len(values) - 1)
