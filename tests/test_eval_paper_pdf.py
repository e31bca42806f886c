"""A paper set as a PDF and read again: its sentences come back, its furniture does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.readers import read_document
from eval.paper_pdf import STYLES, PageStyle, style_of, write_paper
from terraformer.document import Document

SYLLABLES = [c + v for c in "bcdfglmnprst" for v in "aeiou"]


def long_paper() -> Document:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(SYLLABLES, rng.integers(1, 5))) for _ in range(400)]
    words += ["efficient", "waffle", "Δβ-cell", "well-known", "µ-law"]

    def sentence() -> str:
        return " ".join(rng.choice(words, rng.integers(8, 20))).capitalize() + "."

    def section() -> str:
        return "\n".join(" ".join(sentence() for _ in range(6)) for _ in range(8))

    headings = ("1 Introduction", "2 Methods", "3 Results", "4 Conclusion")
    return Document.from_sections(
        [(heading, section()) for heading in headings], title="On the sediment of rivers"
    )


@pytest.mark.parametrize("style", STYLES, ids=lambda style: f"columns{style.n_columns}")
def test_what_was_set_is_read_again(style: PageStyle, tmp_path: Path) -> None:
    paper = long_paper()
    write_paper(tmp_path / "paper.pdf", paper, style)
    document = read_document(tmp_path / "paper.pdf")
    assert document.n_pages is not None
    assert document.n_pages >= 3
    assert document.title == paper.title
    assert [section.heading for section in document.sections] == [
        section.heading for section in paper.sections
    ]
    # Where a word broke at a line's end, the reader cannot always tell a hyphen of its own.
    read = {sentence.text.replace("-", "") for sentence in document.sentences}
    lost = [s.text for s in paper.sentences if s.text.replace("-", "") not in read]
    assert len(lost) < 0.02 * len(paper.sentences), lost


def test_pages_carry_what_a_reader_must_undo(tmp_path: Path) -> None:
    import pypdfium2

    numbered = next(style for style in STYLES if style.has_line_numbers)
    write_paper(tmp_path / "paper.pdf", long_paper(), numbered)
    with pypdfium2.PdfDocument(tmp_path / "paper.pdf") as pdf:
        text = pdf[1].get_textpage().get_text_range()
    assert "Research article: On the sediment of rivers" in text
    assert sum(line.isdecimal() for line in text.split()) > 30
    assert "\ufffe" in text  # how PDFium gives a hyphen at the end of a line


def test_styles_are_fixed_for_a_paper_and_all_used() -> None:
    styles = [style_of(f"paper-{i}") for i in range(60)]
    assert styles == [style_of(f"paper-{i}") for i in range(60)]
    assert set(styles) == set(STYLES)
