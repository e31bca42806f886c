"""The child process that opens a PDF: `python -m app.readers.pdf_process ENGINE FILE FIRST …`.

PDF libraries crash, stall and swallow memory on odd files, so they run here, under limits, and the
parent can end them. What they find goes to stdout, one JSON object a line: {"n_pages", "title"},
then {"page", "width", "height", "fragments"} for each page, or {"error"}.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from math import atan2, ceil, hypot, pi
from time import process_time
from typing import Any, NamedTuple

from app.readers.pdf_fragment import Char, Fragment, fragments_of
from app.readers.tex_font import character_table

try:
    import resource
except ImportError:  # Windows
    resource = None

_BOLD = re.compile(r"bold|black|heavy|semib|demi|CMBX|SFBX|CMB\d|-Medi|\.B$|_B$", re.IGNORECASE)
_ITALIC = re.compile(r"ital|obliq|slant|CMTI|SFTI|CMSL|-It", re.IGNORECASE)
_BOLD_WEIGHT = 600
_LINE_END_HYPHEN = "\x02"  # PDFium's name for a hyphen at the end of a line
_MAX_CHARS_A_PAGE = 500_000

_PageParts = tuple[int, float, float, list[Fragment]]


def main(arguments: list[str]) -> None:
    """Reads the pages from FIRST on, at most MAX_PAGES and MAX_CHARS.

    It may take MEMORY bytes, and SECONDS of processor time for each page.
    """
    engine, path, first, max_pages, max_chars, memory, seconds = arguments
    read_pages = {"pdfium": _pdfium_pages, "pypdf": _pypdf_pages}[engine]
    _limit_memory(int(memory))
    _allow_time(int(seconds))
    n_chars = 0
    try:
        pages = islice(read_pages(path, int(first)), int(max_pages) + 1 - int(first))
        for page, width, height, fragments in pages:
            n_chars += sum(len(fragment.text) for fragment in fragments)
            if n_chars > int(max_chars):
                _send({"error": "limit"})
                return
            _send({"page": page, "width": width, "height": height, "fragments": fragments})
            _allow_time(int(seconds))
    except MemoryError:
        _send({"error": "memory"})
    except Exception:
        _send({"error": "bug", "detail": traceback.format_exc()})


def _send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _limit_memory(n_bytes: int) -> None:
    """Bounds the address space, where the system has such limits."""
    if resource is None:
        return
    for kind, value in ((resource.RLIMIT_AS, n_bytes), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def _allow_time(seconds: int) -> None:
    """Lets the process be ended by the system after so much more processor time."""
    if resource is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (ceil(process_time()) + seconds, hard))


def _pdfium_pages(path: str, first: int) -> Iterator[_PageParts]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
        n_pages = len(document)
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        is_locked = code == pypdfium2.raw.FPDF_ERR_PASSWORD or "password" in str(error).lower()
        _send({"error": "password" if is_locked else "format"})
        return
    title = document.get_metadata_value("Title")
    _send({"n_pages": n_pages, "title": title})
    for number in range(first, n_pages + 1):
        try:
            page = document[number - 1]
            width, height = page.get_size()
            chars, turns = _pdfium_chars(page)
        except pypdfium2.PdfiumError:
            yield number, 0.0, 0.0, []
            continue
        if turns % 2 != page.get_rotation() // 90 % 2:
            width, height = height, width
        yield number, width, height, fragments_of(chars)
        page.close()


def _pdfium_chars(page: Any) -> tuple[list[Char], int]:
    """Returns a page's characters turned upright, and the quarter turns that this took.

    Text at another angle than most of the page, such as a stamp in the margin, is left out.
    """
    import pypdfium2.raw as pdfium

    text_page = page.get_textpage()
    raw = text_page.raw
    n_chars = min(pdfium.FPDFText_CountChars(raw), _MAX_CHARS_A_PAGE)
    box, matrix = pdfium.FS_RECTF(), pdfium.FS_MATRIX()
    to_box = ctypes.byref(box)
    runs: dict[int, _Run] = {}
    found: list[tuple[Char, int]] = []
    spaced = 0
    for i in range(n_chars):
        code = pdfium.FPDFText_GetUnicode(raw, i)
        handle = pdfium.FPDFText_GetTextObject(raw, i)
        key = ctypes.addressof(handle.contents) if handle else 0
        run = runs.get(key)
        if run is None:
            run = runs[key] = _run(raw, i, handle, matrix)
        character = run.table.get(code) or chr(code)
        if character.isspace() or character == "\0":
            spaced = max(spaced, 1 if pdfium.FPDFText_IsGenerated(raw, i) == 1 else 2)
            continue
        if character < " " and character != _LINE_END_HYPHEN:
            continue
        pdfium.FPDFText_GetLooseCharBox(raw, i, to_box)
        if run.quarter == 0:
            x0, x1 = box.left, box.right
        elif run.quarter == 1:
            x0, x1 = box.bottom, box.top
        elif run.quarter == 2:
            x0, x1 = -box.right, -box.left
        else:
            x0, x1 = -box.top, -box.bottom
        char = Char(character, x0, x1, run.y, run.size, run.is_bold, run.is_italic, spaced)
        found.append((char, run.quarter))
        spaced = 0
    text_page.close()
    if not found:
        return [], 0
    turns = Counter(quarter for _, quarter in found).most_common(1)[0][0]
    return [char for char, quarter in found if quarter == turns], turns


class _Run(NamedTuple):
    """What the characters of one text object share: baseline, size, font and quarter turns."""

    y: float
    size: float
    is_bold: bool
    is_italic: bool
    quarter: int
    table: dict[int, str]


def _run(raw: Any, i: int, handle: Any, matrix: Any) -> _Run:
    import pypdfium2.raw as pdfium

    name = ctypes.create_string_buffer(128)
    font = pdfium.FPDFTextObj_GetFont(handle) if handle else None
    if font:
        pdfium.FPDFFont_GetBaseFontName(font, name, len(name))
    font_name = name.value.decode("utf-8", "replace")
    pdfium.FPDFText_GetMatrix(raw, i, matrix)
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(raw, i, x, y)
    quarter = round(atan2(matrix.b, matrix.a) / (pi / 2)) % 4
    is_heavy = pdfium.FPDFText_GetFontWeight(raw, i) >= _BOLD_WEIGHT
    return _Run(
        y=round((y.value, -x.value, -y.value, x.value)[quarter], 1),
        size=round(pdfium.FPDFText_GetFontSize(raw, i) * hypot(matrix.c, matrix.d), 1),
        is_bold=is_heavy or _BOLD.search(font_name) is not None,
        is_italic=_ITALIC.search(font_name) is not None,
        quarter=quarter,
        table=character_table(font_name),
    )


def _pypdf_pages(path: str, first: int) -> Iterator[_PageParts]:
    """Reads plain lines; they get places as if typed on a page in one column."""
    import logging

    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            _send({"error": "password"})
            return
        n_pages = len(reader.pages)
        title = (reader.metadata.title if reader.metadata else None) or ""
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        _send({"error": "format"})
        return
    _send({"n_pages": n_pages, "title": title})
    for number in range(first, n_pages + 1):
        try:
            lines = reader.pages[number - 1].extract_text().splitlines()
        except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            lines = []
        yield (
            number,
            500.0,
            12.0 * len(lines),
            [
                Fragment(line.strip(), 0.0, 5.0 * len(line), -12.0 * i, 10.0, 0.0, 0.0)
                for i, line in enumerate(lines)
                if line.strip()
            ],
        )


if __name__ == "__main__":
    main(sys.argv[1:])
