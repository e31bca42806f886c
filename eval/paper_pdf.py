"""A paper set as a PDF, with what a reader of PDFs has to undo.

Lines are broken, justified and hyphenated; paragraphs run on over columns and pages; running heads,
page numbers and, in some styles, line numbers stand beside the text.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from eval.line_break import FontWidths, break_lines
from terraformer.document import Document
from terraformer.errors import TerraformerError

# Lengths in points.
_WIDTH, _HEIGHT = 595.0, 842.0
_MARGIN, _GUTTER = 54.0, 18.0
_TOP, _BOTTOM = _HEIGHT - 62.0, 62.0
_HEAD, _FOOT = _HEIGHT - 38.0, 34.0
_TITLE_DROP = 50.0
_SMALL = 7.5
_LINE_NUMBER = _MARGIN - 34.0  # where it begins
_LEADING = 1.2  # of the font size
_INDENT = 1.2  # of the font size, of a paragraph's first line
_MAX_STRETCH = 1.12
_LIGATURES = {"ffi": "ﬃ", "ffl": "ﬄ", "ff": "ﬀ", "fi": "ﬁ", "fl": "ﬂ"}
_LIGATURE = re.compile("|".join(_LIGATURES))


@dataclass(frozen=True)
class PageStyle:
    """How pages look.

    Attributes:
        n_columns: Columns of text.
        size: Font size of the text, points.
        has_line_numbers: Whether lines are numbered in the margin, as in copies for review.
    """

    n_columns: int
    size: float
    has_line_numbers: bool = False


STYLES = (
    PageStyle(n_columns=2, size=9.0),
    PageStyle(n_columns=1, size=10.0),
    PageStyle(n_columns=1, size=11.0, has_line_numbers=True),
)


def style_of(paper: str) -> PageStyle:
    """Returns the style of the paper with this id, the same one every time."""
    return STYLES[hashlib.sha1(paper.encode()).digest()[0] % len(STYLES)]


@dataclass(frozen=True)
class _Line:
    """A line to set; lengths in points."""

    text: str
    size: float
    is_bold: bool = False
    indent: float = 0.0
    stretch: float = 1.0
    space_before: float = 0.0


class _Font:
    """A font of a PDF under construction, with the widths of its characters."""

    def __init__(self, document: pypdfium2.PdfDocument, path: Path) -> None:
        data = path.read_bytes()
        self._buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        self.raw = pdfium.FPDFText_LoadFont(
            document.raw, self._buffer, len(data), pdfium.FPDF_FONT_TRUETYPE, True
        )
        self.widths = FontWidths(self._width)

    def _width(self, character: str) -> float:
        width = ctypes.c_float()
        pdfium.FPDFFont_GetGlyphWidth(self.raw, ord(character), 1.0, width)
        return width.value


def write_paper(path: Path, document: Document, style: PageStyle) -> None:
    """Writes a document as a PDF; characters that the font (STIX General) lacks are lost.

    Args:
        path: File to write.
        document: The paper; its title, headings and paragraphs are set, without an abstract.
        style: Of the pages.
    Raises:
        TerraformerError: if matplotlib, which brings the font, is missing.
    """
    try:
        from matplotlib import get_data_path
    except ImportError as error:
        raise TerraformerError(
            "setting a PDF needs matplotlib's fonts: install it with `pip install matplotlib`"
        ) from error
    folder = Path(get_data_path()) / "fonts" / "ttf"
    pdf = pypdfium2.PdfDocument.new()
    regular, bold = (
        _Font(pdf, folder / name) for name in ("STIXGeneral.ttf", "STIXGeneralBol.ttf")
    )
    _Setter(pdf, regular, bold, style, document.title).set(document)
    pdf.save(path)
    for font in (regular, bold):
        pdfium.FPDFFont_Close(font.raw)
    pdf.close()


class _Setter:
    """Fills pages with lines, column by column."""

    def __init__(
        self,
        pdf: pypdfium2.PdfDocument,
        regular: _Font,
        bold: _Font,
        style: PageStyle,
        title: str,
    ) -> None:
        self._pdf, self._regular, self._bold, self._style = pdf, regular, bold, style
        self._running_head = f"Research article: {title[:50]}"
        n_columns = style.n_columns
        self._column_width = (_WIDTH - 2 * _MARGIN - (n_columns - 1) * _GUTTER) / n_columns
        self._page: pypdfium2.PdfPage | None = None
        self._n_pages = self._n_lines = self._column = 0
        self._column_top = self._y = _TOP

    def set(self, document: Document) -> None:
        self._open_page()
        self._y -= _TITLE_DROP
        for line in self._broken(document.title, _WIDTH - 2 * _MARGIN, 1.7, is_bold=True):
            self._place(line)
        self._column_top = self._y = self._y - (2 * self._style.size if document.title else 0)
        for line in self._lines(document):
            leading = _LEADING * line.size
            if self._y - leading < _BOTTOM:
                self._next_column()
            self._y -= line.space_before if self._y < self._column_top else 0.0
            self._place(line)
        self._close_page()

    def _lines(self, document: Document) -> Iterator[_Line]:
        sections = groupby(document.sentences, key=lambda sentence: sentence.section)
        for section, sentences in sections:
            heading = document.sections[section].heading
            yield from self._broken(heading, self._column_width, 1.2, is_bold=True)
            for _, group in groupby(sentences, key=lambda sentence: sentence.paragraph):
                paragraph = list(group)
                text = document.text[paragraph[0].start : paragraph[-1].end]
                yield from self._broken(text, self._column_width, 1.0)

    def _broken(
        self, text: str, width: float, scale: float, is_bold: bool = False
    ) -> Iterator[_Line]:
        """Yields the lines of a heading or, if not bold, of a justified paragraph."""
        size = scale * self._style.size
        font = self._bold if is_bold else self._regular
        indent = 0.0 if is_bold else _INDENT * size
        text = _LIGATURE.sub(lambda match: _LIGATURES[match[0]], " ".join(text.split()))
        lines = break_lines(text, width / size, indent / size, font.widths)
        for i, line in enumerate(lines):
            room = width - (indent if i == 0 else 0.0)
            stretch = room / (size * font.widths.of(line))
            yield _Line(
                text=line,
                size=size,
                is_bold=is_bold,
                indent=indent if i == 0 else 0.0,
                stretch=1.0 if is_bold or i == len(lines) - 1 else min(stretch, _MAX_STRETCH),
                space_before=0.8 * size if is_bold and i == 0 else 0.0,
            )

    def _place(self, line: _Line) -> None:
        self._y -= _LEADING * line.size
        x = _MARGIN + self._column * (self._column_width + _GUTTER)
        font = self._bold if line.is_bold else self._regular
        self._write(line.text, x + line.indent, self._y, font, line.size, line.stretch)
        self._n_lines += 1
        if self._style.has_line_numbers:
            self._write(str(self._n_lines), _LINE_NUMBER, self._y, self._regular, _SMALL)

    def _next_column(self) -> None:
        self._column += 1
        if self._column == self._style.n_columns:
            self._close_page()
            self._open_page()
        self._y = self._column_top

    def _open_page(self) -> None:
        self._page = self._pdf.new_page(_WIDTH, _HEIGHT)
        self._n_pages += 1
        self._column = 0
        self._column_top = self._y = _TOP
        if self._n_pages > 1:
            self._write(self._running_head, _MARGIN, _HEAD, self._regular, _SMALL)
        self._write(str(self._n_pages), _WIDTH / 2, _FOOT, self._regular, _SMALL)

    def _close_page(self) -> None:
        assert self._page is not None
        self._page.gen_content()
        self._page.close()

    def _write(
        self, text: str, x: float, y: float, font: _Font, size: float, stretch: float = 1.0
    ) -> None:
        assert self._page is not None
        piece: Any = pdfium.FPDFPageObj_CreateTextObj(self._pdf.raw, font.raw, size)
        encoded = ctypes.create_string_buffer(f"{text}\0".encode("utf-16-le", "replace"))
        pdfium.FPDFText_SetText(piece, ctypes.cast(encoded, pdfium.FPDF_WIDESTRING))
        pdfium.FPDFPageObj_Transform(piece, stretch, 0, 0, 1, x, y)
        pdfium.FPDFPage_InsertObject(self._page.raw, piece)
