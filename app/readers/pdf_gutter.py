"""The white gutter between two columns of a PDF page, and on which side of it text stands."""

from __future__ import annotations

from collections.abc import Sequence

from app.readers.pdf_fragment import Fragment

MIN_COLUMN_ROWS = 4
_MIN_COLUMN_SHARE = 0.15  # of the width of the page's text: a column's line is at least as wide


def find_gutter(fragments: Sequence[Fragment]) -> tuple[float | None, int]:
    """Returns the x between two columns of running text and their rows, or (None, 0)."""
    if len(fragments) < 2 * MIN_COLUMN_ROWS:
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
        if n >= MIN_COLUMN_ROWS and max(s[-1] for s in sides) < min(s[0] for s in sides):
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


def crosses(fragment: Fragment, gutter: float) -> bool:
    tolerance = 1.5 * fragment.size
    return fragment.x0 < gutter - tolerance and fragment.x1 > gutter + tolerance


def is_after(fragment: Fragment, gutter: float) -> bool:
    return fragment.x0 + fragment.x1 > 2 * gutter
