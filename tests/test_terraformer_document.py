from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraformer.document import Document, Paragraph
from terraformer.errors import DocumentError
from terraformer.section_kind import SectionKind

LINES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=60)
SECTIONS = st.lists(st.tuples(LINES, st.lists(LINES, max_size=4)), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(SECTIONS)
def test_every_span_is_its_sentence(sections: list[tuple[str, list[str]]]) -> None:
    parts = [(heading, [Paragraph(line) for line in lines]) for heading, lines in sections]
    if not any(line.strip() for _, lines in sections for line in lines):
        with pytest.raises(DocumentError):
            Document.build(parts)
        return
    document = Document.build(parts)
    prose = "".join("".join(lines) for _, lines in sections)
    assert "".join("".join(s.text.split()) for s in document.sentences) == "".join(prose.split())
    for sentence in document.sentences:
        assert document.text[sentence.start : sentence.end] == sentence.text
    order = [(s.section, s.paragraph, s.start) for s in document.sentences]
    assert order == sorted(order)


def test_sentences_know_section_paragraph_and_page() -> None:
    first = "One begins here. Two crosses the page border. Three is behind it."
    border = first.index("page")
    document = Document.build(
        [
            ("1 Introduction", [Paragraph(first, ((0, 4), (border, 5)))]),
            ("", [Paragraph("   "), Paragraph("Four has no page.")]),
            ("Conclusion", [Paragraph("Five.", ((0, 6),))]),
        ],
        title="T",
        abstract="A",
        n_pages=6,
        notes=["Page 2 holds no text."],
    )
    assert [s.page for s in document.sentences] == [4, 4, 5, None, 6]
    assert [s.section for s in document.sentences] == [0, 0, 0, 1, 2]
    assert [s.paragraph for s in document.sentences] == [0, 0, 0, 1, 2]
    assert document.text == f"1 Introduction\n\n{first}\n\nFour has no page.\n\nConclusion\n\nFive."
    assert [s.kind for s in document.sections] == [
        SectionKind.INTRODUCTION,
        SectionKind.OTHER,
        SectionKind.CONCLUSION,
    ]
    assert document.n_words == 3 + 5 + 4 + 4 + 1
    assert (document.title, document.abstract, document.n_pages) == ("T", "A", 6)
    assert document.notes == ("Page 2 holds no text.",)


def test_pages_change_at_the_character_where_they_start() -> None:
    paragraph = Paragraph("abcdef", ((0, 1), (3, 2)))
    assert [paragraph.page_at(offset) for offset in range(6)] == [1, 1, 1, 2, 2, 2]
    assert Paragraph("abc").page_at(2) is None


def test_lines_of_a_section_are_paragraphs() -> None:
    document = Document.from_sections([("", "One here.\n\n  Two there. Three.  \n")])
    assert [s.paragraph for s in document.sentences] == [0, 1, 1]
    assert document.text == "One here.\n\nTwo there. Three."


@pytest.mark.parametrize("sections", [[], [("Heading", "")], [("", " \n\t\n")]])
def test_a_document_without_sentences_is_an_error(sections: list[tuple[str, str]]) -> None:
    with pytest.raises(DocumentError, match="no text to summarize") as caught:
        Document.from_sections(sections)
    assert "\n" not in str(caught.value)
