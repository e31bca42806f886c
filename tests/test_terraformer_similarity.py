from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraformer.similarity import (
    content_words,
    cosine_similarity,
    page_rank,
    page_rank_of_vectors,
    tf_idf,
)

WORDS = st.sampled_from([*"river sediment flux dam delta station turbidity".split(), "the", "3.5"])
TEXTS = st.lists(st.lists(WORDS, max_size=8).map(" ".join), min_size=1, max_size=12)


def test_content_words_are_lower_case_without_function_words_and_numbers() -> None:
    assert content_words("The State-of-the-art of 12 Rivers, <dig> dams.") == [
        *("state-of-the-art", "rivers", "<dig>", "dams")
    ]


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_rows_are_unit_vectors_or_zero(texts: list[str]) -> None:
    vectors = tf_idf(texts)
    assert vectors.shape[0] == len(texts)
    norms = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    expected = [1.0 if content_words(text) else 0.0 for text in texts]
    np.testing.assert_allclose(norms, expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_page_rank_without_the_graph_is_page_rank(texts: list[str]) -> None:
    direct = page_rank(cosine_similarity(texts), n_iterations=30, tol=0.0)
    implicit = page_rank_of_vectors(tf_idf(texts), n_iterations=30)
    np.testing.assert_allclose(implicit, direct, atol=1e-5)
    assert implicit.sum() == pytest.approx(1.0, abs=1e-4)


def test_weights_are_term_frequency_times_smooth_inverse_document_frequency() -> None:
    vectors = tf_idf(["river river dam", "dam"]).toarray()
    river, dam = 2 * (np.log(3 / 2) + 1), 1.0
    expected = np.array([river, dam]) / np.hypot(river, dam)
    np.testing.assert_allclose(vectors, [expected, [0.0, 1.0]], rtol=1e-5)


def test_the_middle_of_a_star_ranks_highest() -> None:
    weights = np.zeros((5, 5), np.float32)
    weights[0, 1:] = weights[1:, 0] = 1.0
    rank = page_rank(weights)
    assert rank.argmax() == 0
    assert rank[0] == pytest.approx((0.15 / 5 + 0.85 * 4 * 0.15 / 5) / (1 - 0.85**2), rel=1e-3)


def test_one_sentence_and_sentences_without_words() -> None:
    for texts in (["river"], ["the"], ["the", "of", "3"]):
        assert not cosine_similarity(texts).any()
        np.testing.assert_allclose(page_rank_of_vectors(tf_idf(texts)), 1 / len(texts), rtol=1e-5)
