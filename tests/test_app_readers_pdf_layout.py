from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pytest

from app.readers.block import Block, BlockKind
from app.readers.pdf_block import blocks_of
from app.readers.pdf_fragment import Fragment
from app.readers.pdf_furniture import drop_furniture
from app.readers.pdf_layout import Page, lay_out
from app.readers.prose import is_debris

SIZE, LEADING = 10.0, 12.0
LEFT, GUTTER, RIGHT = 60.0, 306.0, 552.0  # a page of two columns, 20 points apart
COLUMN = 236.0
RIVERS = (
    "The river of the valley carries sand and gravel from the mountains to the sea in every spring "
    "and the dams that were built along its course hold most of what it carries so that the delta "
    "loses land while the lakes behind the dams are filled within a few decades as we show here "
    "with measurements of the last thirty years that were never compared before this study began. "
)
HERONS = (
    "Herons and otters return to the upper valley where the water is clear again and the fish that "
    "they live on have found new places among the stones which the floods have left there. "
)


def piece(text: str, x0: float, y: float, x1: float | None = None, size: float = SIZE) -> Fragment:
    """A fragment; without `x1` as wide as its characters are on average."""
    return Fragment(text, x0, x0 + 0.5 * size * len(text) if x1 is None else x1, y, size, 0.0, 0.0)


def lines_of(text: str, x0: float, x1: float, top: float) -> list[Fragment]:
    """A justified paragraph: all lines but the last reach `x1`."""
    wrapped = textwrap.wrap(text, round((x1 - x0) / (0.5 * SIZE)))
    last = len(wrapped) - 1
    return [
        piece(line, x0, top - LEADING * i, None if i == last else x1)
        for i, line in enumerate(wrapped)
    ]


def two_columns(top: float) -> list[Fragment]:
    left = lines_of(RIVERS * 2, LEFT, LEFT + COLUMN, top)
    return left + lines_of(HERONS * 4, RIGHT - COLUMN, RIGHT, top)


def blocks(fragments: Sequence[Fragment]) -> list[Block]:
    return blocks_of(lay_out(Page(1, 612.0, 792.0, fragments)))


def test_a_caption_over_two_columns_keeps_its_short_last_line() -> None:
    caption = (
        "Figure 2: Sand and gravel at the mouth of the river before and after the dams were built, "
        "with the mean of thirty years that were measured at the station of the lower valley and a "
        "part of it shown"
    )
    shown = blocks([*lines_of(caption, LEFT, RIGHT, 700), *two_columns(640)])
    assert [block.text for block in shown if block.kind is BlockKind.CAPTION] == [caption]
    told = " ".join(block.text for block in shown if block.kind is BlockKind.PROSE)
    assert told == (RIVERS * 2 + HERONS * 4).strip()


def test_a_column_under_a_spanning_line_keeps_its_first_line() -> None:
    spanning = lines_of(RIVERS, LEFT, RIGHT, 700)
    n_full = len(spanning) - 1
    found = lay_out(Page(1, 612.0, 792.0, [*spanning[:n_full], *two_columns(700 - 12 * n_full)]))
    assert [line.right for line in found[:n_full]] == n_full * [RIGHT]
    column = [line for line in found[n_full:] if line.x0 == LEFT]
    assert {line.right for line in column} == {LEFT + COLUMN}


def test_paragraphs_beside_a_table_of_two_columns_stay_whole() -> None:
    table = [
        piece(text, x0, 640 - LEADING * row)
        for row in range(6)
        for x0, text in (
            (LEFT + 10, f"the sand of river {row}"),
            (330, f"the gravel of river {row}"),
        )
    ]
    above = lines_of(RIVERS + "It ends.", LEFT, RIGHT, 710)
    below = lines_of(RIVERS + HERONS, LEFT, RIGHT, 540) + lines_of(RIVERS, LEFT, RIGHT, 420)
    paragraphs = [block.text for block in blocks([*above, *table, *below])]
    for text in (RIVERS + "It ends.", RIVERS + HERONS, RIVERS):
        assert text.strip() in paragraphs


@pytest.mark.parametrize("marks", [["√"], ["(", "q ) )"], ["ϵ2", "δ", "log n"]])
def test_roots_and_indices_between_lines_do_not_break_a_paragraph(marks: list[str]) -> None:
    paragraph = lines_of(RIVERS + HERONS, LEFT, RIGHT, 700)
    between = (paragraph[2].y + paragraph[3].y) / 2
    strays = [piece(mark, 200 + 40 * i, between, size=8.0) for i, mark in enumerate(marks)]
    assert [block.text for block in blocks(paragraph + strays)] == [(RIVERS + HERONS).strip()]


@pytest.mark.parametrize(
    "symbols",
    [
        "‖y − s(v)‖ ≥ ‖x − c(v)‖ − ‖y − x‖ − ‖c(v) − s(v)‖. Thus ‖x − c(v)‖ ≥ 2 as we",
        "α = {0.95, 0.85, 0.75, 0.65, 0.55} and",
    ],
    ids=["long", "short"],
)
def test_a_line_of_symbols_may_stand_in_a_paragraph(symbols: str) -> None:
    before = lines_of(RIVERS, LEFT, RIGHT, 700)[:-1]
    line = piece(symbols, LEFT, before[-1].y - LEADING, RIGHT)
    after = lines_of(HERONS, LEFT, RIGHT, line.y - LEADING)
    (block,) = blocks([*before, line, *after])
    assert symbols in block.text
    assert block.text.endswith(HERONS.strip())


def test_a_formula_set_apart_is_left_out() -> None:
    before = lines_of(RIVERS, LEFT, RIGHT, 700)
    formula = piece("O n + log log Φ + log + d log Φ bits.", 200, before[-1].y - 2 * LEADING)
    after = lines_of(HERONS, LEFT, RIGHT, formula.y - 2 * LEADING)
    shown = " ".join(block.text for block in blocks([*before, formula, *after]))
    assert shown == (RIVERS + HERONS).strip()


def test_operators_make_no_prose() -> None:
    assert is_debris("min log max exp argmin (x)")
    assert not is_debris("minimum of all logarithms (x)")


def test_a_title_that_running_heads_repeat_is_kept() -> None:
    title = "A Study of Rivers"
    pages = []
    for number in range(1, 6):
        head = piece(title, LEFT, 760, size=16.0 if number == 1 else 9.0)
        pages.append(Page(number, 612.0, 792.0, [head, *lines_of(RIVERS, LEFT, RIGHT, 600)]))
    kept = drop_furniture(pages)
    assert [page.fragments[0].text == title for page in kept] == [True, False, False, False, False]
    assert kept[0].fragments == pages[0].fragments


def test_the_heading_of_a_first_section_is_no_title() -> None:
    heading = piece("1 Introduction", LEFT, 740, size=14.0)
    fragments = [heading, *lines_of(RIVERS + HERONS, LEFT, RIGHT, 710)]
    assert [block.kind for block in blocks(fragments)] == [BlockKind.HEADING, BlockKind.PROSE]
