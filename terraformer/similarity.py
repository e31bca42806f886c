"""Tf-idf vectors of a document's sentences and the graphs drawn over them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_WORD = re.compile(r"[a-z][a-z\-]+|<dig>")
# Function words carry no topic; the list is kept short, as idf already weighs down the rest.
STOP_WORDS = frozenset(
    """a about above after again all also although am among an and any are as at be
    because been before being below between both but by can cannot could did do does
    doing down during each either et al few for from further had has have having he her
    here hers him his how however i if in into is it its itself just may me might more
    most must my no nor not of off on once only or other our ours out over own per same
    she should since so some such than that the their theirs them then there these they
    this those through thus to too under until up upon us very via was we were what when
    where whereas which while who whom why will with within without would you your e.g
    i.e""".split()
)


def content_words(text: str) -> list[str]:
    """Returns the words of `text` in lower case, without stop words and numbers."""
    return [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


def tf_idf(texts: Sequence[str]) -> sparse.csr_matrix:
    """Returns the L2-normalized tf-idf vectors of sentences, idf taken over these sentences.

    Args:
        texts: S sentences.
    Returns:
        [S, vocabulary], float32; the row of a sentence without content words is zero.
        Weights are tf * (log((1 + S) / (1 + df)) + 1).
    """
    ids: dict[str, int] = {}
    indices: list[int] = []
    starts = [0]
    for text in texts:
        indices.extend(ids.setdefault(word, len(ids)) for word in content_words(text))
        starts.append(len(indices))
    counts = sparse.csr_matrix(
        (np.ones(len(indices), np.float32), indices, starts), shape=(len(texts), max(1, len(ids)))
    )
    counts.sum_duplicates()
    df = np.bincount(counts.indices, minlength=max(1, len(ids)))
    idf = (np.log((1 + len(texts)) / (1 + df)) + 1).astype(np.float32)
    weighted = counts.multiply(idf).tocsr()
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return sparse.csr_matrix(sparse.diags(scale) @ weighted, dtype=np.float32)


def cosine_similarity(texts: Sequence[str]) -> NDArray[np.float32]:
    """Returns the cosine similarities of sentences by tf-idf, [S, S], with a zero diagonal."""
    vectors = tf_idf(texts)
    similarity = (vectors @ vectors.T).toarray().astype(np.float32)
    np.fill_diagonal(similarity, 0.0)
    return similarity


def page_rank(
    weights: NDArray[np.float32], damping: float = 0.85, n_iterations: int = 100, tol: float = 1e-6
) -> NDArray[np.float32]:
    """Returns the stationary distribution of a random walk over a weighted graph.

    Args:
        weights: Edge weights, [S, S], not negative; a node without edges jumps anywhere.
        damping: Probability of following an edge rather than jumping to a random node.
        n_iterations: Most power iterations.
        tol: Total change below which the iteration stops.
    Returns:
        Probabilities, [S].
    Source: Erkan and Radev 2004, arXiv:1109.2128.
    """
    n = len(weights)
    degree = weights.sum(axis=1)
    dangling = degree == 0
    transition = weights / np.where(dangling, 1.0, degree)[:, None]
    rank = np.full(n, 1.0 / n, np.float32)
    for _ in range(n_iterations):
        jump = (1.0 - damping) / n + damping * float(rank[dangling].sum()) / n
        update = (damping * (rank @ transition) + jump).astype(np.float32)
        change = float(np.abs(update - rank).sum())
        rank = update
        if change < tol:
            break
    return rank


def page_rank_of_vectors(
    vectors: sparse.csr_matrix, damping: float = 0.85, n_iterations: int = 30
) -> NDArray[np.float32]:
    """Returns `page_rank` over the cosine graph of `vectors` without ever building the graph.

    Args:
        vectors: L2-normalized rows, [S, vocabulary]; edges are their cosines, without self-loops.
        damping: Probability of following an edge rather than jumping to a random node.
        n_iterations: Power iterations, each linear in the vectors' entries.
    Returns:
        Probabilities, [S].
    """
    own = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
    n = len(own)
    degree = vectors @ np.asarray(vectors.sum(axis=0)).ravel() - own
    dangling = degree <= 1e-5  # rounding leaves as much of a sentence's cosine with itself
    degree = np.where(dangling, 1.0, degree)
    rank = np.full(n, 1.0 / n)
    for _ in range(n_iterations):
        flow = np.where(dangling, 0.0, rank / degree)
        passed_on = vectors @ (vectors.T @ flow) - own * flow
        jump = (1.0 - damping + damping * rank[dangling].sum()) / n
        rank = damping * passed_on + jump
    return rank.astype(np.float32)
