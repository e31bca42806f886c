"""A scientific document: sections and sentences, each with its page and its place in the text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from terraformer.errors import DocumentError
from terraformer.section_kind import SectionKind, classify_heading
from terraformer.sentence_splitter import split_sentences


@dataclass(frozen=True)
class Paragraph:
    """A run of prose as a reader found it.

    Attributes:
        text: The prose, one line, without hyphenation at line ends.
        page_starts: (character offset in `text`, page number from 1) pairs, ascending, the first at
            offset 0; empty where the source has no pages.
    """

    text: str
    page_starts: tuple[tuple[int, int], ...] = ()

    def page_at(self, offset: int) -> int | None:
        """Returns the page on which the character at `offset` stands, or None without pages."""
        index = bisect_right(self.page_starts, offset, key=lambda start: start[0]) - 1
        return self.page_starts[index][1] if index >= 0 else None


@dataclass(frozen=True)
class Sentence:
    """One sentence of a document.

    Attributes:
        text: The sentence, equal to `document.text[start:end]`.
        section: Index into `document.sections`.
        paragraph: Index of its paragraph, counted through the whole document.
        start, end: Character span in `document.text`.
        page: Page on which it begins, from 1; None where the source has no pages.
    """

    text: str
    section: int
    paragraph: int
    start: int
    end: int
    page: int | None = None

    @property
    def n_words(self) -> int:
        return len(self.text.split())


@dataclass(frozen=True)
class Section:
    """A section: its heading as printed (may be empty) and the kind that the heading tells."""

    heading: str
    kind: SectionKind


@dataclass(frozen=True)
class Document:
    """A document ready to be summarized.

    Attributes:
        title: Empty if unknown.
        text: Headings and paragraphs joined by blank lines; every span refers to it.
        sections: In reading order.
        sentences: In reading order; headings, references and page furniture are not among them.
        abstract: The paper's own abstract where one was found and set aside, else None.
        n_pages: Pages of the source, None where it has none.
        notes: What a user should know about the reading, such as pages without text.
    """

    title: str
    text: str
    sections: tuple[Section, ...]
    sentences: tuple[Sentence, ...]
    abstract: str | None = None
    n_pages: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_words(self) -> int:
        return sum(sentence.n_words for sentence in self.sentences)

    @classmethod
    def build(
        cls,
        sections: Iterable[tuple[str, Sequence[Paragraph]]],
        *,
        title: str = "",
        abstract: str | None = None,
        n_pages: int | None = None,
        notes: Sequence[str] = (),
    ) -> Document:
        """Lays out the text, splits it into sentences and records every span.

        Args:
            sections: (heading, paragraphs) pairs in reading order; a heading may be empty.
            title: The paper's title.
            abstract: The paper's own abstract, if it was set aside.
            n_pages: Pages of the source.
            notes: Remarks for the user.
        Raises:
            DocumentError: if no sentence is found.
        """
        parts: list[str] = []
        cursor = 0

        def lay(text: str) -> int:
            nonlocal cursor
            if parts:
                parts.append("\n\n")
                cursor += 2
            start = cursor
            parts.append(text)
            cursor += len(text)
            return start

        kept_sections: list[Section] = []
        sentences: list[Sentence] = []
        n_paragraphs = 0
        for heading, paragraphs in sections:
            section = len(kept_sections)
            kept_sections.append(Section(heading, classify_heading(heading)))
            if heading:
                lay(heading)
            for paragraph in paragraphs:
                if not paragraph.text.strip():
                    continue
                base = lay(paragraph.text)
                sentences.extend(
                    Sentence(
                        text=paragraph.text[start:end],
                        section=section,
                        paragraph=n_paragraphs,
                        start=base + start,
                        end=base + end,
                        page=paragraph.page_at(start),
                    )
                    for start, end in split_sentences(paragraph.text)
                )
                n_paragraphs += 1
        if not sentences:
            raise DocumentError(
                "the document holds no text to summarize: check that it is not empty or a scan"
            )
        return cls(
            title=title,
            text="".join(parts),
            sections=tuple(kept_sections),
            sentences=tuple(sentences),
            abstract=abstract,
            n_pages=n_pages,
            notes=tuple(notes),
        )

    @classmethod
    def from_sections(
        cls, sections: Iterable[tuple[str, str]], *, title: str = "", abstract: str | None = None
    ) -> Document:
        """Builds a document of (heading, text) pairs whose paragraphs are separated by newlines."""
        return cls.build(
            (
                (heading, [Paragraph(line.strip()) for line in text.splitlines() if line.strip()])
                for heading, text in sections
            ),
            title=title,
            abstract=abstract,
        )
