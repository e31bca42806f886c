"""From the fragments of a PDF page to its lines in reading order, column by column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.readers.heading import opens_abstract
from app.readers.pdf_fragment import Fragment
from app.readers.prose import normalize


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

    @property
    def is_full(self) -> bool:
        """Whether it reaches the right edge of its column, so that the text may flow on."""
        return self.x1 > self.right - 0.12 * (self.right - self.left)

    @property
    def is_indented(self) -> bool:
        return self.x0 > self.left + 0.7 * self.size


_LOST_SPACE = re.compile(r"(?<=[a-z]{2}\.)(?=[A-Z][a-z]* )")
_MIN_COLUMN_ROWS = 4
_MIN_COLUMN_SHARE = 0.15  # of the width of the page's text: a column's line is at least as wide
_MAX_DEPTH = 3
_FRONT_GAP = 0.6  # in font sizes: white from edge to edge, above an abstract


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
    gutter, n_rows = _gutter(fragments)
    if gutter is None or depth == _MAX_DEPTH:
        return _lines(page, fragments, *_edges(fragments))
    spans = [f for f in fragments if _crosses(f, gutter)]
    beside = [f for f in fragments if not _crosses(f, gutter)]
    edges = [
        _edges([f for f in beside if _is_after(f, gutter) == after]) for after in (False, True)
    ]
    full_edges = _edges(spans) if len(spans) > n_rows else (edges[0][0], edges[1][1])
    # Where most lines span the page, two fragments side by side are a line that a formula cut.
    min_rows = _MIN_COLUMN_ROWS if len(spans) > n_rows else 1
    bands: list[tuple[bool, list[Fragment]]] = []
    for fragment in sorted(fragments, key=lambda f: (-f.y, f.x0)):
        is_span = any(_same_row(fragment, span) for span in spans)
        if not bands or bands[-1][0] != is_span:
            bands.append((is_span, []))
        bands[-1][1].append(fragment)
    lines: list[Line] = []
    full: list[Fragment] = []
    for is_span, band in bands:
        sides = [[f for f in band if _is_after(f, gutter) == after] for after in (False, True)]
        if is_span or 0 < min(map(len, sides)) < min_rows:
            full.extend(band)
            continue
        if full:
            lines.extend(_lines(page, full, *full_edges))
            full = []
        for side, side_edges in zip(sides, edges, strict=True):
            if _gutter(side)[0] is not None:
                lines.extend(_order(page, side, depth + 1))
            elif side:
                lines.extend(_lines(page, side, *side_edges))
    return lines + (_lines(page, full, *full_edges) if full else [])


def _gutter(fragments: Sequence[Fragment]) -> tuple[float | None, int]:
    """Returns the x between two columns of running text and their rows, or (None, 0)."""
    if len(fragments) < 2 * _MIN_COLUMN_ROWS:
        return None, 0
    extent = max(f.x1 for f in fragments) - min(f.x0 for f in fragments)
    wide = [f for f in fragments if f.x1 - f.x0 > _MIN_COLUMN_SHARE * extent and len(f.text) > 12]
    wide.sort(key=lambda f: -f.y)
    best, best_score, n_rows = None, 0.0, 0
    for x in sorted({round(f.x1) + 1 for f in wide}):
        n_beside = _n_beside(wide, x)
        # Of equal gutters the one that cuts fewest lines is meant.
        score = n_beside - 0.01 * sum(f.x0 < x - 0.5 and f.x1 > x + 0.5 for f in wide)
        if n_beside and score > best_score:
            edge = max(f.x1 for f in wide if f.x1 <= x + 0.5)
            room = min((f.x0 for f in wide if f.x0 >= x - 0.5), default=edge) - edge
            best, best_score, n_rows = edge + max(0.0, room) / 2, score, n_beside
    return best, n_rows


def _n_beside(wide: Sequence[Fragment], x: float) -> int:
    """Returns the rows of the two columns that `x` would part, where they stand side by side."""
    n_rows = 0
    sides: tuple[list[float], list[float]] = ([], [])

    def close_band() -> None:
        nonlocal n_rows
        n = min(len(sides[0]), len(sides[1]))
        if n >= _MIN_COLUMN_ROWS and max(s[-1] for s in sides) < min(s[0] for s in sides):
            n_rows += n
        sides[0].clear()
        sides[1].clear()

    for fragment in wide:
        if fragment.x1 <= x + 0.5 or fragment.x0 >= x - 0.5:
            sides[fragment.x0 >= x - 0.5].append(fragment.y)
        else:
            close_band()
    close_band()
    return n_rows


def _crosses(fragment: Fragment, gutter: float) -> bool:
    tolerance = 1.5 * fragment.size
    return fragment.x0 < gutter - tolerance and fragment.x1 > gutter + tolerance


def _is_after(fragment: Fragment, gutter: float) -> bool:
    return fragment.x0 + fragment.x1 > 2 * gutter


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
    for row in rows:
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
            )
        )
    return lines
