"""From the characters of a PDF page to fragments: runs of text on one baseline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Char(NamedTuple):
    """A character of a page; lengths in points, y upwards.

    Attributes:
        text: The character.
        x0, x1: Where it begins, and where the next one would.
        y: Baseline.
        size: Font size.
        bold, italic: By the font's name or weight.
        spaced: 0 where nothing separates it from the character before it, 1 where the PDF library
            supposes a space, 2 where the page has one.
    """

    text: str
    x0: float
    x1: float
    y: float
    size: float
    bold: bool
    italic: bool
    spaced: int


class Fragment(NamedTuple):
    """A run of text on one baseline without wide gaps; units as in `Char`.

    Attributes:
        bold, italic: Share of its characters, 0 to 1.
        lead: The words in bold that it begins with, where others follow.
    """

    text: str
    x0: float
    x1: float
    y: float
    size: float
    bold: float
    italic: float
    lead: str = ""

    @property
    def top(self) -> float:
        return self.y + 0.75 * self.size


_COLUMN_GAP = 1.0  # in font sizes: what is further apart belongs to two fragments
_WORD_GAP = 0.15
_SUPPOSED_WORD_GAP = 0.08
# A reference set as a superscript: "shown.3,4" and "methods†".
_REFERENCE_MARK = re.compile(r"(?:(?<=[^\W\d_]{3})|(?<=[.,;:)\]”\"])) ?\x0e[\d,–\-*†‡§¶∗ ]*\x0f")
_NOTE_NUMBER = re.compile(r"^\x0e(?:\d{1,2}|[*†‡§¶∗])\x0f ?(?=[A-Z“‘\"(])")
_SHIFTS = re.compile(r"[\x0e\x0f]")


def fragments_of(chars: Iterable[Char]) -> list[Fragment]:
    """Returns the fragments of a page in the order of its content stream.

    Args:
        chars: The page's visible characters in stream order.
    """
    fragments: list[Fragment] = []
    run: list[Char] = []
    y = size = 0.0
    for char in chars:
        if run:
            gap = char.x0 - run[-1].x1
            largest = max(size, char.size)
            if (
                abs(char.y - y) > 0.5 * largest
                or gap > _COLUMN_GAP * largest
                or gap < -1.5 * largest
            ):
                fragments.append(_fragment(run))
                run = []
        if not run or char.size > 1.1 * size:
            y, size = char.y, char.size
        run.append(char)
    if run:
        fragments.append(_fragment(run))
    return [fragment for fragment in fragments if fragment.text]


def _fragment(run: list[Char]) -> Fragment:
    size = Counter(char.size for char in run).most_common(1)[0][0]
    y = Counter(char.y for char in run if char.size > 0.9 * size).most_common(1)[0][0]
    parts: list[str] = []
    raised = False
    n_bold = next((i for i, char in enumerate(run) if not char.bold), 0)
    n_lead = 0  # parts
    for i, char in enumerate(run):
        if i == n_bold:
            n_lead = len(parts)
        lifted = char.size < 0.85 * size and char.y > y + 0.15 * size
        if raised and not lifted:
            parts.append("\x0f")
        if i:
            gap = (char.x0 - run[i - 1].x1) / max(size, char.size)
            if char.spaced == 2 or gap > (_SUPPOSED_WORD_GAP if char.spaced else _WORD_GAP):
                parts.append(" ")
        if lifted and not raised:
            parts.append("\x0e")
        raised = lifted
        parts.append(char.text)
    if raised:
        parts.append("\x0f")
    text = _SHIFTS.sub("", _NOTE_NUMBER.sub("", _REFERENCE_MARK.sub("", "".join(parts)))).strip()
    follows = parts[n_lead : n_lead + 1] == [" "]
    return Fragment(
        text=text,
        x0=round(min(char.x0 for char in run), 1),
        x1=round(max(char.x1 for char in run), 1),
        y=y,
        size=size,
        bold=round(sum(char.bold for char in run) / len(run), 2),
        italic=round(sum(char.italic for char in run) / len(run), 2),
        lead="".join(parts[:n_lead]) if follows else "",
    )
