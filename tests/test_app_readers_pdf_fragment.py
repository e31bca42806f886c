from __future__ import annotations

import pytest

from app.readers.pdf_block import blocks_of
from app.readers.pdf_fragment import Char, fragments_of
from app.readers.pdf_layout import Page, lay_out

SIZE, WIDTH, LEADING = 10.0, 5.0, 12.0
FULL = "The otters of the valley live beside the old mill and fish in the river below it at dawn"
SENTENCE = "The otter lives beside the old mill."
Part = tuple[str, bool]  # its text, and whether it is bold


def chars(parts: list[Part], y: float = 700.0, gap: float = 0.0) -> list[Char]:
    """Characters of a line; `gap` is added between its parts. Spaces are gaps of a width."""
    line: list[Char] = []
    x = 60.0
    for text, bold in parts:
        for character in text:
            if character != " ":
                line.append(Char(character, x, x + WIDTH, y, SIZE, bold, False, 0))
            x += WIDTH
        x += gap
    return line


def read(lines: list[list[Part]], gap: float = 0.0) -> list[str]:
    """Returns the paragraphs of a page whose lines are followed by a paragraph of full ones."""
    found: list[Char] = []
    for i, parts in enumerate([*lines, *3 * [[(FULL, False)]]]):
        spread = gap if parts is lines[0] else 0.0
        found += chars(parts, 700 - LEADING * (i + (i >= len(lines))), spread)
    return [block.text for block in blocks_of(lay_out(Page(1, 612.0, 792.0, fragments_of(found))))]


@pytest.mark.parametrize("gap", [0.0, 8.0], ids=["one fragment", "two fragments"])
@pytest.mark.parametrize(
    "heading",
    [
        "Our results",
        "Theorem 3",
        "Theorem 2.1",
        "Lemma A.1",
        "Lemma 3 (Main)",
        "2.1 River data",
        "Materials & Methods",
        "Étude des cas",
        "Proof",
    ],
)
def test_a_heading_that_runs_into_its_paragraph_gets_a_stop(heading: str, gap: float) -> None:
    first = [(f"{heading} ", True), (SENTENCE, False)]
    assert len(fragments_of(chars(first, gap=gap))) == 1 + (gap > 0)
    assert read([first], gap)[0] == f"{heading}. {SENTENCE}"


@pytest.mark.parametrize(
    ("lead", "rest"),
    [
        ("Results.", f" {SENTENCE}"),  # has its own
        ("Note:", f" {SENTENCE}"),
        ("Our results", " show that the otter lives beside the old mill."),
        ("Random forests", " (Breiman, 2001) are trees that are grown together."),
        ("Graph", "SAGE is the model that the otters were counted with."),
    ],
)
def test_other_bold_words_stay_as_they_are(lead: str, rest: str) -> None:
    assert read([[(lead, True), (rest, False)]])[0] == lead + rest


def test_bold_words_within_a_paragraph_get_no_stop() -> None:
    wrapped = [("New York", True), (" City is the largest of them.", False)]
    assert read([[(FULL, False)], wrapped])[0] == f"{FULL} New York City is the largest of them."
    middle = [("We call it ", False), ("Mill Otter ", True), ("The name is new to all.", False)]
    assert read([middle])[0] == "We call it Mill Otter The name is new to all."
