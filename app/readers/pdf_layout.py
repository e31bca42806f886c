"""From the fragments of a PDF page to its lines in reading order, column by column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.readers.heading import opens_abstract
from app.readers.pdf_fragment import Fragment
from app.readers.pdf_gutter import MIN_COLUMN_ROWS, crosses, find_gutter, is_after
from app.readers.prose import has_word, normalize


@dataclass(frozen=True)
class Page:
    """A page as the child process found it; lengths in points.

    Attributes:
        number: From 1.
        width, height: Of the page as one reads it.
        fragments: In the order of the content stream.
    """

    number: int
    width: float
    height: float
    fragments: Sequence[Fragment]


@dataclass(frozen=True)
class Line:
    """A line of a column.

    Attributes:
        text: Normalized.
        page: From 1.
        x0, x1, y, size, bold, italic: As in `Fragment`.
        left, right: Edges of the column that it stands in.
        gap: Distance to the baseline above in its column, infinite for the first line.
        n_parts: Fragments that it was put together from.
        lead: The words in bold that it begins with, where others follow; normalized.
    """

    text: str
    page: int
    x0: float
    x1: float
    y: float
    size: float
    bold: float
    italic: float
    left: float
    right: float
    gap: float
    n_parts: int
    lead: str = ""

    @property
    def width(self) -> float:
        """Of its column."""
        return self.right - self.left

    @property
    def is_full(self) -> bool:
        """Whether it reaches the right edge of its column, so that the text may flow on."""
        return self.x1 > self.right - 0.12 * self.width

    @property
    def is_indented(self) -> bool:
        return self.x0 > self.left + 0.7 * self.size


_LOST_SPACE = re.compile(r"(?<=[a-z]{2}\.)(?=[A-Z][a-z]* )")
_MAX_DEPTH = 3
_FRONT_GAP = 0.6  # in font sizes: white from edge to edge, above an abstract
_LEADING = 1.4  # in font sizes: lines of one paragraph are no further apart
_OVERLAP = 0.75  # in font sizes: closer rows are parts of one line


def lay_out(page: Page) -> list[Line]:
    """Returns the lines of a page: what spans the columns in its place, columns left to right.

    What stands above an abstract's heading, such as a row of authors, comes before all columns.
    """
    if not page.fragments:
        return []
    cut = _front_edge(page.fragments)
    front = [f for f in page.fragments if f.y > cut]
    rest = [f for f in page.fragments if f.y <= cut]
    lines = _lines(page, front, *_edges(front)) if front else []
    return lines + (_order(page, rest, 0) if rest else [])


def _front_edge(fragments: Sequence[Fragment]) -> float:
    """Returns the y of the white strip between front matter and abstract, else infinity."""
    opening = next((f for f in fragments if opens_abstract(f.text)), None)
    if opening is None:
        return float("inf")
    floor = opening.top
    for fragment in sorted(fragments, key=lambda f: f.y):
        if fragment.y <= opening.y + 0.5 * opening.size:
            continue
        if fragment.y - 0.25 * fragment.size > floor + _FRONT_GAP * opening.size:
            return floor
        floor = max(floor, fragment.top)
    return float("inf")


def _order(page: Page, fragments: list[Fragment], depth: int) -> list[Line]:
    gutter, n_rows = find_gutter(fragments)
    if gutter is None or depth == _MAX_DEPTH:
        return _lines(page, fragments, *_edges(fragments))
    spans = [f for f in fragments if crosses(f, gutter)]
    beside = [f for f in fragments if not crosses(f, gutter)]
    edges = [_edges([f for f in beside if is_after(f, gutter) == after]) for after in (False, True)]
    full_edges = _edges(spans) if len(spans) > n_rows else (edges[0][0], edges[1][1])
    spans = spans + _last_lines(spans, beside, gutter, full_edges)
    # Where most lines span the page, a few fragments beside the gutter are short lines of the text,
    # and two side by side are a line that a formula cut.
    min_rows = MIN_COLUMN_ROWS if len(spans) > n_rows else 1
    bands: list[tuple[bool, list[Fragment]]] = []
    for fragment in sorted(fragments, key=lambda f: (-f.y, f.x0)):
        is_span = any(_same_row(fragment, span) for span in spans)
        if not bands or bands[-1][0] != is_span:
            bands.append((is_span, []))
        bands[-1][1].append(fragment)
    lines: list[Line] = []
    full: list[Fragment] = []
    for is_span, band in bands:
        sides = [[f for f in band if is_after(f, gutter) == after] for after in (False, True)]
        few, many = sorted(map(len, sides))
        if is_span or 0 < few < min_rows or many < min_rows:
            full.extend(band)
            continue
        if full:
            lines.extend(_lines(page, full, *full_edges))
            full = []
        for side, side_edges in zip(sides, edges, strict=True):
            if find_gutter(side)[0] is not None:
                lines.extend(_order(page, side, depth + 1))
            elif side:
                lines.extend(_lines(page, side, *side_edges))
    return lines + (_lines(page, full, *full_edges) if full else [])


def _last_lines(
    spans: Sequence[Fragment],
    beside: Sequence[Fragment],
    gutter: float,
    edges: tuple[float, float],
) -> list[Fragment]:
    """Returns what ends paragraphs that span the columns: short lines below lines that fill them.

    Args:
        spans: Fragments that cross the gutter.
        beside: All others.
        gutter: Its x.
        edges: Of the text that spans the columns.
    """
    left, right = edges
    full = [span for span in spans if span.x1 > right - 0.12 * (right - left)]
    found: list[Fragment] = []
    for fragment in beside:
        starts = [left] + [span.x0 for span in full if _is_next_line(fragment, span)]
        if len(starts) == 1:
            continue
        row = [other for other in beside if _same_row(fragment, other)]
        first = min(other.x0 for other in row)
        is_below_start = any(abs(first - start) < fragment.size for start in starts)
        if is_below_start and not any(is_after(other, gutter) for other in row):
            found.append(fragment)
    return found


def _is_next_line(fragment: Fragment, above: Fragment) -> bool:
    drop = above.y - fragment.y
    size = above.size
    return _OVERLAP * size < drop < _LEADING * size and abs(fragment.size - size) < 0.6


def _same_row(one: Fragment, other: Fragment) -> bool:
    return abs(one.y - other.y) < 0.5 * max(one.size, other.size)


def _edges(fragments: Sequence[Fragment]) -> tuple[float, float]:
    """Returns the left and right edge of most of the lines of a column."""
    widest = max(f.x1 - f.x0 for f in fragments)
    wide = [f for f in fragments if f.x1 - f.x0 > 0.6 * widest]
    starts = Counter(round(f.x0) for f in wide)
    # Paragraphs and lists are indented: the edge is the leftmost place where several lines begin.
    left = min(x for x, n in starts.items() if n > 0.1 * len(wide))
    rights = sorted(f.x1 for f in wide)
    return float(left), rights[int(0.9 * (len(rights) - 1))]


def _lines(page: Page, fragments: Sequence[Fragment], left: float, right: float) -> list[Line]:
    """Returns the lines of one column from top to bottom."""
    rows: list[list[Fragment]] = []
    for fragment in sorted(fragments, key=lambda f: -f.y):
        if rows and _same_row(rows[-1][0], fragment):
            rows[-1].append(fragment)
        else:
            rows.append([fragment])
    lines: list[Line] = []
    for row in _without_strays(rows):
        row.sort(key=lambda f: f.x0)
        main = max(row, key=lambda f: len(f.text))
        n_chars = sum(len(f.text) for f in row)
        text = _LOST_SPACE.sub(" ", normalize(" ".join(f.text for f in row)))
        if not text:
            continue
        lines.append(
            Line(
                text=text,
                page=page.number,
                x0=row[0].x0,
                x1=max(f.x1 for f in row),
                y=main.y,
                size=main.size,
                bold=sum(f.bold * len(f.text) for f in row) / n_chars,
                italic=sum(f.italic * len(f.text) for f in row) / n_chars,
                left=left,
                right=right,
                gap=lines[-1].y - main.y if lines else float("inf"),
                n_parts=len(row),
                lead=normalize(_lead(row)),
            )
        )
    return lines


def _lead(row: Sequence[Fragment]) -> str:
    """The words in bold that a line begins with, where others follow."""
    first = row[0]
    if len(row) > 1 and first.bold > 0.9 and row[1].bold < 0.1:
        return first.text
    return first.lead


def _without_strays(rows: Sequence[list[Fragment]]) -> list[list[Fragment]]:
    """Drops rows without a word that overlap a line of text: roots, brackets and indices in it."""
    worded = [any(has_word(fragment.text) for fragment in row) for row in rows]

    def is_stray(i: int) -> bool:
        return not worded[i] and any(
            worded[j] and abs(rows[i][0].y - rows[j][0].y) < _OVERLAP * rows[j][0].size
            for j in (i - 2, i - 1, i + 1, i + 2)
            if 0 <= j < len(rows)
        )

    return [row for i, row in enumerate(rows) if not is_stray(i)]
