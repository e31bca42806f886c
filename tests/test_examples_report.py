"""The document that README's first command summarizes: whole, and the same as text and PDF."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.readers import read_document
from terraformer.document import Document
from terraformer.section_kind import SectionKind

FOLDER = Path(__file__).parent.parent / "examples"
TEXT = (FOLDER / "report.txt").read_text(encoding="utf-8")
_PLAIN = str.maketrans("’“”–", '\'""-')


@pytest.fixture(scope="module")
def from_text() -> Document:
    return read_document(FOLDER / "report.txt")


@pytest.fixture(scope="module")
def from_pdf() -> Document:
    return read_document(FOLDER / "report.pdf")


def plain_sentences(document: Document) -> set[str]:
    return {sentence.text.translate(_PLAIN) for sentence in document.sentences}


def test_is_as_long_as_a_paper_and_has_its_parts(from_text: Document) -> None:
    assert from_text.n_words >= 4000
    assert {
        SectionKind.INTRODUCTION,
        SectionKind.BACKGROUND,
        SectionKind.RESULTS,
        SectionKind.LIMITATIONS,
        SectionKind.CONCLUSION,
    } <= {section.kind for section in from_text.sections}
    assert len(re.findall(r"^Figure \d+:", TEXT, re.MULTILINE)) >= 3
    assert len(re.findall(r"^Table \d+:", TEXT, re.MULTILINE)) >= 2
    assert len(TEXT.split("\nReferences\n")[1].split("\n\n")) >= 15


def test_figures_and_tables_are_counted_and_referred_to() -> None:
    for kind in ("Figure", "Table"):
        numbers = [int(number) for number in re.findall(rf"^{kind} (\d+):", TEXT, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))
        for number in numbers:
            named = re.findall(rf"\b{kind}\s+{number}\b", TEXT)
            assert len(named) > 1, f"{kind} {number} has a caption and is never referred to"


def test_abstract_is_set_aside(from_text: Document) -> None:
    assert from_text.abstract is not None
    assert 150 <= len(from_text.abstract.split()) <= 200
    assert not any(sentence.text in from_text.abstract for sentence in from_text.sentences)


def test_references_are_left_out(from_text: Document, from_pdf: Document) -> None:
    last = TEXT.strip().split("\n\n")[-1].split(".")[0]
    assert last not in from_text.text
    assert last not in from_pdf.text


def test_pdf_is_made_from_the_text(from_text: Document, from_pdf: Document) -> None:
    assert from_pdf.title == from_text.title
    assert [section.heading for section in from_pdf.sections] == [
        section.heading for section in from_text.sections
    ]
    expected = plain_sentences(from_text)
    assert len(expected & plain_sentences(from_pdf)) >= 0.97 * len(expected)


def test_pdf_has_pages_in_order(from_pdf: Document) -> None:
    pages = [sentence.page for sentence in from_pdf.sentences]
    assert from_pdf.n_pages is not None
    last = max(page or 0 for page in pages)
    assert last >= from_pdf.n_pages - 1  # references alone may fill the last page
    assert set(pages) == set(range(1, last + 1))
    assert pages == sorted(pages, key=lambda page: page or 0)
