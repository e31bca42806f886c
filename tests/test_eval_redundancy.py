"""Repetition inside a summary, counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.redundancy import NEAR_DUPLICATE, measure_redundancy

SENTENCES = st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), max_size=6)


def test_counted_by_hand() -> None:
    measures = measure_redundancy(
        ["bees dance at noon".split(), "foxes sleep".split(), "bees dance at night".split()]
    )
    # bees-dance-at stands twice among four trigrams; the first and the third share three of four.
    assert measures["repeated_trigrams"] == pytest.approx(25)
    assert measures["redundancy"] == pytest.approx(100 * 0.75 / 3)
    assert measures["near_duplicates"] == 1


def test_sentences_just_below_the_threshold_are_no_duplicates() -> None:
    assert 6 / 11 < NEAR_DUPLICATE < 6 / 10
    assert measure_redundancy(["abcde", "abcxy"])["near_duplicates"] == 1
    assert measure_redundancy(["abcdef", "abcxy"])["near_duplicates"] == 0


def test_a_third_copy_counts_once() -> None:
    measures = measure_redundancy([list("abcd")] * 3)
    assert measures["near_duplicates"] == 2
    assert measures["redundancy"] == pytest.approx(100)
    assert measures["repeated_trigrams"] == pytest.approx(100 * 4 / 6)


@pytest.mark.parametrize(
    ("sentences", "loops"),
    [
        (["we saw it we saw it we saw it".split()], 1),
        ([["it", "fell"]] * 4, 1),  # four sentences of two words
        ([["it", "fell"]] * 3, 0),  # six tokens are too few
        ([list("abcd")] * 2, 0),  # two turns
        ([list("abcd"), list("xabcd"), list("yabcd")], 0),  # thrice, but not running
        (["start over and over over over over over over over over".split()], 1),
        ([["nanananananananana"]], 1),
        ([["nananana"]], 0),
    ],
    ids=lambda value: None if isinstance(value, int) else "-".join(map("".join, value)),
)
def test_loops_are_what_comes_again_and_again(sentences: list[list[str]], loops: int) -> None:
    assert measure_redundancy(sentences)["loops"] == loops


@pytest.mark.parametrize("sentences", [[], [[]], [list("ab")], [[], []]])
def test_what_cannot_repeat_does_not(sentences: list[list[str]]) -> None:
    assert set(measure_redundancy(sentences).values()) == {0}


@given(SENTENCES)
def test_bounds_and_order(sentences: list[list[str]]) -> None:
    measures = measure_redundancy(sentences)
    assert 0 <= measures["repeated_trigrams"] < 100
    assert 0 <= measures["redundancy"] <= 100
    assert 0 <= measures["near_duplicates"] <= max(0, len(sentences) - 1)
    turned = measure_redundancy(sentences[::-1])
    assert turned["redundancy"] == pytest.approx(measures["redundancy"])
    assert turned["repeated_trigrams"] == measures["repeated_trigrams"]
