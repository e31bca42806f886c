"""ROUGE against rouge-score itself, and the bootstrap against what is known of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from eval.lcs import LcsTarget
from eval.metrics import (
    METRIC_NAMES,
    ROUGE_NAMES,
    bootstrap_means,
    confidence_interval,
    score_summary,
    share_of_gap,
)
from terraformer.sentence_splitter import split_sentences

RNG = np.random.default_rng(0)
# Few words, so that they repeat, in forms that the stemmer joins.
WORDS = ["model", "models", "modelling", "the", "cells", "cell", "results", "12", "et-al", "x"]


def random_text(n_sentences: int, n_words: int) -> str:
    return " ".join(
        " ".join(RNG.choice(WORDS, n_words)).capitalize() + "." for _ in range(n_sentences)
    )


def rouge_score_f1(prediction: str, reference: str) -> dict[str, float]:
    scorer = RougeScorer(list(ROUGE_NAMES), use_stemmer=True)
    lines = [
        "\n".join(text[start:end] for start, end in split_sentences(text))
        for text in (reference, prediction)
    ]
    return {name: 100 * score.fmeasure for name, score in scorer.score(*lines).items()}


@pytest.mark.parametrize("n_sentences", [1, 2, 7], ids=lambda n: f"sentences{n}")
@pytest.mark.parametrize("n_words", [1, 5, 23], ids=lambda n: f"words{n}")
def test_scores_are_those_of_rouge_score(n_sentences: int, n_words: int) -> None:
    for _ in range(5):
        prediction = random_text(n_sentences, n_words)
        reference = random_text(int(RNG.integers(1, 6)), int(RNG.integers(1, 20)))
        scores = score_summary(prediction, reference)
        for name, expected in rouge_score_f1(prediction, reference).items():
            assert scores[name] == pytest.approx(expected, abs=1e-9), name


@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), max_size=5),
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), max_size=5),
)
def test_scores_are_those_of_rouge_score_on_anything(
    prediction: list[list[str]], reference: list[list[str]]
) -> None:
    texts = [". ".join(" ".join(words) for words in side) for side in (prediction, reference)]
    scores = score_summary(*texts)
    for name, expected in rouge_score_f1(*texts).items():
        assert scores[name] == pytest.approx(expected, abs=1e-9), name


def test_sentences_matter_to_rouge_lsum_alone() -> None:
    reference = "Bees dance. Foxes sleep all day."
    swapped = score_summary("Foxes sleep all day. Bees dance.", reference)
    assert swapped["rouge1"] == swapped["rougeLsum"] == 100
    assert swapped["rougeL"] == pytest.approx(100 * 4 / 6)


def test_paragraphs_and_words() -> None:
    scores = score_summary("One two.\nThree four five.", "One two. Three four five.")
    assert {name: scores[name] for name in ROUGE_NAMES} == dict.fromkeys(ROUGE_NAMES, 100.0)
    assert scores["words"] == 5
    assert tuple(scores) == METRIC_NAMES


@pytest.mark.parametrize(
    ("prediction", "reference"), [("", "a b"), ("a b", ""), ("...", "a b"), ("x", "y")]
)
def test_nothing_in_common_scores_zero(prediction: str, reference: str) -> None:
    scores = score_summary(prediction, reference)
    assert [scores[name] for name in ROUGE_NAMES] == [0, 0, 0, 0]


@given(st.text("abc", max_size=40), st.text("abc", max_size=40))
def test_lcs_indices_spell_a_common_subsequence_of_full_length(first: str, second: str) -> None:
    places = LcsTarget(first).indices(second)
    assert len(places) == LcsTarget(first).length(second) == LcsTarget(second).length(first)
    assert places == sorted(set(places), reverse=True)
    remaining = iter(first)
    assert all(second[place] in remaining for place in reversed(places))


def test_bootstrap_of_equal_values_has_no_width() -> None:
    assert confidence_interval([7.0] * 5) == pytest.approx((7.0, 7.0))
    assert confidence_interval([3.0]) == pytest.approx((3.0, 3.0))


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(50, 10, 400)
    low, high = confidence_interval(values)
    standard_error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.15)
    assert high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.15)
    assert (low, high) == confidence_interval(values)


def test_bootstrap_resamples_systems_in_pairs() -> None:
    values = np.random.default_rng(2).normal(30, 5, (40, 1))
    means = bootstrap_means(np.hstack([values, values + 2]))
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 2)
    np.testing.assert_allclose(means[:, 0], bootstrap_means(values[:, 0]))
    with pytest.raises(ValueError, match="at least one document"):
        bootstrap_means(np.zeros(0))


def test_share_of_gap() -> None:
    floor = np.random.default_rng(3).normal(10, 2, 30)
    ceiling = floor + 20
    assert share_of_gap(floor + 5, floor, ceiling) == pytest.approx((0.25, 0.25, 0.25))
    share, low, high = share_of_gap(floor * 1.5, floor, ceiling)
    assert low < share < high
    assert np.isnan(share_of_gap(floor, floor, floor)).all()
