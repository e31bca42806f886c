"""What a page carries beside its text: running headers and footers, page and line numbers."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import median_low

from app.readers.pdf_fragment import Fragment
from app.readers.pdf_layout import Page

_MARGIN = 0.13  # of the page's height, at its top and bottom
_DIGITS = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(
    r"(?:page |p\. ?|seite )?[-–—|( ]*(?:\d{1,4}|[ivxl]{1,6})[-–—|) ]*(?:(?:/|of|von) ?\d{1,4})?",
    re.IGNORECASE,
)
_MIN_LINE_NUMBERS = 8
_LARGER = 1.15  # than most rows of the same words: the title that running heads repeat


def drop_furniture(pages: Sequence[Page]) -> list[Page]:
    """Returns the pages without what repeats at their edges and without numbers in the margin."""
    margins = [_margin_rows(page) for page in pages]
    counts = Counter(key for rows in margins for key in {_key(row) for row in rows})
    enough = 2 if len(pages) < 5 else 3
    sizes: defaultdict[str, list[float]] = defaultdict(list)
    for row in itertools.chain.from_iterable(margins):
        sizes[_key(row)].append(_size(row))
    kept_pages: list[Page] = []
    for page, rows in zip(pages, margins, strict=True):
        dropped = {
            id(fragment)
            for row in rows
            if (counts[_key(row)] >= enough and _size(row) < _LARGER * median_low(sizes[_key(row)]))
            or _PAGE_NUMBER.fullmatch(_row_text(row))
            for fragment in row
        }
        kept = [fragment for fragment in page.fragments if id(fragment) not in dropped]
        kept_pages.append(replace(page, fragments=_without_line_numbers(kept)))
    return kept_pages


def _margin_rows(page: Page) -> list[list[Fragment]]:
    """Returns the rows, left to right, of the first and last three that lie in the margins."""
    rows: list[list[Fragment]] = []
    for fragment in sorted(page.fragments, key=lambda f: -f.y):
        if rows and abs(rows[-1][0].y - fragment.y) < 3:
            rows[-1].append(fragment)
        else:
            rows.append([fragment])
    if not rows:
        return []
    # Where pages are cropped or unknown in height, the text itself is the measure.
    top = max(page.height, rows[0][0].y) if rows[-1][0].y >= 0 else rows[0][0].y
    bottom = min(0.0, rows[-1][0].y)
    depth = _MARGIN * (top - bottom)
    edge = {id(row): row for row in rows[:3] if row[0].y > top - depth}
    edge |= {id(row): row for row in rows[-3:] if row[0].y < bottom + depth}
    for row in edge.values():
        row.sort(key=lambda f: f.x0)
    return list(edge.values())


def _row_text(row: Sequence[Fragment]) -> str:
    return " ".join(fragment.text for fragment in row).strip()


def _size(row: Sequence[Fragment]) -> float:
    return max(fragment.size for fragment in row)


def _key(row: Sequence[Fragment]) -> str:
    return _DIGITS.sub("#", _row_text(row)).lower().replace(" ", "")


def _without_line_numbers(fragments: Sequence[Fragment]) -> list[Fragment]:
    """Drops columns of numbers that count down the page, as in copies for review."""
    columns: defaultdict[int, list[Fragment]] = defaultdict(list)
    for fragment in fragments:
        if fragment.text.isdecimal() and len(fragment.text) <= 4:
            # Numbers of one column share their right edge, or their left one.
            columns[round(fragment.x1 / 4)].append(fragment)
            columns[-1 - round(fragment.x0 / 4)].append(fragment)
    dropped: set[int] = set()
    for column in columns.values():
        column.sort(key=lambda f: -f.y)
        steps = Counter(
            int(after.text) - int(before.text) for before, after in itertools.pairwise(column)
        )
        if len(column) < _MIN_LINE_NUMBERS:
            continue
        step, n_steps = steps.most_common(1)[0]
        if step in (1, 5) and n_steps > 0.8 * (len(column) - 1):
            dropped |= {id(fragment) for fragment in column}
    return [fragment for fragment in fragments if id(fragment) not in dropped]
