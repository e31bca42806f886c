"""PDF files: the child process is started, watched and, where it fails, replaced."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.readers.pdf_block import blocks_of
from app.readers.pdf_fragment import Fragment
from app.readers.pdf_furniture import drop_furniture
from app.readers.pdf_layout import Page, lay_out
from app.readers.structure import assemble
from terraformer.document import Document
from terraformer.errors import DocumentError
from terraformer.summary import Progress


@dataclass(frozen=True)
class PdfLimits:
    """What a PDF may cost.

    Attributes:
        max_pages: Pages read.
        max_chars: Characters read.
        max_memory: Address space of the child process, bytes.
        max_page_seconds: Processor time of one page.
        max_stall_seconds: Wall time without a new page after which the child is stopped.
    """

    max_pages: int = 3000
    max_chars: int = 12_000_000
    max_memory: int = 1 << 30
    max_page_seconds: int = 15
    max_stall_seconds: float = 120.0


@dataclass
class _Reading:
    """What the engines have delivered so far."""

    pages: list[Page] = field(default_factory=list)
    n_pages: int = 0
    title: str = ""
    error: str = ""
    is_stalled: bool = False


_HEADER = b"%PDF-"
_PLAUSIBLE_TITLE = re.compile(
    r"(?!untitled|microsoft word|.*\.(?:dvi|docx?|tex|pdf|indd)$).{8,}", re.I
)


def read_pdf(
    path: Path,
    *,
    name: str,
    keep_abstract: bool = False,
    progress: Progress | None = None,
    limits: PdfLimits | None = None,
) -> Document:
    """Reads a PDF.

    Args:
        path: The file.
        name: What messages call it.
        keep_abstract: Leaves the abstract in the text as a section.
        progress: Called after each page.
        limits: What reading may cost.
    Raises:
        DocumentError: if it is no PDF, is encrypted, damaged or a scan, or costs too much.
    """
    limits = limits or PdfLimits()
    with path.open("rb") as file:
        if _HEADER not in file.read(1024):
            raise DocumentError(
                f"{name} is not a PDF although its name says so: "
                "rename it to what it is, such as .txt"
            )
    reading = _Reading()
    for engine in ("pdfium", "pypdf"):
        _read_with(engine, path, reading, limits, progress)
        if reading.error == "password":
            raise DocumentError(f"{name} is encrypted: save a copy without its password first")
        if reading.error in ("", "limit"):
            break
    if not reading.pages and reading.is_stalled:
        raise DocumentError(
            f"{name} took too long without yielding a page: print it to a new PDF and try that"
        )
    if not reading.pages:
        reason = "is damaged" if reading.error == "format" else "needs too much memory"
        raise DocumentError(f"{name} {reason}: print it to a new PDF and try that")
    blank = [page.number for page in reading.pages if not page.fragments]
    if len(blank) == len(reading.pages):
        raise DocumentError(
            f"{name} has no text on its pages, so it is probably a scan: "
            "run it through OCR first, for example with ocrmypdf"
        )
    notes: list[str] = []
    if blank:
        notes.append(f"no text was found on {_page_list(blank)}")
    if len(reading.pages) < reading.n_pages:
        unread = list(range(len(reading.pages) + 1, reading.n_pages + 1))
        reason = "they are beyond what one document may cost"
        if reading.error not in ("", "limit"):
            reason = "the file is damaged there or costs too much"
        notes.append(f"{_page_list(unread)} not read: {reason}")
    lines = [line for page in drop_furniture(reading.pages) for line in lay_out(page)]
    known_title = reading.title.strip()
    return assemble(
        blocks_of(lines),
        fallback_title=known_title if _PLAUSIBLE_TITLE.fullmatch(known_title) else "",
        keep_abstract=keep_abstract,
        n_pages=reading.n_pages,
        notes=notes,
        name=name,
    )


def _page_list(numbers: list[int]) -> str:
    """Returns "page 3", or "pages 3, 7–9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in runs)
    return f"page {text}" if len(numbers) == 1 else f"pages {text}"


def _read_with(
    engine: str, path: Path, reading: _Reading, limits: PdfLimits, progress: Progress | None
) -> None:
    """Goes on reading from the first page that is missing."""
    reading.error = "ended early"
    arguments = (
        engine,
        os.path.abspath(path),
        len(reading.pages) + 1,
        limits.max_pages,
        limits.max_chars - sum(len(f.text) for page in reading.pages for f in page.fragments),
        limits.max_memory,
        limits.max_page_seconds,
    )
    for message in _messages([str(argument) for argument in arguments], reading, limits):
        if message.get("error") == "bug":
            raise RuntimeError(message["detail"])
        if "error" in message:
            reading.error = message["error"]
            return
        if "n_pages" in message:
            reading.n_pages = message["n_pages"]
            reading.title = message["title"]
        else:
            fragments = [Fragment(*values) for values in message["fragments"]]
            page = Page(message["page"], message["width"], message["height"], fragments)
            reading.pages.append(page)
            if progress is not None:
                progress("reading", len(reading.pages), reading.n_pages)
    if reading.n_pages and len(reading.pages) >= min(reading.n_pages, limits.max_pages):
        reading.error = ""


def _messages(
    arguments: list[str], reading: _Reading, limits: PdfLimits
) -> Iterator[dict[str, Any]]:
    root = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    child = subprocess.Popen(
        [sys.executable, "-m", "app.readers.pdf_process", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search},
    )
    assert child.stdout is not None
    try:
        while True:
            with _deadline(child, limits.max_stall_seconds) as expired:
                line = child.stdout.readline()
            if not line.endswith(b"\n"):
                is_out_of_time = child.wait() == -getattr(signal, "SIGXCPU", 0) != 0
                reading.is_stalled = expired.is_set() or is_out_of_time
                return
            yield json.loads(line)
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


@contextmanager
def _deadline(child: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        child.kill()

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
