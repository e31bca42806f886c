"""Lines are full, fit, and give the text back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.line_break import FontWidths, break_lines, hyphenation_places

WIDTHS = FontWidths(lambda character: 1.0)
TEXT = st.text("abeiou rstmn-", max_size=120).map(lambda text: " ".join(text.split()))


def test_breaks_by_hand() -> None:
    lines = break_lines("the representation of a well-known word", 14, 4, WIDTHS)
    assert lines == ["the repre-", "sentation of a", "well-known", "word"]


@given(TEXT, st.integers(3, 30))
def test_lines_fit_and_hold_every_letter(text: str, width: int) -> None:
    lines = break_lines(text, width, 2, WIDTHS)
    assert all(
        0 < len(line) <= width - (2 if i == 0 else 0) or len(line) == 1
        for i, line in enumerate(lines)
    )
    bare = "".join(lines).replace("-", "").replace(" ", "")
    assert bare == text.replace("-", "").replace(" ", "")


@given(TEXT)
def test_a_wide_line_keeps_the_text(text: str) -> None:
    assert break_lines(text, 200, 0, WIDTHS) == ([text] if text else [])


@pytest.mark.parametrize(
    ("word", "places"),
    [
        ("representation", [3, 5, 8, 10]),
        ("well-known", [5]),
        ("data", []),
        ("10.1093/nar", []),
    ],
)
def test_hyphenation_places(word: str, places: list[int]) -> None:
    assert hyphenation_places(word) == places


def test_a_character_is_measured_once() -> None:
    asked: list[str] = []
    widths = FontWidths(lambda character: asked.append(character) or 0.5)
    assert widths.of("abba") == widths.of("baab") == 2.0
    assert sorted(asked) == ["a", "b"]
