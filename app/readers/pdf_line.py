"""What a line of a PDF is, told by its type, its place and its words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.readers.block import BlockKind
from app.readers.heading import (
    could_be_heading,
    is_capitals,
    is_known,
    is_numbered,
    mend_heading,
)
from app.readers.pdf_layout import Line
from app.readers.prose import is_debris

_CAPTION = re.compile(
    r"(?:figure|fig\.|table|tab\.|algorithm|listing|scheme|plate|box|chart|video|extended data "
    r"(?:fig\.|figure|table))\s*(?:S?\d+|[A-Z]\.?\d+|[IVX]+)\b\s*[.:|–—]?",
    re.IGNORECASE,
)
_CODE_LINE = re.compile(r"\d{1,2}:\s")
_CONTENTS_LINE = re.compile(r".*(?:\. ?){4,}\s*\d+$|.*…[. …]*\d+$")
_LARGER = 1.07  # than the body, in which headings may be set
_SMALLER = 0.93  # notes

# A block that lines are being added to.
LineGroup = tuple[BlockKind, list[Line]]


@dataclass(frozen=True)
class BodyType:
    """The type that most of the document is set in.

    Attributes:
        size: Font size, points.
        spacing: Distance of its baselines, points.
        is_bold: Whether it is bold, so that bold tells no headings.
    """

    size: float
    spacing: float
    is_bold: bool


def body_type(lines: Sequence[Line]) -> BodyType:
    """Returns the type that most characters of the prose are set in."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[round(2 * line.size) / 2] += 0 if is_debris(line.text) else len(line.text)
    size = sizes.most_common(1)[0][0]
    gaps = sorted(
        line.gap for line in lines if abs(line.size - size) < 0.6 and size < line.gap < 2.5 * size
    )
    of_size = [line for line in lines if abs(line.size - size) < 0.6]
    n_bold = sum(len(line.text) for line in of_size if line.bold > 0.9)
    return BodyType(
        size=size,
        spacing=gaps[len(gaps) // 2] if gaps else 1.2 * size,
        is_bold=n_bold > 0.5 * sum(len(line.text) for line in of_size),
    )


def line_kind(
    line: Line, group: LineGroup | None, previous: Line | None, body: BodyType
) -> BlockKind | None:
    """Returns what a line belongs to, None for formulas, rows of tables and code."""
    if _CONTENTS_LINE.match(line.text):
        return None
    if _is_heading(line, previous, body) or (
        group is not None and wraps_heading(line, previous, group, body)
    ):
        return BlockKind.HEADING
    is_code = _CODE_LINE.match(line.text) is not None
    if is_code or _is_debris(line):
        # A line full of symbols may stand in a paragraph; a formula set apart comes in pieces.
        may_flow = len(line.text) < 40 or (line.n_parts == 1 and not is_code)
        if group is not None and may_flow and _flows_on(line, group, previous, body):
            return group[0]
        return None
    if _CAPTION.match(line.text) and (previous is None or is_apart(line, previous, body)):
        return BlockKind.CAPTION
    if group is not None and group[0] is BlockKind.CAPTION and previous is not None:
        same_type = abs(line.size - previous.size) < 0.6
        if same_type and line.gap < 1.25 * max(body.spacing, 1.2 * line.size):
            return BlockKind.CAPTION
    return BlockKind.NOTE if line.size < _SMALLER * body.size else BlockKind.PROSE


def _flows_on(line: Line, group: LineGroup, previous: Line | None, body: BodyType) -> bool:
    """Whether a line stands where the next one of a paragraph does."""
    return (
        previous is not None
        and group[0] is not BlockKind.HEADING
        and previous.is_full
        and not line.is_indented
        and 0.8 * body.spacing < line.gap < 1.3 * body.spacing
    )


def _is_debris(line: Line) -> bool:
    # A line of prose fills its column in one piece, though it may be full of symbols.
    is_prose_like = line.is_full and line.n_parts < 3 and line.x0 < line.left + 2 * line.size
    return is_debris(line.text, 0.2 if is_prose_like else 0.4)


def opens_caption(line: Line) -> bool:
    return _CAPTION.match(line.text) is not None


def is_apart(line: Line, previous: Line, body: BodyType) -> bool:
    return line.gap > 1.2 * body.spacing or line.gap < 0 or abs(line.size - previous.size) > 0.4


def _is_heading(line: Line, previous: Line | None, body: BodyType) -> bool:
    text = mend_heading(line.text)
    if not could_be_heading(text) or line.size < _SMALLER * body.size or _CAPTION.match(text):
        return False
    is_large = line.size > _LARGER * body.size
    is_bold = line.bold > 0.9 and not body.is_bold
    stands_apart = line.gap > 1.15 * body.spacing or line.gap < 0
    if is_known(text):
        return is_large or is_bold or is_capitals(text) or (stands_apart and not line.is_full)
    if is_numbered(text):
        if is_large or is_bold or is_capitals(text):
            return True
        is_plain = line.italic < 0.8 and line.gap < 1.3 * body.spacing
        return stands_apart and not line.is_full and not is_plain and len(text.split()) < 10
    follows_heading = previous is not None and _is_like(line, previous)
    if is_debris(text) or not (stands_apart or follows_heading):
        return False
    return is_large or is_bold or (is_capitals(text) and not line.is_full)


def wraps_heading(line: Line, previous: Line | None, group: LineGroup, body: BodyType) -> bool:
    """Whether a line is the second or third of a heading."""
    return (
        group[0] is BlockKind.HEADING
        and previous is not None
        and previous is group[1][-1]
        and len(group[1]) < 3
        and ((line.bold > 0.9 and not body.is_bold) or line.size > _LARGER * body.size)
        and _is_like(line, previous)
        and 0 < line.gap < 1.6 * line.size
    )


def _is_like(line: Line, other: Line) -> bool:
    return abs(line.size - other.size) < 0.4 and (line.bold > 0.9) == (other.bold > 0.9)
