from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraformer.sentence_splitter import split_sentences


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    "parts",
    [
        ["Smith et al. found this.", "It is good."],
        ["This was shown by Smith et al.", "We extend it."],
        ["As Fig. 3 shows, it works.", "Figs. 4 and 5 agree."],
        ["Some metals, e.g. iron, rust.", "Others, i.e. gold, do not."],
        ["We insert Eq. (4) into Eq. (5).", "The rest follows."],
        ["Dr. Smith agrees.", "Prof. Jones does not."],
        ["J. K. Rowling wrote it.", "Nobody else did."],
        ["The value is 3.14 and not 2.5.", "It rose by .5 later."],
        ["the cells were lower-cased.", "they grew in fig. 2 as before."],
        ["It holds (see A. This is inside. Also) here.", "The next one."],
        ["We grew E. coli overnight.", "P. aeruginosa died."],
        ["Is it true?", "Yes!", "We think so."],
        ["We used iron, zinc, etc. for it.", "Then we stopped."],
        ["It is 5 mg vs. 3 mg.", "No. 5 is best."],
        ["A vibrio sp. and two Bacillus spp. grew.", "We kept a Vibrio sp.", "It grew."],
        ["A Vibrio sp. EJY3 lay on chr. X of Brucella spp. DNA.", "It is a subsp.", "The end."],
        ["The PLATO trial (ClinicalTrials.gov No. NCT00391872) ended.", "It is no.", "We stop."],
        ["It failed [cf. Sect. 3 and ref. 12].", "So we stopped."],
    ],
    ids=lambda parts: parts[0],
)
def test_boundaries_of_scholarly_prose(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts


def test_an_unclosed_bracket_does_not_swallow_the_paragraph() -> None:
    text = "It holds (see above. " + "The flux rose with the discharge. " * 30
    assert len(sentences(text)) == 31


FRAGMENTS = st.sampled_from(
    [
        "Fig. 3",
        "et al.",
        "e.g.",
        "A. B.",
        "(",
        ")",
        "[1]",
        ".",
        "...",
        "?",
        "!",
        " ",
        "\n",
        "\xa0",
        "the flux",
        "Rises",
        "3.14",
        "<dig>.",
        "“",
        "”",
        "Dr. X",
        "é",
        "漢字。",
        "😀",
        "\u2028",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(FRAGMENTS, max_size=40).map(" ".join)))
def test_spans_ascend_and_hold_every_character(text: str) -> None:
    spans = split_sentences(text)
    cursor = 0
    for start, end in spans:
        assert cursor <= start < end
        assert not text[cursor:start].strip()
        assert text[start:end] == text[start:end].strip()
        cursor = end
    assert not text[cursor:].strip()


@pytest.mark.parametrize(
    "unit", ["word ", "al. ", "A. ", ". ", "(see a. b ", "Fig. 3. ", "x", "(a", "I saw it. "]
)
def test_a_long_paragraph_takes_linear_time(unit: str) -> None:
    def seconds(n_characters: int) -> float:
        start = time.process_time()
        split_sentences(unit * (n_characters // len(unit)))
        return time.process_time() - start

    assert seconds(100_000) < 0.5 + 40 * seconds(10_000)


def test_an_item_of_a_list_ends_with_its_sentence() -> None:
    text = (
        "There are two reasons: 1) The cause is unknown; 2) Experts differ. We test both. It helps."
    )
    sentences = [text[start:end] for start, end in split_sentences(text)]
    assert sentences[-3:] == ["2) Experts differ.", "We test both.", "It helps."]
