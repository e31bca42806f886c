"""The child process that opens a PDF: `python -m app.readers.pdf_process ENGINE FILE FIRST …`.

PDF libraries crash, stall and swallow memory on odd files, so they run here, under limits, and the
parent can end them. What they find goes to stdout, one JSON object a line: {"n_pages", "title"},
then {"page", "width", "height", "fragments"} for each page, or {"error", "detail"}.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from math import atan2, hypot, pi
from typing import Any

from app.readers.pdf_fragment import Char, Fragment, fragments_of

_BOLD = re.compile(r"bold|black|heavy|semib|demi|CMBX|SFBX|CMB\d|-Medi|\.B$|_B$", re.IGNORECASE)
_ITALIC = re.compile(r"ital|obliq|slant|CMTI|SFTI|CMSL|-It", re.IGNORECASE)
_BOLD_WEIGHT = 600
_MAX_CHARS_A_PAGE = 500_000

Send = Callable[[dict[str, Any]], None]


def main(arguments: list[str]) -> None:
    """Reads the pages from FIRST on, at most MAX_PAGES and MAX_CHARS, within MEMORY bytes."""
    engine, path, first, max_pages, max_chars, memory, seconds = arguments
    pages = {"pdfium": _pdfium_pages, "pypdf": _pypdf_pages}[engine]
    _limit(int(memory), int(seconds))

    def send(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    n_chars = 0
    for page, width, height, fragments in islice(
        pages(path, int(first), send), int(max_pages) + 1 - int(first)
    ):
        n_chars += sum(len(fragment.text) for fragment in fragments)
        if n_chars > int(max_chars):
            send({"error": "limit", "detail": ""})
            return
        send({"page": page, "width": width, "height": height, "fragments": fragments})


def _limit(memory: int, seconds: int) -> None:
    """Lowers the process's limits where the system has them."""
    try:
        import resource
    except ImportError:
        return
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            continue


def _pdfium_pages(
    path: str, first: int, send: Send
) -> Iterator[tuple[int, float, float, list[Fragment]]]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
        n_pages = len(document)
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        is_locked = code == pypdfium2.raw.FPDF_ERR_PASSWORD or "password" in str(error).lower()
        send({"error": "password" if is_locked else "format", "detail": str(error)})
        return
    title = document.get_metadata_value("Title")
    send({"n_pages": n_pages, "title": title})
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
    box = pdfium.FS_RECTF()
    x, y = origin = ctypes.c_double(), ctypes.c_double()
    to_box, to_origin = ctypes.byref(box), [ctypes.byref(number) for number in origin]
    matrix = pdfium.FS_MATRIX()
    name = ctypes.create_string_buffer(128)
    fonts: dict[int, tuple[float, bool, bool, int]] = {}
    found: list[tuple[Char, int]] = []
    spaced = 0
    for i in range(n_chars):
        character = chr(pdfium.FPDFText_GetUnicode(raw, i))
        if character.isspace() or character == "\0":
            spaced = max(spaced, 1 if pdfium.FPDFText_IsGenerated(raw, i) == 1 else 2)
            continue
        handle = pdfium.FPDFText_GetTextObject(raw, i)
        key = ctypes.cast(handle, ctypes.c_void_p).value or 0
        if key not in fonts:
            pdfium.FPDFText_GetMatrix(raw, i, matrix)
            font = pdfium.FPDFTextObj_GetFont(handle) if key else None
            name.value = b""
            if font:
                pdfium.FPDFFont_GetBaseFontName(font, name, len(name))
            font_name = name.value.decode("utf-8", "replace")
            size = pdfium.FPDFText_GetFontSize(raw, i) * hypot(matrix.c, matrix.d)
            is_bold = _BOLD.search(font_name) is not None
            is_bold |= pdfium.FPDFText_GetFontWeight(raw, i) >= _BOLD_WEIGHT
            quarter = round(atan2(matrix.b, matrix.a) / (pi / 2)) % 4
            fonts[key] = (size, is_bold, _ITALIC.search(font_name) is not None, quarter)
        size, is_bold, is_italic, quarter = fonts[key]
        pdfium.FPDFText_GetLooseCharBox(raw, i, to_box)
        pdfium.FPDFText_GetCharOrigin(raw, i, *to_origin)
        x0, x1, baseline = (
            (box.left, box.right, y.value),
            (box.bottom, box.top, -x.value),
            (-box.right, -box.left, -y.value),
            (-box.top, -box.bottom, x.value),
        )[quarter]
        char = Char(character, x0, x1, baseline, size, is_bold, is_italic, spaced)
        found.append((char, quarter))
        spaced = 0
    text_page.close()
    if not found:
        return [], 0
    turns = Counter(quarter for _, quarter in found).most_common(1)[0][0]
    return [char for char, quarter in found if quarter == turns], turns


def _pypdf_pages(
    path: str, first: int, send: Send
) -> Iterator[tuple[int, float, float, list[Fragment]]]:
    """Reads plain lines; they get places as if typed on a page in one column."""
    import logging

    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            send({"error": "password", "detail": ""})
            return
        n_pages = len(reader.pages)
        title = (reader.metadata.title if reader.metadata else None) or ""
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        send({"error": "format", "detail": str(error)})
        return
    send({"n_pages": n_pages, "title": title})
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
