"""What a reader hands on to `structure`: headings, prose and the rest, in reading order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from terraformer.document import Paragraph


class BlockKind(StrEnum):
    """The parts that a page or a text file falls into."""

    TITLE = "title"
    HEADING = "heading"
    PROSE = "prose"
    CAPTION = "caption"
    NOTE = "note"


@dataclass(frozen=True)
class Block:
    """A heading or a paragraph before the document's structure is known.

    Attributes:
        kind: What it looks like.
        text: One line, without hyphenation at line ends.
        page_starts: As in `terraformer.document.Paragraph`.
        style: Headings of one rank share it, such as "12.0 bold" or "h2"; empty for prose.
    """

    kind: BlockKind
    text: str
    page_starts: tuple[tuple[int, int], ...] = ()
    style: str = ""

    @property
    def n_words(self) -> int:
        return len(self.text.split())

    def as_paragraph(self) -> Paragraph:
        return Paragraph(self.text, self.page_starts)

    def without_start(self, n_chars: int) -> Block:
        """Returns the block from a character on."""
        if not n_chars:
            return self
        page = self.as_paragraph().page_at(n_chars)
        first = ((0, page),) if page is not None else ()
        rest = tuple((start - n_chars, p) for start, p in self.page_starts if start > n_chars)
        return Block(self.kind, self.text[n_chars:], first + rest, self.style)
