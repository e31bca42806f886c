from __future__ import annotations

import pytest

from app.readers.pdf_fragment import Char, Fragment, fragments_of
from app.readers.pdf_layout import Page, lay_out

SIZE, WIDTH = 10.0, 5.0


def chars(parts: list[tuple[str, bool]], gap: float = 0.0) -> list[Char]:
    """Characters of a line; `gap` is added between its parts. Spaces are gaps of a width."""
    line: list[Char] = []
    x = 60.0
    for text, bold in parts:
        for character in text:
            if character != " ":
                line.append(Char(character, x, x + WIDTH, 700.0, SIZE, bold, False, 0))
            x += WIDTH
        x += gap
    return line


def line_of(fragments: list[Fragment]) -> str:
    (line,) = lay_out(Page(1, 612.0, 792.0, fragments))
    return line.text


SENTENCE = "The otter lives beside the old mill."


@pytest.mark.parametrize("gap", [0.0, 8.0], ids=["one fragment", "two fragments"])
@pytest.mark.parametrize("heading", ["Our results", "Theorem 3", "2.1 River data", "Proof"])
def test_a_heading_that_runs_into_its_text_gets_a_stop(heading: str, gap: float) -> None:
    fragments = fragments_of(chars([(f"{heading} ", True), (SENTENCE, False)], gap))
    assert len(fragments) == 1 + (gap > 0)
    assert line_of(fragments) == f"{heading}. {SENTENCE}"


@pytest.mark.parametrize(
    ("lead", "rest"),
    [
        ("Results.", SENTENCE),  # has its own
        ("Note:", SENTENCE),
        ("otters", "and herons live there."),
        ("Our results", "show that it lives there."),  # a part of the sentence
        ("Capital", "Berlin Vienna Paris"),  # a row of a table
        ("Random forests", "(Breiman, 2001) are trees."),
    ],
)
def test_other_bold_words_stay_as_they_are(lead: str, rest: str) -> None:
    assert line_of(fragments_of(chars([(f"{lead} ", True), (rest, False)]))) == f"{lead} {rest}"


def test_a_line_that_is_bold_to_its_end_or_from_its_middle_gets_no_stop() -> None:
    assert (
        line_of(fragments_of(chars([("Our results The otter", True)]))) == "Our results The otter"
    )
    parts = [("We call it ", False), ("Mill Otter ", True), ("The name is new.", False)]
    assert line_of(fragments_of(chars(parts))) == "We call it Mill Otter The name is new."
