"""The figures of the report, drawn as vectors; all lengths are in points."""

# pyright: reportArgumentType=false
# The stubs of ReportLab reject the keywords of its shapes.

from __future__ import annotations

from itertools import pairwise

from reportlab.graphics.shapes import Drawing, Line, Polygon, Rect, String
from reportlab.lib.colors import Color, HexColor, black, white

FONT, BOLD = "Helvetica", "Helvetica-Bold"
SIZE = 7.0
DARK, MIDDLE, LIGHT, PALE = (
    HexColor(code) for code in ("#1f4e79", "#6f9bc8", "#c9d9ea", "#eef3f8")
)
BUCKET_COLORS = tuple(HexColor(code) for code in ("#1f4e79", "#e0a458", "#7aa874", "#b56576"))


def _text(
    drawing: Drawing,
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "middle",
    font: str = FONT,
    size: float = SIZE,
    color: Color = black,
) -> None:
    drawing.add(
        String(x, y, text, fontName=font, fontSize=size, textAnchor=anchor, fillColor=color)
    )


def _box(
    drawing: Drawing,
    x: float,
    y: float,
    width: float,
    height: float,
    lines: tuple[str, ...],
    *,
    fill: Color = PALE,
    color: Color = black,
) -> None:
    """Draws a box with centred lines, the first in bold."""
    drawing.add(
        Rect(x, y, width, height, rx=2.5, ry=2.5, fillColor=fill, strokeColor=DARK, strokeWidth=0.6)
    )
    leading = SIZE + 1.6
    first = y + height / 2 + (len(lines) - 1) * leading / 2 - SIZE * 0.35
    for i, line in enumerate(lines):
        font = FONT if i else BOLD
        _text(drawing, x + width / 2, first - i * leading, line, font=font, color=color)


def _arrow(drawing: Drawing, x0: float, y0: float, x1: float, y1: float) -> None:
    """Draws an arrow along one of the axes."""
    drawing.add(Line(x0, y0, x1, y1, strokeColor=black, strokeWidth=0.7))
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    back_x, back_y = x1 - 3.6 * dx, y1 - 3.6 * dy
    points = [x1, y1, back_x - 1.8 * dy, back_y + 1.8 * dx, back_x + 1.8 * dy, back_y - 1.8 * dx]
    drawing.add(Polygon(points, fillColor=black, strokeColor=None))


def bar_chart(width: float, rows: list[list[str]]) -> Drawing:
    """One bar a row of (label, percent), side by side, with a line at the mean."""
    values = [float(value) for _, value in rows]
    left, bottom, height = 26.0, 24.0, 92.0
    drawing = Drawing(width, bottom + height + 8)
    scale = height / (5 * (max(values) // 5 + 1))
    for tick in range(0, int(height / scale) + 1, 5):
        y = bottom + tick * scale
        drawing.add(Line(left, y, width, y, strokeColor=LIGHT, strokeWidth=0.4))
        _text(drawing, left - 3, y - 2.3, f"{tick}%", anchor="end")
    step = (width - left) / len(rows)
    for i, (label, value) in enumerate(zip((row[0] for row in rows), values, strict=True)):
        x = left + (i + 0.15) * step
        drawing.add(Rect(x, bottom, 0.7 * step, value * scale, fillColor=DARK, strokeColor=None))
        _text(drawing, x + 0.35 * step, bottom - 9, label)
    mean = bottom + scale * sum(values) / len(values)
    drawing.add(Line(left, mean, width, mean, strokeWidth=0.7, strokeDashArray=(3, 2)))
    drawing.add(Line(left, bottom, width, bottom, strokeWidth=0.6))
    _text(drawing, left + (width - left) / 2, 3, "tenth of the document")
    return drawing


def paired_bar_chart(width: float, rows: list[list[str]]) -> Drawing:
    """Two horizontal bars a row of (label, percent, percent), the first dark."""
    left, row_height, bar, foot = 56.0, 20.0, 7.0, 18.0
    drawing = Drawing(width, row_height * len(rows) + foot + 2)
    values = [[float(value) for value in row[1:]] for row in rows]
    scale = (width - left - 24) / max(map(max, values))
    for i, (row, (dark, light)) in enumerate(zip(rows, values, strict=True)):
        y = foot + row_height * (len(rows) - 1 - i)
        _text(drawing, left - 4, y + 7, row[0], anchor="end")
        for value, height, color in ((dark, y + 10, DARK), (light, y + 2, LIGHT)):
            drawing.add(Rect(left, height, value * scale, bar, fillColor=color, strokeColor=None))
            _text(drawing, left + value * scale + 3, height + 1, f"{value:.1f}%", anchor="start")
    drawing.add(Line(left, foot, left, foot + row_height * len(rows), strokeWidth=0.6))
    for x, color, label in (
        (left, DARK, "oracle's sentences"),
        (left + 82, LIGHT, "all sentences"),
    ):
        drawing.add(Rect(x, 4, 6, 6, fillColor=color, strokeColor=None))
        _text(drawing, x + 9, 4.6, label, anchor="start")
    return drawing


def model_diagram(width: float, rows: list[list[str]]) -> Drawing:
    """The way of the data from tokens at the bottom to the next pick at the top."""
    drawing = Drawing(width, 300)
    box = 132.0
    x = 4.0
    centre = x + box / 2
    encoder = ("hashing attention, both sides", "sparse feed-forward + SRU")
    levels = (
        (2, 20, ("tokens of the whole document",), white),
        (36, 44, ("token encoder", *encoder), LIGHT),
        (96, 22, ("pooling by sentence",), PALE),
        (134, 22, ("sentence states",), PALE),
        (172, 44, ("sentence encoder", *encoder), LIGHT),
        (232, 36, ("decoder", "causal, no cross-attention"), MIDDLE),
        (278, 22, ("pointer head",), DARK),
    )
    for y, height, lines, fill in levels:
        color = white if fill is DARK else black
        _box(drawing, x, y, box, height, lines, fill=fill, color=color)
    for (y, height, *_), (above, *_) in pairwise(levels):
        _arrow(drawing, centre, y + height, centre, above)
    side, side_width = x + box + 22, width - box - 26 - 4
    _box(drawing, side, 122, side_width, 46, ("78 features", "place,", "wording,", "centrality"))
    _arrow(drawing, side, 145, x + box, 145)
    _box(drawing, side, 229, side_width, 42, ("picks so far", "and their", "word count"))
    _arrow(drawing, side, 250, x + box, 250)
    _text(drawing, side + side_width / 2, 292, "next or stop", font=BOLD)
    drawing.add(Line(x + box, 289, side + side_width / 2, 289, strokeWidth=0.7))
    _arrow(drawing, side + side_width / 2, 289, side + side_width / 2, 271)
    return drawing


def bucket_diagram(width: float, rows: list[list[str]]) -> Drawing:
    """Tokens in the order of the text, the same sorted by bucket, and what one chunk reaches."""
    buckets = (2, 0, 1, 0, 3, 2, 1, 1, 0, 3, 2, 0, 1, 3, 2, 0)
    chunk_len, reached_from = 4, 1
    order = sorted(range(len(buckets)), key=lambda place: (buckets[place], place))
    drawing = Drawing(width, 118)
    cell = width / len(buckets)
    text_y, sorted_y = 84.0, 34.0
    for rank, place in enumerate(order):
        drawing.add(
            Line(
                (place + 0.5) * cell,
                text_y,
                (rank + 0.5) * cell,
                sorted_y + 13,
                strokeColor=BUCKET_COLORS[buckets[place]],
                strokeWidth=0.5,
            )
        )
    for y, places in ((text_y, range(len(buckets))), (sorted_y, order)):
        for column, place in enumerate(places):
            color = BUCKET_COLORS[buckets[place]]
            drawing.add(Rect(column * cell + 1, y, cell - 2, 13, fillColor=color, strokeColor=None))
            _text(drawing, (column + 0.5) * cell, y + 4, str(place + 1), color=white)
    for boundary in range(0, len(buckets) + 1, chunk_len):
        x = boundary * cell
        drawing.add(Line(x, sorted_y - 4, x, sorted_y + 17, strokeWidth=0.8))
    first, last = (reached_from - 1) * chunk_len * cell, (reached_from + 2) * chunk_len * cell
    middle = (reached_from + 0.5) * chunk_len * cell
    drawing.add(Line(first + 3, 20, last - 3, 20, strokeColor=DARK, strokeWidth=1))
    for x in (first + 3, last - 3):
        drawing.add(Line(x, 20, x, 25, strokeColor=DARK, strokeWidth=1))
    _arrow(drawing, middle, 20, middle, 30)
    _text(drawing, width / 2, 104, "tokens in the order of the text, coloured by bucket")
    _text(drawing, middle, 9, "what the second chunk attends to")
    return drawing
