"""Sets examples/report.txt as a two-column paper: `python examples/make_pdf.py`.

The text is plain: blocks separated by blank lines, headings with their numbers on lines of their
own, equations indented, and rows of cells between bars under the captions of tables and charts.
The same text always gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from report_figure import bar_chart, bucket_diagram, model_diagram, paired_bar_chart
from reportlab.graphics.shapes import Drawing
from reportlab.lib.colors import black
from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    FrameBreak,
    KeepTogether,
    NextPageTemplate,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

FOLDER = Path(__file__).parent
RUNNING_HEAD = "A Small Terraformer for Whole Papers"

# Lengths in points.
WIDTH, HEIGHT = A4
MARGIN, GUTTER, TITLE_HEIGHT = 54.0, 20.0, 66.0
COLUMN = (WIDTH - 2 * MARGIN - GUTTER) / 2
BOTTOM = 58.0

Cells = list[list[str]]
FIGURES: dict[int, Callable[[float, Cells], Drawing]] = {
    1: bar_chart,
    2: paired_bar_chart,
    3: model_diagram,
    4: bucket_diagram,
}

BODY = ParagraphStyle(
    "body",
    fontName="Times-Roman",
    fontSize=10,
    leading=11.9,
    alignment=TA_JUSTIFY,
    allowWidows=0,
    allowOrphans=0,
)
STYLES = {
    "title": ParagraphStyle(
        "title", fontName="Times-Bold", fontSize=17, leading=21, alignment=TA_CENTER, spaceAfter=12
    ),
    "authors": ParagraphStyle("authors", BODY, fontSize=11.5, alignment=TA_CENTER),
    "opening": BODY,
    "paragraph": ParagraphStyle("paragraph", BODY, firstLineIndent=11),
    "abstract": ParagraphStyle("abstract", BODY, leftIndent=10, rightIndent=10, fontSize=9.5),
    "abstract_heading": ParagraphStyle(
        "abstract_heading",
        BODY,
        fontName="Times-Bold",
        fontSize=11,
        alignment=TA_CENTER,
        spaceAfter=4,
    ),
    "section": ParagraphStyle(
        "section", BODY, fontName="Times-Bold", fontSize=12, leading=15, spaceBefore=9, spaceAfter=4
    ),
    "subsection": ParagraphStyle(
        "subsection", BODY, fontName="Times-Bold", leading=13, spaceBefore=6, spaceAfter=3
    ),
    "equation": ParagraphStyle(
        "equation", BODY, fontName="Times-Italic", alignment=TA_CENTER, spaceBefore=5, spaceAfter=5
    ),
    "caption": ParagraphStyle("caption", BODY, fontSize=8.8, leading=10.4),
    "reference": ParagraphStyle(
        "reference",
        BODY,
        fontSize=8.8,
        leading=10.3,
        leftIndent=10,
        firstLineIndent=-10,
        spaceAfter=2.5,
    ),
}
HEADING_ROOM = {"section": 90.0, "subsection": 52.0}  # at least, for it and some lines after it
_SECTION = re.compile(r"\d+ [A-Z].*|References")
_SUBSECTION = re.compile(r"\d+\.\d+ [A-Z].*")
_CAPTION = re.compile(r"(Figure|Table) (\d+):")


class Float(KeepTogether):
    """A figure or a table with its caption, which may move down to where there is room."""

    def __init__(self, parts: list[Flowable]) -> None:
        super().__init__([Spacer(1, 7), *parts, Spacer(1, 8)])
        self._parts = parts

    def needed(self, canvas: Canvas) -> float:
        return 15 + sum(part.wrapOn(canvas, COLUMN, HEIGHT)[1] for part in self._parts)


class TwoColumnPaper(BaseDocTemplate):
    """Fills the room that a float leaves at the foot of a column with the text that follows."""

    def filterFlowables(self, flowables: list[Flowable]) -> None:  # noqa: N802 (ReportLab's hook)
        """Called before the first of `flowables` is set: puts text before a float without room."""
        first = flowables[0]
        if not isinstance(first, Float):
            return
        frame: Any = self.frame
        if first.needed(self.canv) <= frame._y - frame._y1p:  # the free height of the column
            return
        start = next((i for i, f in enumerate(flowables) if not isinstance(f, Float)), None)
        if start is None:
            return
        end = start
        while not isinstance(flowables[end], Paragraph) or _is_heading(flowables[end]):
            end += 1
        flowables[: end + 1] = flowables[start : end + 1] + flowables[:start]


def _is_heading(flowable: Flowable) -> bool:
    return isinstance(flowable, Paragraph) and flowable.style.name in HEADING_ROOM


def blocks_of(text: str) -> list[str]:
    """Returns the blocks of a text, those of prose on one line."""
    blocks = re.split(r"\n[ \t]*\n", text.strip("\n"))
    return [block if block.startswith(("|", " ")) else " ".join(block.split()) for block in blocks]


def cells_of(block: str) -> Cells:
    """Returns the rows of cells of a block of lines such as "| a | b |"."""
    return [[cell.strip() for cell in row.strip("| ").split("|")] for row in block.splitlines()]


def story_of(blocks: list[str]) -> Iterator[Flowable]:
    """Yields what stands on the pages, title first."""
    title, authors, abstract_heading, abstract, *rest = blocks
    yield _paragraph(title, "title")
    yield _paragraph(authors, "authors")
    yield NextPageTemplate("later")
    yield FrameBreak()
    yield _paragraph(abstract_heading, "abstract_heading")
    yield _paragraph(abstract, "abstract")
    style = "opening"
    for block, after in zip(rest, [*rest[1:], ""], strict=True):
        caption = _CAPTION.match(block)
        if caption:
            cells = cells_of(after) if after.startswith("|") else []
            yield _float(caption[1], int(caption[2]), block, cells)
        elif _SECTION.fullmatch(block) or _SUBSECTION.fullmatch(block):
            is_section = _SECTION.fullmatch(block) is not None
            style = "section" if is_section else "subsection"
            yield CondPageBreak(HEADING_ROOM[style])
            yield _paragraph(block, style)
            style = "reference" if block == "References" else "opening"
        elif block.startswith(" "):
            yield Paragraph(_with_indices(block.strip()), STYLES["equation"])
            style = "opening"
        elif not block.startswith("|"):
            yield _paragraph(block, style)
            style = style if style == "reference" else "paragraph"


def _paragraph(text: str, style: str) -> Paragraph:
    return Paragraph(_typographic(escape(text)), STYLES[style])


def _typographic(text: str) -> str:
    """Puts curved quotes, and dashes between numbers."""
    text = re.sub(r"(?<=\d)-(?=\d)", "\N{EN DASH}", text)
    text = re.sub(r"(?<=\w)'", "\N{RIGHT SINGLE QUOTATION MARK}", text)
    quoted = "\N{LEFT DOUBLE QUOTATION MARK}\\1\N{RIGHT DOUBLE QUOTATION MARK}"
    return re.sub(r'"([^"]+)"', quoted, text)


def _with_indices(equation: str) -> str:
    """Sets the indices of "c[t-1]" below the line."""
    return re.sub(r"\[([^\]]+)\]", r'<sub size="7" rise="2">\1</sub>', escape(equation))


def _float(kind: str, number: int, caption: str, cells: Cells) -> Flowable:
    label, _, rest = caption.partition(":")
    note = Paragraph(f"<b>{label}:</b>{_typographic(escape(rest))}", STYLES["caption"])
    if kind == "Figure":
        return Float([FIGURES[number](COLUMN, cells), Spacer(1, 5), note])
    return Float([note, Spacer(1, 4), _table(cells)])


def _table(cells: Cells) -> Table:
    """Sets a table with rules above, below and between groups, as the first column tells them."""
    changes = [i for i in range(2, len(cells)) if cells[i][0] != cells[i - 1][0]]
    is_grouped = 1 < len(changes) + 1 < len(cells) - 1
    rules = [("LINEBELOW", (0, i - 1), (-1, i - 1), 0.3, black) for i in changes if is_grouped]
    shown = [[row[0] if i < 2 or i in changes else "", *row[1:]] for i, row in enumerate(cells)]
    padding = 4 if len(cells[0]) < 7 else 2.6
    table = Table(shown, hAlign="CENTER")
    table.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), "Times-Roman", 8.8, 10.2),
                ("FONT", (0, 0), (-1, 0), "Times-Bold", 8.8, 10.2),
                ("ALIGN", (2 if is_grouped else 1, 0), (-1, -1), "RIGHT"),
                ("TOPPADDING", (0, 0), (-1, -1), 0.8),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1.6),
                ("LEFTPADDING", (0, 0), (-1, -1), padding),
                ("RIGHTPADDING", (0, 0), (-1, -1), padding),
                ("LINEABOVE", (0, 0), (-1, 0), 0.8, black),
                ("LINEBELOW", (0, 0), (-1, 0), 0.5, black),
                ("LINEBELOW", (0, -1), (-1, -1), 0.8, black),
                *rules,
            ]
        )
    )
    return table


def _draw_page(canvas: Canvas, document: BaseDocTemplate) -> None:
    number = canvas.getPageNumber()
    canvas.setFont("Times-Roman", 9)
    canvas.drawCentredString(WIDTH / 2, 34, str(number))
    if number > 1:
        canvas.setFont("Times-Italic", 9)
        canvas.drawString(MARGIN, HEIGHT - 40, RUNNING_HEAD)
        canvas.drawRightString(WIDTH - MARGIN, HEIGHT - 40, "Technical report")
        canvas.setLineWidth(0.4)
        canvas.line(MARGIN, HEIGHT - 44, WIDTH - MARGIN, HEIGHT - 44)


def make_pdf(source: Path, target: Path) -> None:
    """Sets the text of `source` and writes the PDF `target`."""
    blocks = blocks_of(source.read_text(encoding="utf-8"))
    top = HEIGHT - MARGIN

    def columns(y: float) -> list[Frame]:
        return [
            Frame(x, BOTTOM, COLUMN, y - BOTTOM, 0, 0, 0, 0)
            for x in (MARGIN, MARGIN + COLUMN + GUTTER)
        ]

    heading = Frame(MARGIN, top - TITLE_HEIGHT, WIDTH - 2 * MARGIN, TITLE_HEIGHT, 0, 0, 0, 0)
    document = TwoColumnPaper(
        str(target), pagesize=A4, title=blocks[0], author=blocks[1], invariant=1
    )
    document.addPageTemplates(
        [
            PageTemplate("first", [heading, *columns(top - TITLE_HEIGHT)], onPage=_draw_page),
            PageTemplate("later", columns(top), onPage=_draw_page),
        ]
    )
    document.build(list(story_of(blocks)))


if __name__ == "__main__":
    make_pdf(FOLDER / "report.txt", FOLDER / "report.pdf")
