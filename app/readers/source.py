"""Where a document comes from: a file of any known kind, standard input or pasted text."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from app.readers.html import html_blocks
from app.readers.pdf import read_pdf
from app.readers.structure import assemble
from app.readers.text import text_blocks
from terraformer.document import Document
from terraformer.errors import DocumentError
from terraformer.summary import Progress

_MAX_PDF_BYTES = 512 << 20
_MAX_TEXT_BYTES = 64 << 20
_HTML_SUFFIXES = frozenset((".html", ".htm", ".xhtml"))
_MARKDOWN_SUFFIXES = frozenset((".md", ".markdown", ".mdown", ".rmd", ".qmd"))
# What begins with these is no text, whatever its name says.
_BINARY_KINDS = (
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"\xd0\xcf\x11\xe0", "an old office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"%!PS", "a PostScript file"),
)
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_MAX_CONTROL_SHARE = 0.02


def read_document(
    path: str | Path, *, keep_abstract: bool = False, progress: Progress | None = None
) -> Document:
    """Reads a PDF, plain text, Markdown or HTML file.

    Args:
        path: The file, or "-" for standard input, whose kind is told by its content.
        keep_abstract: Leaves the paper's own abstract in the text, as the section "Abstract",
            instead of setting it aside in `Document.abstract`.
        progress: Called as pages are read.
    Raises:
        DocumentError: if the file is missing, empty, encrypted, damaged, a scan, no text, or larger
            than what the readers take; the message says what to do.
    """
    if str(path) == "-":
        return _read_stdin(keep_abstract, progress)
    path = Path(path)
    name = path.name or str(path)
    try:
        if path.is_dir():
            raise DocumentError(f"{path} is a folder: name a file in it")
        n_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(1024)
            is_pdf = path.suffix.lower() == ".pdf" or head.startswith(b"%PDF-")
            limit = _MAX_PDF_BYTES if is_pdf else _MAX_TEXT_BYTES
            if n_bytes > limit:
                raise DocumentError(
                    f"{name} is too large ({n_bytes >> 20} MiB; the most is {limit >> 20} MiB): "
                    "split it and summarize the parts"
                )
            content = b"" if is_pdf else head + file.read()
    except FileNotFoundError:
        raise DocumentError(f"{path} does not exist: check the name and the folder") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DocumentError(
            f"{path} cannot be opened ({reason}): check its name and its permissions"
        ) from None
    if not head.strip():
        raise DocumentError(f"{name} is empty: choose a file with text in it")
    if is_pdf:
        return read_pdf(path, name=name, keep_abstract=keep_abstract, progress=progress)
    return _read_bytes(content, name, path.suffix.lower(), keep_abstract)


def read_text(
    text: str, *, title: str = "", keep_abstract: bool = False, is_markdown: bool = False
) -> Document:
    """Reads text that was pasted.

    Args:
        text: Plain text or Markdown.
        title: The title if the text shows none.
        keep_abstract: As in `read_document`.
        is_markdown: Whether markup such as "*" and "#" is to be taken as Markdown's.
    Raises:
        DocumentError: if the text is empty or holds no prose.
    """
    if not text.strip():
        raise DocumentError("the text is empty: paste a document, or choose a file")
    return assemble(
        text_blocks(text, is_markdown=is_markdown),
        name="the text",
        fallback_title=title,
        keep_abstract=keep_abstract,
    )


def _read_stdin(keep_abstract: bool, progress: Progress | None) -> Document:
    content = sys.stdin.buffer.read(_MAX_PDF_BYTES + 1)
    if not content.strip():
        raise DocumentError("standard input is empty: pipe a document into it, or name a file")
    is_pdf = content[:1024].lstrip().startswith(b"%PDF-")
    if len(content) > (_MAX_PDF_BYTES if is_pdf else _MAX_TEXT_BYTES):
        raise DocumentError("standard input is too large: split it and summarize the parts")
    if not is_pdf:
        return _read_bytes(content, "standard input", "", keep_abstract)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard-input.pdf"
        path.write_bytes(content)
        return read_pdf(path, name="standard input", keep_abstract=keep_abstract, progress=progress)


def _read_bytes(content: bytes, name: str, suffix: str, keep_abstract: bool) -> Document:
    text, notes = _decode(content, name)
    opening = text[:1000].lstrip().lower()
    if suffix in _HTML_SUFFIXES or opening.startswith(("<!doctype html", "<html")):
        blocks = html_blocks(text)
    else:
        is_markdown = suffix in _MARKDOWN_SUFFIXES or (not suffix and "\n# " in "\n" + text)
        blocks = text_blocks(text, is_markdown=is_markdown)
    return assemble(blocks, name=name, keep_abstract=keep_abstract, notes=notes)


def _decode(content: bytes, name: str) -> tuple[str, list[str]]:
    for magic, kind in _BINARY_KINDS:
        if content.startswith(magic):
            raise DocumentError(f"{name} is {kind}, not text: save it as PDF, text or Markdown")
    encoding = next((encoding for bom, encoding in _BOMS if content.startswith(bom)), "utf-8")
    notes: list[str] = []
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
        notes.append(f"{name} is not UTF-8 and was read as Windows-1252: check its accents")
    n_control = sum(c < " " and c not in "\n\r\t\f\v" for c in text) + text.count("\ufffd")
    if n_control > _MAX_CONTROL_SHARE * len(text):
        raise DocumentError(f"{name} is not text: save it as PDF, text or Markdown")
    return text, notes
