"""Coverage, density and compression: counted by hand, and held against the plain algorithm."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.fragments import NOVEL_NGRAMS, FragmentIndex, surface_tokens

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", ","]), max_size=25)


def plain_fragments(source: Sequence[str], summary: Sequence[str]) -> list[int]:
    """Grusky et al. 2018, figure 3: every place of the source is tried."""
    lengths: list[int] = []
    start = 0
    while start < len(summary):
        best = 0
        for place in range(len(source)):
            length = 0
            while (
                start + length < len(summary)
                and place + length < len(source)
                and summary[start + length] == source[place + length]
            ):
                length += 1
            best = max(best, length)
        if best:
            lengths.append(best)
        start += max(1, best)
    return lengths


@given(WORDS, WORDS)
def test_fragments_are_those_of_the_plain_algorithm(source: list[str], summary: list[str]) -> None:
    index = FragmentIndex(" ".join(source))
    assert index.fragment_lengths(summary) == plain_fragments(source, summary)


def test_counted_by_hand() -> None:
    source = "The old bridge fell into the river. Nobody was hurt, the mayor said."
    summary = "The bridge fell into the sea; nobody was hurt."
    index = FragmentIndex(source)
    tokens = surface_tokens(summary)
    # the | bridge fell into the | (sea) | (;) | nobody was hurt | .
    assert index.fragment_lengths(tokens) == [1, 4, 3, 1]
    measures = index.measure([summary])
    assert measures["coverage"] == pytest.approx(100 * 9 / 11)
    assert measures["density"] == pytest.approx((1 + 16 + 9 + 1) / 11)
    assert measures["compression"] == pytest.approx(16 / 11)
    # the-bridge and the-sea of the-bridge, bridge-fell, fell-into, into-the, the-sea, nobody-was,
    # was-hurt; sea-nobody stands over a semicolon.
    assert measures["novel_bigrams"] == pytest.approx(100 * 2 / 7)
    # sea of nine words; bridge-fell-into, fell-into-the, nobody-was-hurt are known of five;
    # bridge-fell-into-the of three.
    assert measures["novel_unigrams"] == pytest.approx(100 / 9)
    assert measures["novel_trigrams"] == pytest.approx(100 * 2 / 5)
    assert measures["novel_fourgrams"] == pytest.approx(100 * 2 / 3)


@given(WORDS.filter(bool), st.data())
def test_a_piece_of_the_source_is_one_fragment(source: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(source) - 1))
    stop = data.draw(st.integers(start + 1, len(source)))
    measures = FragmentIndex(" ".join(source)).measure([" ".join(source[start:stop])])
    assert measures["coverage"] == 100
    assert measures["density"] == pytest.approx(stop - start)
    assert [measures[name] for name in NOVEL_NGRAMS] == [0, 0, 0, 0]


def test_sentences_taken_from_far_apart_have_no_novel_bigrams() -> None:
    source = "Bees dance at noon. Foxes sleep all day. Owls hunt by night."
    measures = FragmentIndex(source).measure(["Bees dance at noon", "Owls hunt by night."])
    assert measures["novel_bigrams"] == 0
    assert measures["density"] == pytest.approx((4 * 4 + 5 * 5) / 9)


def test_case_does_not_matter_and_nothing_shared_is_zero() -> None:
    index = FragmentIndex("BERT reads text")
    assert index.measure(["bert READS"])["coverage"] == 100
    nothing = index.measure(["owls hunt"])
    assert (nothing["coverage"], nothing["density"], nothing["novel_bigrams"]) == (0, 0, 100)
    assert (nothing["novel_unigrams"], nothing["novel_trigrams"]) == (100, 0)
    assert set(index.measure([]).values()) == {0}
